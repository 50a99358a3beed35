"""Protect: copies of a subject's photos that are hard to learn from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from limner.apps.api.routes.common import find_own
from limner.apps.jobs.layout import kept_pictures
from limner.apps.jobs.tables import Subject
from limner.workflows.form import protections_table
from limner.workflows.protect_request import NO_GUARANTEE
from limner.workflows.requests import ProtectRequest

from .view import Form, decimal, form_key, go, queue_job, reading, render, text, user_of

router = APIRouter(include_in_schema=False)
MOST_CHANGE = 64.0
"""Largest change of a colour channel that the form takes."""


@router.get("/teach/{subject_id}/protect")
def show(request: Request, subject_id: str) -> Response:
    """The limits of protection, and the choice of a method."""
    with reading(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        usable = len(kept_pictures(subject))
    rows = protections_table()
    values: dict[str, Any] = {
        "s": subject,
        "usable": usable,
        "rows": rows,
        "methods": [(row["name"], row["title"]) for row in rows],
        "method": ProtectRequest.method,
        "warning": NO_GUARANTEE,
        "key": form_key(),
    }
    return render(request, "protect.html", title=f"Protect {subject.name}", **values)


@router.post("/teach/{subject_id}/protect")
def protect(request: Request, subject_id: str, form: Form) -> Response:
    """Queue the work."""
    with reading(request) as session:
        find_own(session, Subject, subject_id, user_of(request))
    payload: dict[str, Any] = {"subject": subject_id, "method": text(form, "method", most=100)}
    if epsilon := decimal(form, "epsilon", 0.0, least=1.0, most=MOST_CHANGE):
        payload["settings"] = {"epsilon": epsilon}
    return go(request, f"/jobs/{queue_job(request, 'protect', payload, form)}")
