"""/api/users, /api/me: accounts, tokens, quotas and the audit."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.apps.jobs import users
from limner.apps.jobs.access import ID
from limner.apps.jobs.quotas import bytes_of, seconds_of_day
from limner.apps.jobs.tables import Audit, Token, User
from limner.apps.jobs.users import SESSION, create_token, hash_token

from ..errors import ApiError, not_found
from ..fields import Fields, Line, Name, Number, Record
from ..services import Services
from .common import Admin, Limit, Me, Work, note
from .records import token_record, user_record, when

router = APIRouter(prefix="/api", tags=["users"])
Role = Literal["admin", "member"]
LARGEST, LARGEST_BYTES = 2**31 - 1, 2**53


class NewUser(Fields):
    """A user with quotas; 0 means no limit."""

    name: Name
    role: Role = "member"
    most_jobs: int = 0
    most_seconds: int = 0
    most_bytes: int = 0


class UserChange(Fields):
    """Fields of a user to change."""

    role: Role | None = None
    disabled: bool | None = None
    most_jobs: int | None = None
    most_seconds: int | None = None
    most_bytes: int | None = None


class NewToken(Fields):
    """A note for people about the token."""

    label: Line = ""


@router.get("/me")
def show_me(work: Work, me: Me) -> Record:
    """The user, with quotas and what is used of them."""
    with work.database.reading() as session:
        row = session.get_one(User, me.id)
        used = {
            "bytes": bytes_of(session, me.id),
            "seconds": round(seconds_of_day(session, me.id, work.database.now(session)), 1),
        }
        return {**user_record(row), "used": used, "needs_login": work.me is None}


@router.get("/me/tokens")
def list_my_tokens(work: Work, me: Me) -> Record:
    """The user's tokens, without their secrets."""
    return _tokens(work, me.id)


@router.post("/me/tokens", status_code=201)
def create_my_token(token: NewToken, work: Work, me: Me) -> Record:
    """Create a token; the answer is the only one that shows its secret."""
    return _create_token(work, me.id, me, token)


@router.delete("/me/tokens/{number}")
def revoke_my_token(number: str, request: Request, work: Work, me: Me) -> Record:
    """Revoke a token, and the browser logins that stand on it."""
    return _revoke(work, request, me.id, number)


def _tokens(work: Services, user_id: str) -> Record:
    with work.database.reading() as session:
        rows = session.scalars(select(Token).where(Token.user_id == user_id).order_by(Token.created.desc()))
        return {"tokens": [token_record(row) for row in rows]}


def _create_token(work: Services, user_id: str, me: User, token: NewToken) -> Record:
    label = token.label[:64]
    if label.startswith(SESSION):
        raise ApiError(400, "invalid_label", f"a label cannot begin with {SESSION!r}; choose another")
    secret = create_token(work.database, user_id, label=label, by=me.id)
    with work.database.reading() as session:
        row = session.scalars(select(Token).where(Token.sha256 == hash_token(secret))).one()
    return {**token_record(row), "token": secret}


def _revoke(work: Services, request: Request, user_id: str, number: str) -> Record:
    with work.database.session() as session:
        row = session.get(Token, number) if ID.fullmatch(number) else None
        if row is None or row.user_id != user_id:
            raise not_found("token")
        users.revoke(session, row)
        note(session, request, "token.revoke", number)
        return token_record(row)


# -------------------------------------------------------------------------------------------------- for administrators


@router.get("/users")
def list_users(work: Work, admin: Admin) -> Record:
    """All users, for an administrator."""
    with work.database.reading() as session:
        return {"users": [user_record(row) for row in session.scalars(select(User).order_by(User.name))]}


@router.post("/users", status_code=201)
def create_user(user: NewUser, work: Work, admin: Admin) -> Record:
    """Create a user; then create a token for them."""
    _check_quotas(user.model_dump())
    with work.database.reading() as session:
        if session.scalar(select(User.id).where(User.name == user.name)) is not None:
            raise ApiError(409, "name_taken", f"there is a user {user.name!r} already")
    return user_record(users.create_user(work.database, **user.model_dump(), by=admin.id))


def _check_quotas(fields: Record) -> None:
    for name, value in fields.items():
        most = LARGEST_BYTES if name == "most_bytes" else LARGEST
        if name.startswith("most_") and value is not None and not 0 <= value <= most:
            raise ApiError(400, "invalid_field", f"{name} must be from 0 (no limit) to {most:,}, not {str(value)[:40]}")


@router.patch("/users/{number}")
def change_user(number: str, change: UserChange, request: Request, work: Work, admin: Admin) -> Record:
    """Change a user's role and quotas, or disable the user, whose tokens are refused from then on."""
    given = change.model_dump(exclude_none=True)
    _check_quotas(given)
    if number == admin.id and (given.get("disabled") or given.get("role") == "member"):
        raise ApiError(400, "own_account", "an administrator cannot disable or demote their own account")
    with work.database.session() as session:
        row = _user(session, number)
        for name, value in given.items():
            setattr(row, name, value)
        note(session, request, "user.change", number, **given)
        return user_record(row)


def _user(session: Session, number: str) -> User:
    row = session.get(User, number) if ID.fullmatch(number) else None
    if row is None:
        raise not_found("user")
    return row


@router.get("/users/{number}/tokens")
def list_tokens(number: str, work: Work, admin: Admin) -> Record:
    """A user's tokens, without their secrets."""
    with work.database.reading() as session:
        _user(session, number)
    return _tokens(work, number)


@router.post("/users/{number}/tokens", status_code=201)
def create_users_token(number: str, token: NewToken, work: Work, admin: Admin) -> Record:
    """Create a token for a user; the answer is the only one that shows its secret."""
    with work.database.reading() as session:
        _user(session, number)
    return _create_token(work, number, admin, token)


@router.delete("/users/{number}/tokens/{token}")
def revoke_token(number: str, token: str, request: Request, work: Work, admin: Admin) -> Record:
    """Revoke a user's token, and the browser logins that stand on it."""
    return _revoke(work, request, number, token)


@router.get("/audit")
def list_audit(work: Work, admin: Admin, limit: Limit = 100, before: Number = 0) -> Record:
    """The actions of all users, the newest first; `before` is the last id of the page before."""
    wanted = select(Audit).order_by(Audit.id.desc()).limit(limit)
    if before:
        wanted = wanted.where(Audit.id < before)
    names = ("id", "user_id", "action", "about", "detail", "address")
    with work.database.reading() as session:
        rows = session.scalars(wanted)
        return {"audit": [{n: getattr(row, n) for n in names} | {"time": when(row.time)} for row in rows]}
