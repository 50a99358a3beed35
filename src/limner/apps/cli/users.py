"""`limner users`: the users of a studio and their tokens."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from limner.core.wording import counted
from limner.errors import InputError

from .common import out
from .flags import add_command
from .worker import add_places, needs_studio, places_of


@dataclasses.dataclass(frozen=True)
class _Row:
    name: str
    role: str
    disabled: bool
    tokens: list[dict[str, str]]  # id, label and time of the last use; neither revoked ones nor browsers' logins
    most_jobs: int
    most_seconds: int
    most_bytes: int


def add_to(commands: Any) -> None:
    """The command, its actions and their flags."""
    parser = add_command(commands, "users", users, "add, list and disable users of a studio, and make tokens")
    parser.add_argument(
        "action", choices=("add", "token", "revoke", "list", "disable", "enable"), help="the action; list needs no name"
    )
    parser.add_argument("name", nargs="?", default="", help="name of the user; for revoke, the id of a token")
    parser.add_argument("--role", default="", help="with add: admin or member (default: member; the first is admin)")
    parser.add_argument("--most-jobs", type=int, default=0, metavar="N", help="with add: jobs at once; 0: no limit")
    parser.add_argument(
        "--most-seconds",
        type=int,
        default=0,
        metavar="N",
        help="with add: seconds of work within 24 hours; 0: no limit",
    )
    parser.add_argument("--most-bytes", type=int, default=0, metavar="N", help="with add: bytes of files; 0: no limit")
    parser.add_argument("--label", default="", help="with token: words to tell tokens apart")
    add_places(parser)


def users(given: argparse.Namespace) -> None:
    """Do the action, and print the user, the token or the list."""
    with needs_studio():
        from limner.apps.jobs import users as store
        from limner.apps.jobs.database import open_database

    if given.action != "list" and not given.name:
        raise InputError(f"`limner users {given.action}` needs a name: limner users {given.action} NAME")
    database = open_database(places_of(given)[1])
    match given.action:
        case "add":
            quotas = {name: getattr(given, name) for name in ("most_jobs", "most_seconds", "most_bytes")}
            role = given.role or ("member" if store.count_users(database) else "admin")
            user = store.create_user(database, given.name, role=role, **quotas)
            secret = store.create_token(database, user.id, label="first")
            out(given, {"user": user.name, "id": user.id, "token": secret}, f"{user.name}: {secret}")
        case "token":
            with database.reading() as session:
                user = store.user_named(session, given.name)
            secret = store.create_token(database, user.id, label=given.label)
            out(given, {"user": user.name, "token": secret}, secret)
        case "revoke":
            store.revoke_token(database, given.name)
            out(given, {"revoked": given.name}, f"{given.name} is revoked")
        case "disable" | "enable":
            user = store.set_disabled(database, given.name, given.action == "disable")
            out(given, {"user": user.name, "disabled": user.disabled}, f"{user.name} is {given.action}d")
        case "list":
            _list(given, database)


def _list(given: argparse.Namespace, database: Any) -> None:
    from sqlalchemy import select

    from limner.apps.jobs.tables import Token, User
    from limner.apps.jobs.users import SESSION

    with database.reading() as session:
        query = select(Token).where(Token.revoked.is_(None), ~Token.label.startswith(SESSION)).order_by(Token.created)
        tokens: dict[str, list[dict[str, str]]] = {}
        for each in session.scalars(query):
            used = each.last_used.strftime("%Y-%m-%d") if each.last_used else "never"
            tokens.setdefault(each.user_id, []).append({"id": each.id, "label": each.label, "used": used})
        rows = [
            _Row(u.name, u.role, u.disabled, tokens.get(u.id, []), u.most_jobs, u.most_seconds, u.most_bytes)
            for u in session.scalars(select(User).order_by(User.name))
        ]
    lines = []
    for row in rows:
        count = counted(len(row.tokens), "token")
        lines.append(f"{row.name:20} {row.role:7} {count}{'  disabled' if row.disabled else ''}")
        lines += [f"    {each['id']}  used {each['used']:10}  {each['label']}".rstrip() for each in row.tokens]
    out(given, [dataclasses.asdict(row) for row in rows], "\n".join(lines) or "there are no users")
