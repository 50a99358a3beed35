"""Home: what can be done, the likenesses, the jobs that run, the newest pictures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from .rows import OPEN, concepts_of, jobs_of, pictures_of
from .view import reading, render, user_of

router = APIRouter(include_in_schema=False)


@router.get("/")
def show(request: Request) -> Response:
    with reading(request) as session:
        user = user_of(request)
        return render(
            request,
            "home.html",
            title="Studio",
            concepts=concepts_of(session, user, limit=6),
            jobs=jobs_of(session, user, states=OPEN, limit=6, by_place=True),
            pictures=pictures_of(session, user, limit=12),
        )


@router.get("/home/jobs")
def show_jobs(request: Request) -> Response:
    """The jobs that wait or run, for the panel that renews itself."""
    with reading(request) as session:
        jobs = jobs_of(session, user_of(request), states=OPEN, limit=6, by_place=True)
    return render(request, "home_jobs.html", jobs=jobs)
