"""`limner studio`: pages, an API and a queue in one process."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from limner.core.escaping import shell_word
from limner.errors import InputError

from .common import choice_of
from .flags import add_base_settings, add_command, add_llm, at_least, check_llm
from .worker import add_places, needs_studio, places_of

if TYPE_CHECKING:
    from limner.apps.api.config import Config

    from .parser import Parser


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "studio", studio, "a page in the browser, an API and a queue, on this machine")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument(
        "--port", type=_port, default=7860, help="port to listen on; 0 takes a free one (default: 7860)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_places(parser)
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
        help="train and paint on one copy of the base, in turns, which saves memory",
    )
    add_llm(parser)
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
    group.add_argument("--login", action="store_true", help="ask for tokens on this machine, too (see `limner users`)")
    group.add_argument(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names that browsers call this server by, such as that of a proxy; asks for tokens",
    )
    group.add_argument(
        "--behind-proxy",
        action="store_true",
        help="read the client's address and scheme from the headers of a proxy on this machine; asks for tokens",
    )


def studio(given: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C; a running training is then checkpointed and handed back to the queue."""
    with needs_studio():
        from limner.apps.api.serve import serve

    config = config_of(given)
    check_login(config, given)
    serve(config, ready=lambda address: _tell(address, browser=given.open))


def config_of(given: argparse.Namespace) -> Config:
    """The server's settings that the flags describe."""
    from limner.apps.api.config import Config

    check_llm(given)
    data, database, files = places_of(given)
    return Config(
        data=data,
        database=database,
        files=files,
        host=given.host.strip("[]"),
        port=given.port,
        base=choice_of(given),
        workers=given.workers,
        one_base=given.one_base,
        llm=given.llm,
        llm_model=given.llm_model,
        login="tokens" if given.login else "auto",
        hosts=tuple(given.allow_host),
        behind_proxy=given.behind_proxy,
    )


def check_login(config: Config, given: argparse.Namespace) -> None:
    """Raise `InputError` for a server with login that nobody could log in to."""
    from limner.apps.jobs.database import open_database
    from limner.apps.jobs.users import count_tokens

    if not config.needs_login:
        return
    database = open_database(config.database_url)
    try:
        if count_tokens(database):
            return
    finally:
        database.close()
    flags = [(flag, getattr(given, flag)) for flag in ("data", "database") if getattr(given, flag)]
    words = [word for flag, value in flags for word in (f"--{flag}", shell_word(str(value)))]
    command = " ".join(["limner users add NAME", *words])
    proxied = given.behind_proxy or given.allow_host
    reason = "other machines reach this server through its proxy" if proxied else "other machines reach this address"
    reason = "--login asks for a token" if given.login else reason
    raise InputError(f"{reason}, and there is no token yet that opens the studio; make one: {command}")


def _tell(address: str, *, browser: bool) -> None:
    """Print the address, and open it in a browser."""
    print(f"limner studio: {address}  (Ctrl-C ends it)", flush=True)
    if browser:
        import webbrowser

        webbrowser.open(address)
