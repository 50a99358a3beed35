"""`limner studio`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.escaping import shell_word
from limner.errors import InputError, MissingExtra

from .common import choice_of
from .flags import add_base_settings, add_command, at_least

if TYPE_CHECKING:
    from limner.apps.api.config import Config

    from .parser import Parser

INSTALL = "the studio needs further libraries: pip install 'limner[studio]'"


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "studio", studio, "a page in the browser, an API and a queue, on this machine")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument(
        "--port", type=_port, default=7860, help="port to listen on; 0 takes a free one (default: 7860)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for everything (default: ~/.local/share/limner)"
    )
    parser.add_argument("--database", default="", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/NAME")
    parser.add_argument("--files", default="", metavar="URL", help="file store: a folder, or a URL such as s3://BUCKET")
    parser.add_argument(
        "--workers",
        type=int,
        choices=(0, 1),
        default=1,
        help="whether this process works on jobs; with 0, `limner worker` does (default: 1)",
    )
    parser.add_argument(
        "--one-base",
        action="store_true",
        help="train and paint on one copy of the base, which saves memory; painting waits while a training runs",
    )
    _add_login(parser)
    parser.add_argument("--base", default="pocket", help="base of all pictures: pocket, a folder, a file, or a hub id")
    add_base_settings(parser)


def _port(text: str) -> int:
    number = at_least(0)(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"a port is from 0 to 65535, not {number}")
    return number


def _add_login(parser: Parser) -> None:
    """Add the flags for users and other machines."""
    group = parser.add_argument_group("users and other machines")
    group.add_argument(
        "--new-token",
        metavar="USER",
        help="print a new token for this user, who is added where there is none of that name, and end",
    )
    group.add_argument("--role", choices=("admin", "member"), help="with --new-token: role of a user who is added")
    group.add_argument("--login", action="store_true", help="ask for tokens on this machine, too")
    group.add_argument(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names that browsers call this server by, such as that of a proxy",
    )
    group.add_argument(
        "--behind-proxy",
        action="store_true",
        help="read the client's address and scheme from the headers of a proxy on this machine",
    )


def studio(given: argparse.Namespace) -> None:
    try:
        from limner.apps.api.serve import serve
    except ModuleNotFoundError as error:
        if str(error.name).startswith("limner"):
            raise
        raise MissingExtra(f"{INSTALL} ({error.name} is missing)") from error

    config = config_of(given)
    if given.new_token:
        print(new_token(config, given.new_token, given.role))
        return
    if given.role:
        raise InputError("--role is for a user who is added: give --new-token USER as well")
    check_login(config, given)
    serve(config, ready=lambda address: _tell(address, browser=given.open))


def config_of(given: argparse.Namespace) -> Config:
    """The server's settings that the flags describe."""
    from limner.apps.api.config import Config

    return Config(
        data=(given.data or default_folder()).expanduser().absolute(),
        database=given.database,
        files=given.files,
        host=given.host.strip("[]"),
        port=given.port,
        base=choice_of(given),
        workers=given.workers,
        one_base=given.one_base,
        login="tokens" if given.login else "auto",
        hosts=tuple(given.allow_host),
        behind_proxy=given.behind_proxy,
    )


def default_folder() -> Path:
    """`limner` in the user's folder of data."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "limner"


def check_login(config: Config, given: argparse.Namespace) -> None:
    """Raise `InputError` for a server with login that nobody could log in to."""
    from limner.apps.api.serve import count_tokens
    from limner.apps.jobs.database import open_database

    if not config.needs_login:
        return
    config.data.mkdir(parents=True, exist_ok=True)
    database = open_database(config.database_url)
    try:
        if count_tokens(database):
            return
    finally:
        database.close()
    place = [
        *(("--data", given.data) if given.data else ()),
        *(("--database", given.database) if given.database else ()),
    ]
    command = " ".join(["limner studio --new-token NAME", *(shell_word(str(word)) for word in place)])
    reason = "other machines reach this address" if not given.login else "--login asks for a token"
    raise InputError(f"{reason}, and there is no token yet that opens the studio; make one: {command}")


def new_token(config: Config, name: str, role: str | None) -> str:
    """Add a token for a user, and the user where there is none of that name: the first one becomes an administrator."""
    from sqlalchemy import select

    from limner.apps.api.serve import count_tokens
    from limner.apps.jobs.database import open_database
    from limner.apps.jobs.tables import User
    from limner.apps.jobs.users import create_token, create_user

    config.data.mkdir(parents=True, exist_ok=True)
    database = open_database(config.database_url)
    try:
        with database.reading() as session:
            user = session.scalar(select(User).where(User.name == name))
        if user is not None and role not in (None, user.role):
            raise InputError(f"there is a user {name!r} already, with the role {user.role}; leave --role out")
        if user is None:
            user = create_user(database, name, role=role or ("member" if count_tokens(database) else "admin"))
        return create_token(database, user.id, label="made on the command line")
    finally:
        database.close()


def _tell(address: str, *, browser: bool) -> None:
    """Print the address, and open it in a browser."""
    print(f"limner studio: {address}  (Ctrl-C ends it)")
    sys.stdout.flush()
    if browser:
        import webbrowser

        webbrowser.open(address)
