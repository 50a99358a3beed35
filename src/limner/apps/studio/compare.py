"""Compare: likenesses and methods on the same prompts and seeds, in a table of pictures with scores."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from limner.apps.api.routes.common import find_own, find_visible
from limner.apps.jobs.tables import Concept, Job, Picture
from limner.errors import InputError

from .rows import concepts_of, job_view, jobs_of, labels_of, names_of, pictures_of_job
from .view import Form, flag, form_key, go, lines, queue_job, reading, render, user_of, whole

router = APIRouter(include_in_schema=False)
PROMPTS = ("a photo of {}", "{} on the beach", "{} in the snow", "a painting of {}")
BASE = "the base alone"
MOST_CONCEPTS = 12


@router.get("/compare")
def show_form(request: Request, concept: str = "") -> Response:
    with reading(request) as session:
        user = user_of(request)
        concepts = concepts_of(session, user)
        earlier = jobs_of(session, user, kinds=("compare",), limit=12)
    prompts = "\n".join(PROMPTS)
    return render(
        request,
        "compare.html",
        title="Compare",
        concepts=concepts,
        labels=labels_of(concepts),
        chosen=concept,
        prompts=prompts,
        earlier=[(each, f"/compare/{each.id}") for each in earlier],
        key=form_key(),
    )


@router.post("/compare")
def start(request: Request, form: Form) -> Response:
    ids = list(dict.fromkeys(each for each in form.getlist("concept") if isinstance(each, str)))
    prompts = lines(form, "prompts", most=12)
    if not 0 < len(ids) <= MOST_CONCEPTS:
        raise InputError(f"choose from 1 to {MOST_CONCEPTS} likenesses to compare, not {len(ids)}")
    if not prompts:
        raise InputError("write at least one prompt; {} stands for the subject")
    with reading(request) as session:
        for each in ids:
            find_visible(session, Concept, each, user_of(request))
    first = whole(form, "seed", 0, most=2**31 - 1)
    payload: dict[str, Any] = {
        "concepts": [{"id": each, "scale": 1.0} for each in ids],
        "prompts": prompts,
        "seeds": [first + k for k in range(whole(form, "count", 1, least=1, most=4))],
        "base_too": flag(form, "base_too"),
    }
    return go(request, f"/compare/{queue_job(request, 'compare', payload, form)}")


@router.get("/compare/{job_id}")
def show(request: Request, job_id: str) -> Response:
    return render(request, "comparison.html", title="Comparison", **_values(request, job_id))


@router.get("/compare/{job_id}/table")
def show_table(request: Request, job_id: str) -> Response:
    return render(request, "comparison_table.html", **_values(request, job_id))


def _values(request: Request, job_id: str) -> dict[str, Any]:
    with reading(request) as session:
        job = find_own(session, Job, job_id, user_of(request))
        pictures = pictures_of_job(session, job)
        columns = columns_of(session, job, pictures)
        return {
            "j": job_view(job, names_of(session, [job])),
            "columns": columns,
            "rows": rows_of(job, pictures, [key for key, _, _ in columns]),
        }


def columns_of(session: Session, job: Job, pictures: list[Picture]) -> list[tuple[str, str, str]]:
    """(key, name, method) of each column: the concepts in the order chosen, and the base where it was painted."""
    ids = [str(each.get("id", "")) for each in job.payload.get("concepts", [])]
    known = {row.id: row for row in session.scalars(select(Concept).where(Concept.id.in_(ids)))} if ids else {}
    columns = [(each, known[each].name, known[each].method) for each in ids if each in known]
    if any(not picture.concepts for picture in pictures):
        columns.append(("", BASE, ""))
    return columns


def rows_of(job: Job, pictures: list[Picture], keys: list[str]) -> list[dict[str, Any]]:
    """A row for each prompt as it was asked, with the pictures of each column."""
    prompts = list(job.payload.get("prompts", ()))
    table: dict[str, dict[str, list[Picture]]] = {prompt: {key: [] for key in keys} for prompt in prompts}
    for picture in pictures:
        key = str(picture.concepts[0].get("id", "")) if picture.concepts else ""
        place = picture.settings.get("asked")
        prompt = place if place in table else next((each for each in prompts if fits(each, picture.prompt)), None)
        if prompt is None:
            prompt = picture.prompt
            table.setdefault(prompt, {each: [] for each in keys})
        if key in table[prompt]:
            table[prompt][key].append(picture)
    return [{"prompt": prompt, "cells": [cells[key] for key in keys]} for prompt, cells in table.items()]


def fits(asked: str, painted: str) -> bool:
    """Whether a prompt is what was asked, with a subject in the place of {}."""
    before, braces, after = asked.partition("{}")
    if not braces:
        return asked == painted
    return painted.startswith(before) and painted.endswith(after) and len(painted) > len(before) + len(after)
