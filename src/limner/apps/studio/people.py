"""Settings: the user's tokens, quotas and shares; users for administrators; the login page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.datastructures import FormData
from starlette.responses import Response

from limner.apps.api.auth import require_admin
from limner.apps.api.routes import users as accounts
from limner.apps.jobs.quotas import bytes_of, seconds_of_day
from limner.apps.jobs.tables import Audit, Concept, Share, User
from limner.apps.jobs.users import SESSION
from limner.errors import InputError

from .rows import tokens_of
from .view import Form, flag, go, line, reading, render, text, user_of, whole
from .words import seconds, size

router = APIRouter(include_in_schema=False)
GB = 10**9


@router.get("/settings")
def show(request: Request) -> Response:
    return _page(request)


def _page(request: Request, secret: str = "", secret_name: str = "") -> Response:
    """The page; `secret` is a token that was just made, which is shown once below its name."""
    services = request.app.state.services
    with reading(request) as session:
        user = session.get_one(User, user_of(request).id)
        with_me = select(Concept.id, Concept.name, User.name).join(Share, Share.concept_id == Concept.id)
        with_me = with_me.join(User, User.id == Concept.owner_id)
        values: dict[str, Any] = {
            "tokens": [each for each in tokens_of(session, user.id) if not each.label.startswith(SESSION)],
            "quotas": quotas_of(
                user, bytes_of(session, user.id), seconds_of_day(session, user.id, services.database.now(session))
            ),
            "shared": list(session.execute(with_me.where(Share.user_id == user.id, Concept.deleted.is_(None)))),
            "users": list(session.scalars(select(User).order_by(User.name))) if user.role == "admin" else [],
            "audit": audit_rows(session) if user.role == "admin" else [],
        }
    config = services.config
    return render(
        request,
        "settings.html",
        title="Settings",
        secret=secret,
        secret_name=secret_name,
        is_admin=user.role == "admin",
        needs_login=services.me is None,
        base=config.base.name or "pocket",
        **values,
    )


def quotas_of(user: User, num_bytes: int, spent: float) -> list[tuple[str, str, float | None]]:
    """(name, use in words, percent of the limit) for each quota."""
    rows = (
        ("Files", size(num_bytes), size(user.most_bytes), num_bytes, user.most_bytes),
        ("Work in 24 hours", seconds(spent), seconds(user.most_seconds), spent, user.most_seconds),
    )
    return [
        (name, f"{used} of {most}" if limit else f"{used}, no limit", round(100 * value / limit, 1) if limit else None)
        for name, used, most, value, limit in rows
    ]


def audit_rows(session: Any) -> list[tuple[Any, str, str, str]]:
    names = dict(session.execute(select(User.id, User.name)).all())
    rows = session.scalars(select(Audit).order_by(Audit.id.desc()).limit(30))
    return [(row.time, names.get(row.user_id, "limner"), row.action, row.about[:12]) for row in rows]


@router.post("/settings/tokens")
def add_token(request: Request, form: Form) -> Response:
    """Make a token of the user; the answer is the only page that shows it."""
    services, user = request.app.state.services, user_of(request)
    token = accounts.NewToken(label=line(form, "label", most=64))
    return _page(request, accounts.create_my_token(token, services, user)["token"], "Your new token")


@router.post("/settings/tokens/{number}/revoke")
def revoke_token(request: Request, number: str) -> Response:
    accounts.revoke_my_token(number, request, request.app.state.services, user_of(request))
    return go(request, "/settings", "revoked")


# -------------------------------------------------------------------------------------------------- for administrators


def _quotas(form: FormData) -> dict[str, int]:
    return {
        "most_jobs": whole(form, "most_jobs", 0, most=10**6),
        "most_seconds": whole(form, "most_seconds", 0, most=10**9),
        "most_bytes": whole(form, "most_gigabytes", 0, most=10**6) * GB,
    }


@router.post("/settings/users")
def add_user(request: Request, form: Form) -> Response:
    """Make a user with a first token, which the answer shows once."""
    admin, services = require_admin(request), request.app.state.services
    name = line(form, "name", most=64)
    if not name:
        raise InputError("a user needs a name of one line")
    user = accounts.NewUser(name=name, role="admin" if text(form, "role") == "admin" else "member", **_quotas(form))
    record = accounts.create_user(user, services, admin)
    token = accounts.create_users_token(record["id"], accounts.NewToken(label="first"), services, admin)
    return _page(request, token["token"], f"The new token of {name}")


@router.post("/settings/users/{number}")
def change_user(request: Request, number: str, form: Form) -> Response:
    """Change quotas and role of a user, or whether the user is disabled; or make another token."""
    admin, services = require_admin(request), request.app.state.services
    if text(form, "do") == "token":
        token = accounts.create_users_token(number, accounts.NewToken(label="new"), services, admin)
        with reading(request) as session:
            name = session.get_one(User, number).name
        return _page(request, token["token"], f"The new token of {name}")
    role: accounts.Role = "admin" if text(form, "role") == "admin" else "member"
    change = accounts.UserChange(role=role, disabled=flag(form, "disabled"), **_quotas(form))
    accounts.change_user(number, change, request, services, admin)
    return go(request, "/settings", "user")


# --------------------------------------------------------------------------------------------------------------- login


def login_page(request: Request, failure: str, status: int, target: str) -> Response:
    """The page to log in, which the server's own routes draw; it leads to `target`, a path of this server."""
    return render(request, "login.html", status=status, title="Log in", failure=failure, next=target)
