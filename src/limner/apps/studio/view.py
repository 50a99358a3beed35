"""How pages are drawn: templates, answers to forms, and the database as a page's user sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from limner.apps.api.errors import ApiError
from limner.apps.api.guard import form_token
from limner.apps.api.uploads import read_form
from limner.apps.jobs.payloads import check_payload
from limner.apps.jobs.queue import submit
from limner.apps.jobs.tables import Job, User, new_id
from limner.errors import InputError

from . import words

HERE = Path(__file__).parent


class Link(NamedTuple):
    url: str
    name: str


MENU = (
    ("Make", (Link("/teach", "Teach"), Link("/paint", "Paint"), Link("/chat", "Chat"))),
    ("Look", (Link("/concepts", "Likenesses"), Link("/gallery", "Gallery"), Link("/compare", "Compare"))),
    ("Measure", (Link("/jobs", "Jobs"), Link("/bench", "Bench"), Link("/report", "Report"))),
    ("Server", (Link("/hardware", "Hardware"), Link("/settings", "Settings"), Link("/api/docs", "API"))),
)
templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters |= {
    "ago": words.ago,
    "size": words.size,
    "seconds": words.seconds,
    "number": words.number,
    "score": words.score,
    "main_scores": words.main_scores,
    "picture_scores": words.picture_scores,
    "score_rows": words.score_rows,
}


def render(request: Request, template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a fragment of one, from a template."""
    user = getattr(request.state, "user", None)
    here = "/" + request.url.path.strip("/").partition("/")[0]
    common = {
        "user": user,
        "token": form_token(request) if user is not None else "",
        "menu": MENU,
        "here": here,
        "can_log_out": bool(getattr(request.state, "login", "")),
        "flash": words.DONE.get(request.query_params.get("done", ""), ""),
    }
    return HTMLResponse(templates.get_template(template).render(common | values), status)


def is_fragment(request: Request) -> bool:
    """Whether a script of the page asks for a part of it."""
    return request.headers.get("hx-request") == "true"


def go(request: Request, url: str, done: str = "") -> Response:
    """Send the browser on to a page of ours, after a form. `done` is a name of `words.DONE`."""
    target = f"{url}{'&' if '?' in url else '?'}done={done}" if done else url
    if is_fragment(request):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


def error_page(request: Request, error: ApiError) -> Response:
    """The answer to a request of a browser that fails: a page, or a line in the corner where a script asked."""
    status = error.status
    if is_fragment(request):
        text = render(request, "flash.html", message=str(error))
        text.headers["HX-Retarget"] = "#flash"
        text.headers["HX-Reswap"] = "innerHTML"
        return text
    return render(request, "error.html", status=status, code=status, message=str(error), title="Something is wrong")


# ------------------------------------------------------------------------------------------ rows of a page, jobs of it


@contextmanager
def reading(request: Request) -> Iterator[Session]:
    """A session that reads. Its rows keep their values after it has ended."""
    with request.app.state.services.database.reading() as session:
        yield session
        session.expunge_all()


@contextmanager
def writing(request: Request) -> Iterator[Session]:
    """A session whose changes are kept at its end, and dropped at an exception."""
    with request.app.state.services.database.session() as session:
        yield session


def user_of(request: Request) -> User:
    user: User = request.state.user
    return user


def queue_job(request: Request, kind: str, payload: Mapping[str, Any], form: FormData | None = None) -> str:
    """Submit a job of the user. The form's key makes a form that is sent twice one job. Forms of one page have one key,
    so the job counts, too; one that failed or was cancelled is submitted anew, from a page that "back" shows again."""
    given = text(form, "key", most=64) if form is not None else ""
    services, user = request.app.state.services, user_of(request)
    with reading(request) as session:
        check_payload(session, user, kind, payload, bases=(services.config.base,))
    what = hashlib.sha256(json.dumps([kind, payload], sort_keys=True).encode()).hexdigest()[:32]
    about: dict[str, Any] = {"owner": user.id, "kind": kind, "payload": payload}
    job_id = submit(services.database, **about, key=given and f"form {given} {what}")
    with reading(request) as session:
        is_over = session.get_one(Job, job_id).state in ("failed", "cancelled")
    return submit(services.database, **about) if is_over else job_id


def form_key() -> str:
    return new_id()


# ------------------------------------------------------------------------------------------------------ fields of forms


Form = Annotated[FormData, Depends(read_form)]
"""The form of a request, as a parameter of a route. The server has checked its token before."""


def text(form: FormData | Mapping[str, Any], name: str, default: str = "", *, most: int = 20_000) -> str:
    value = form.get(name, default)
    value = value if isinstance(value, str) else default
    if len(value) > most:
        raise InputError(f"{name} has {len(value):,} characters; at most {most:,} are read")
    return value.replace("\r\n", "\n").replace("\0", "").strip()


def line(form: FormData | Mapping[str, Any], name: str, *, most: int = 200) -> str:
    """A text of one line. Raises `InputError`."""
    value = text(form, name, most=most)
    if not value.isprintable():
        raise InputError(f"{name} must be one line of plain characters")
    return value


def flag(form: FormData | Mapping[str, Any], name: str) -> bool:
    return bool(form.get(name))


def whole(form: FormData | Mapping[str, Any], name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
    """A whole number within bounds. Raises `InputError`."""
    return int(_bounded(form, name, default, least, most, int, "a whole number"))


def decimal(form: FormData | Mapping[str, Any], name: str, default: float, *, least: float, most: float) -> float:
    """A number within bounds. Raises `InputError`."""
    return float(_bounded(form, name, default, least, most, float, "a number"))


def _bounded(form: Any, name: str, default: float, least: float, most: float, kind: type, noun: str) -> float:
    given = text(form, name, most=40)
    if not given:
        return default
    try:
        value = kind(given)
    except ValueError:
        raise InputError(f"{name} must be {noun}, not {given!r}") from None
    if not least <= value <= most:
        raise InputError(f"{name} must be from {least:g} to {most:g}, not {given}")
    return float(value) if kind is float else value


def lines(form: FormData | Mapping[str, Any], name: str, *, most: int = 50) -> list[str]:
    """The lines of a text field that are not empty."""
    rows = [row.strip() for row in text(form, name).split("\n") if row.strip()]
    if len(rows) > most:
        raise InputError(f"{name} has {len(rows)} lines; at most {most} are read")
    return rows


def uploads(form: FormData, name: str) -> list[UploadFile]:
    """The files of a field; an empty file input sends one without a name."""
    return [each for each in form.getlist(name) if isinstance(each, UploadFile) and each.filename]


def settings_of(form: FormData, prefix: str, kinds: Mapping[str, tuple[type, Any]]) -> dict[str, Any]:
    """The settings that a form changed from their defaults, by name. Raises `InputError`."""
    changed: dict[str, Any] = {}
    for name, (kind, default) in kinds.items():
        field = f"{prefix}{name}"
        if kind is bool:
            value: Any = flag(form, field)
            if f"{field}.shown" not in form:
                continue
        else:
            given = text(form, field, most=2000)
            if field not in form or (given == "" and kind is not str):
                continue
            try:
                value = kind(given)
            except ValueError:
                raise InputError(
                    f"{name} must be {'a whole number' if kind is int else 'a number'}, not {given!r}"
                ) from None
        if value != default:
            changed[name] = value
    return changed
