"""Users, their tokens, and the one user of a studio without login."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from limner.errors import InputError, UnknownName

from .audit import audit
from .database import Database
from .tables import Token, User, new_id, now

ME = "me"
"""Name of the one user, an admin, of a studio that listens on this machine alone and asks for no login."""
ROLES = ("admin", "member")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SESSION = "browser login of "
"""Label of a browser's secret, before the id of the token that it stands on."""
SESSION_DAYS = 30
"""Days for which a browser's login lasts."""
PREFIX = "limner_"
"""Beginning of every token, by which scanners of leaked secrets recognise it."""


def create_user(
    database: Database,
    name: str,
    *,
    role: str = "member",
    most_jobs: int = 0,
    most_seconds: int = 0,
    most_bytes: int = 0,
    by: str = "",
) -> User:
    """Add a user. A quota of 0 means no limit.

    Args:
        name: 1 to 64 lower-case letters, digits, dots, hyphens and underscores.
        role: "admin", who sees everything and manages users, or "member".
        most_jobs: jobs that wait, run or are paused at the same time.
        most_seconds: seconds of work within 24 hours.
        most_bytes: bytes of files.
        by: id of the admin who does this, for the audit; empty for the operator at the command line.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            "the name of a user has 1 to 64 lower-case letters, digits, dots, hyphens or underscores and begins with a "
            f"letter or digit, not {name[:80]!r}"
        )
    if role not in ROLES:
        raise UnknownName("role", role, ROLES)
    quotas = {"most_jobs": most_jobs, "most_seconds": most_seconds, "most_bytes": most_bytes}
    if min(quotas.values()) < 0:
        raise InputError(f"a quota is 0 (no limit) or more, not {min(quotas.values())}")
    try:
        with database.session() as session:
            user = User(id=new_id(), name=name, role=role, **quotas)
            session.add(user)
            session.flush()
            audit(session, by, "user.create", user.id, name=name, role=role, quotas=quotas)
            return user
    except IntegrityError as error:
        raise InputError(f"there is a user {name!r} already; choose another name") from error


def me(database: Database) -> User:
    """The one user of a studio without login, created at the first call."""
    with database.reading() as session:
        user = session.scalar(select(User).where(User.name == ME))
    if user is not None:
        return user
    try:
        return create_user(database, ME, role="admin")
    except InputError:  # another process has just created it
        with database.reading() as session:
            return session.scalars(select(User).where(User.name == ME)).one()


def count_users(database: Database) -> int:
    """Number of users, without the one of a studio without login."""
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(User).where(User.name != ME)) or 0


def user_named(session: Session, name: str) -> User:
    """The user of that name. Raises `UnknownName`."""
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise UnknownName("user", name[:64], session.scalars(select(User.name)))
    return user


def set_disabled(database: Database, name: str, disabled: bool, *, by: str = "") -> User:
    """Disable a user, whose tokens then open nothing, or enable the user again."""
    with database.session() as session:
        user = user_named(session, name)
        user.disabled = disabled
        audit(session, by, "user.disable" if disabled else "user.enable", user.id, name=name)
        return user


# --------------------------------------------------------------------------------------------------------------- tokens


def create_token(database: Database, user_id: str, *, label: str = "", by: str = "") -> str:
    """Add a token for a user and return its text, which is kept nowhere else: the table has its SHA-256.

    Args:
        label: words to tell tokens apart.
        by: id of the user who does this, for the audit; empty for the operator at the command line.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    with database.session() as session:
        if session.get(User, user_id) is None:
            raise InputError(f"there is no user {user_id[:40]!r}")
        token = Token(id=new_id(), user_id=user_id, sha256=hash_token(secret), label=label[:64])
        session.add(token)
        audit(session, by, "token.create", token.id, user=user_id, label=token.label)
    return secret


def user_of_token(database: Database, secret: str) -> tuple[User, Token] | None:
    """The user of a valid token, and the token; None for a token that is unknown or revoked, for a browser's login that
    is too old, and for a disabled user. A hash of 256 random bits is looked up, so the time that it takes reveals
    nothing of use."""
    with database.reading() as session:
        query = select(User, Token).join(Token, Token.user_id == User.id).where(Token.sha256 == hash_token(secret))
        row = session.execute(query.where(Token.revoked.is_(None), User.disabled.is_(False))).first()
    if row is None:
        return None
    user, token = row
    if token.label.startswith(SESSION) and token.created < now() - timedelta(days=SESSION_DAYS):
        return None
    if token.last_used is None or token.last_used < now() - timedelta(minutes=1):
        with database.session() as session:
            session.execute(update(Token).where(Token.id == token.id).values(last_used=now()))
    return user, token


def count_tokens(database: Database) -> int:
    """Number of tokens that are not revoked and whose user is not disabled."""
    valid = select(func.count()).select_from(Token).join(User, User.id == Token.user_id)
    with database.reading() as session:
        return session.scalar(valid.where(Token.revoked.is_(None), User.disabled.is_(False))) or 0


def revoke_token(database: Database, token_id: str, *, by: str = "") -> None:
    """Make a token, and the browser logins that stand on it, open nothing any more. Raises `InputError` for an
    unknown one."""
    with database.session() as session:
        token = session.get(Token, token_id)
        if token is None:
            raise InputError(f"there is no token {token_id[:40]!r}")
        revoke(session, token)
        audit(session, by, "token.revoke", token.id, user=token.user_id)


def revoke(session: Session, token: Token) -> None:
    """Revoke a token and the browser logins that stand on it, in the session's transaction."""
    token.revoked = token.revoked or now()
    built_on = Token.label == f"{SESSION}{token.id}"
    session.execute(update(Token).where(built_on, Token.revoked.is_(None)).values(revoked=now()))


def hash_token(secret: str) -> str:
    """The SHA-256 of a token, by which the table holds it. Any text that a client sends can be hashed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
