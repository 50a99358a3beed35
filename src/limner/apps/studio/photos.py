"""Photos that something is put into: a likeness in the place of a thing there, or a garment on a person."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from limner.apps.api.routes.common import find_visible
from limner.apps.jobs.tables import Concept, Job
from limner.errors import InputError

from .canvases import photo_of_form
from .paint import named
from .rows import concepts_of, job_view, labels_of, pictures_of_job, visible_picture
from .uploading import keep_picture, read_picture
from .view import Form, decimal, form_key, go, is_fragment, line, queue_job, reading, render, text, user_of, whole

router = APIRouter(include_in_schema=False)
WAYS = (
    ("", "the likeness's own way, else photoswap"),
    ("photoswap", "photoswap: the whole photo is sampled again"),
    ("swapanything", "swapanything: within the mask alone"),
)
SHOWN = 4
"""Number of earlier results on a page."""


@router.get("/swap")
def show_swap(request: Request, photo: str = "", concept: str = "") -> Response:
    """The page that puts a likeness into a photo. photo: a picture of the gallery. concept: the likeness chosen"""
    with reading(request) as session:
        concepts = concepts_of(session, user_of(request))
        if concept:
            find_visible(session, Concept, concept, user_of(request))
    labels = labels_of(concepts)
    values = {"likenesses": [(each.id, labels[each.id]) for each in concepts], "chosen": concept, "ways": WAYS}
    return _page(request, "swap", photo, title="Put a likeness into a photo", **values)


@router.get("/try-on")
def show_try_on(request: Request, photo: str = "") -> Response:
    """The page that puts a garment on a person. photo: a picture of the gallery that shows the person"""
    return _page(request, "try-on", photo, title="Dress the person in a photo")


def _page(request: Request, kind: str, photo: str, **values: Any) -> Response:
    with reading(request) as session:
        user = user_of(request)
        photo = visible_picture(session, photo, user).id if photo else ""
        wanted = select(Job).where(Job.owner_id == user.id, Job.kind == kind)
        jobs = list(session.scalars(wanted.order_by(Job.created.desc()).limit(SHOWN)))
        results = [(job_view(job), pictures_of_job(session, job)) for job in jobs]
    name = f"{kind.replace('-', '_')}.html"
    return render(request, name, photo=photo, results=results, key=form_key(), **values)


@router.post("/swap")
async def swap(request: Request, form: Form) -> Response:
    """Queue the swap of a form."""
    photo = await photo_of_form(request, form, "photo")
    if not photo:
        raise InputError("choose the photo that the likeness is put into")
    payload = await run_in_threadpool(_swap_of, request, form)
    return await _queue(request, "swap", payload | photo, text(form, "photo", most=32), form)


def _swap_of(request: Request, form: FormData) -> dict[str, Any]:
    """The likeness, the prompts and the settings of the form of a swap."""
    number = text(form, "concept", most=32)
    if not number:
        raise InputError("choose the likeness to put into the photo")
    with reading(request) as session:
        concept = find_visible(session, Concept, number, user_of(request))
    return {
        "concept": {"id": concept.id},
        "prompt": line(form, "prompt", most=2000),
        "source_noun": line(form, "source_noun"),
        "source_prompt": line(form, "source_prompt", most=2000),
        "how": named(form, "how", WAYS),
        "negative": line(form, "negative", most=2000),
        "steps": whole(form, "steps", 50, least=1, most=200),
        "guidance": decimal(form, "guidance", 7.5, least=0, most=30),
        **_seeds(form),
    }


@router.post("/try-on")
async def try_on(request: Request, form: Form) -> Response:
    """Queue the try-on of a form."""
    person = await photo_of_form(request, form, "person")
    garment = await read_picture(request, form, "garment_file")
    if not person or garment is None:
        raise InputError("choose two photos: that of the person, and that of the garment")
    payload = {
        "garment": await keep_picture(request, garment.data),
        "noun": line(form, "noun", most=64) or "shirt",
        "steps": whole(form, "steps", 25, least=1, most=200),
        "guidance": decimal(form, "guidance", 4.0, least=0, most=30),
        **_seeds(form),
    }
    return await _queue(request, "try-on", payload | person, text(form, "person", most=32), form)


def _seeds(form: FormData) -> dict[str, int]:
    return {
        "seed": whole(form, "seed", secrets.randbelow(1_000_000), most=2**31 - 1),
        "count": whole(form, "count", 1, least=1, most=16),
    }


async def _queue(request: Request, kind: str, payload: dict[str, Any], photo: str, form: FormData) -> Response:
    """Queue the job; a script gets the panel that shows it, a browser without scripts the page of the job.

    photo: id of the gallery's picture that was changed, where it is one
    """
    parent = {"parent": photo} if photo and photo in payload.values() else {}
    job_id = await run_in_threadpool(queue_job, request, kind, payload | parent, form)
    if is_fragment(request):
        return await run_in_threadpool(_panel, request, job_id)
    return go(request, f"/jobs/{job_id}")


def _panel(request: Request, job_id: str) -> Response:
    with reading(request) as session:
        job = session.get_one(Job, job_id)
        return render(request, "painted.html", j=job_view(job), pictures=pictures_of_job(session, job))
