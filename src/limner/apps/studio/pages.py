"""The studio's pages, added to the server."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

from . import (
    bench,
    chat,
    compare,
    concept_actions,
    concepts,
    gallery,
    hardware,
    home,
    images,
    jobs,
    paint,
    people,
    photos,
    protect,
    teach,
)
from .sure import NotSure, ask_first, show_question
from .view import HERE, error_page

GROUPS = (
    *(home, teach, protect, paint, photos, concepts, concept_actions, compare, gallery, images, chat, jobs, bench),
    hardware,
    people,
)


def mount_studio(app: FastAPI) -> None:
    """Add the pages and their static files, and draw errors of browsers as pages."""
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for group in GROUPS:
        app.include_router(group.router, dependencies=[Depends(ask_first)])
    app.add_exception_handler(NotSure, show_question)
    app.state.error_page = error_page
    app.state.login_page = people.login_page
