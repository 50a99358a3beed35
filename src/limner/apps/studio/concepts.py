"""Likenesses: the list, and the page of each: scores, diagnosis, states, certificate, export, shares."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from limner.apps.api.routes import concepts as api
from limner.apps.api.routes.common import file_response, find_own, find_visible, note, store
from limner.apps.api.uploads import plain_filename, read_upload
from limner.apps.jobs.tables import Concept, Job, Picture, Share, User
from limner.core.subject import check_name, check_noun
from limner.errors import InputError, LimnerError
from limner.methods import card, methods
from limner.workflows.advice import advise
from limner.workflows.requests import BaseChoice, LearnRequest

from .rows import concepts_of, labels_of, pictures_of
from .view import Form, form_key, go, queue_job, reading, render, text, user_of, writing
from .words import diagnosis_words, picture_scores, score_rows, seconds, size
from .words import number as short

router = APIRouter(include_in_schema=False)
MERGINGS = ("average", "weighted", "closed-form", "gradient-fusion", "neurons", "orthogonal", "continual")
FORMATS = ("diffusers", "kohya", "comfyui", "a1111", "peft")
MEDIA_TYPE = "application/octet-stream"


@router.get("/concepts")
def show_all(request: Request, q: str = "") -> Response:
    with reading(request) as session:
        concepts = concepts_of(session, user_of(request), search=q[:200])
    ways = [(way, way) for way in MERGINGS]
    return render(
        request,
        "concepts.html",
        title="Likenesses",
        concepts=concepts,
        labels=labels_of(concepts),
        q=q[:200],
        ways=ways,
        key=form_key(),
    )


@router.post("/concepts/import")
async def add(request: Request, form: Form) -> Response:
    """Start the job that reads a file of weights."""
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise InputError("no file came with the form; choose a safetensors file")
    services = request.app.state.services
    data = await read_upload(file, services.config.limits, most=services.config.limits.concept_bytes)
    await run_in_threadpool(api.check_safetensors, data)
    name, noun = text(form, "name", most=64), text(form, "noun", most=64)
    about = {"name": check_name(name) if name else "", "noun": check_noun(noun) if noun else ""}
    sha256 = await run_in_threadpool(store, services, user_of(request), data, MEDIA_TYPE)
    payload = {"file": sha256, "filename": plain_filename(file.filename), **about}
    return go(request, f"/jobs/{await run_in_threadpool(queue_job, request, 'import', payload, form)}")


@router.post("/concepts/merge")
def merge(request: Request, form: Form) -> Response:
    ids = list(dict.fromkeys(each for each in form.getlist("concept") if isinstance(each, str)))
    with reading(request) as session:
        chosen = [find_visible(session, Concept, each, user_of(request)) for each in ids]
    if len(chosen) < 2:
        raise InputError("merging needs two likenesses or more; tick them")
    by = text(form, "by", "average")
    if by not in MERGINGS:
        raise InputError(f"merge by one of {', '.join(MERGINGS)}, not {by[:40]!r}")
    payload: dict[str, Any] = {"concepts": [{"id": each.id, "scale": 1.0} for each in chosen], "by": by}
    payload["name"] = check_name(text(form, "merged_name", most=64))
    if by == "weighted":
        payload["weights"] = weights_of(text(form, "weights", most=200), len(chosen))
    return go(request, f"/jobs/{queue_job(request, 'merge', payload, form)}")


def weights_of(given: str, count: int) -> list[float]:
    try:
        weights = [float(each) for each in given.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"weights are numbers with spaces between, not {given[:80]!r}") from None
    if len(weights) != count:
        raise InputError(f"there are {len(weights)} weights for {count} likenesses; give one for each")
    return weights


# ---------------------------------------------------------------------------------------------------------- one concept


@router.get("/concepts/{concept_id}")
def show(request: Request, concept_id: str) -> Response:
    with reading(request) as session:
        user = user_of(request)
        concept = find_visible(session, Concept, concept_id, user)
        shared = select(User.name).join(Share, Share.user_id == User.id).where(Share.concept_id == concept.id)
        owner = session.get(User, concept.owner_id)
        values: dict[str, Any] = {
            "c": concept,
            "owner": owner.name if owner is not None and owner.id != user.id else "",
            "shares": sorted(session.scalars(shared)) if concept.owner_id == user.id else [],
            "states": states_of(session, concept),
            "pictures": pictures_of(session, user, concept=concept.id, limit=12),
        }
        diagnosis = diagnosis_words(concept.diagnosis, concept.scores, concept.header)
        advice = advice_for(session, concept, diagnosis["label"] if diagnosis else "")
    about = card(methods()[concept.method]) if concept.method in methods() else None
    return render(
        request,
        "concept.html",
        title=concept.name,
        scores=score_rows(concept.scores),
        diagnosis=diagnosis,
        advice=advice[1] if advice else "",
        checks=concept.certificate,
        method=about.title if about else concept.method,
        paper=f"https://arxiv.org/abs/{about.arxiv}" if about and about.arxiv else "",
        paper_name=f"arXiv:{about.arxiv}" if about else "",
        facts=facts_of(concept),
        formats=[(each, each) for each in FORMATS],
        key=form_key(),
        **values,
    )


def settings_of(concept: Concept) -> dict[str, Any]:
    settings = concept.header.get("settings", {})
    return dict(settings) if isinstance(settings, dict) else {}


def advice_for(session: Session, concept: Concept, label: str) -> tuple[dict[str, Any], str] | None:
    """The payload of the training that the diagnosis advises, and a sentence about it; None where nothing is left to
    change, and where the photos are not here."""
    job = session.get(Job, concept.job_id) if concept.job_id else None
    before = dict(job.payload) if job is not None and job.kind == "learn" and job.payload.get("subject") else {}
    if not label or not (before or concept.subject_id):
        return None
    unchanged = {name: before[name] for name in ("goal", "hold_out") if name in before}
    base = BaseChoice(name=concept.base or "pocket")
    about: dict[str, Any] = {"kind": concept.kind, "method": concept.method, "settings": settings_of(concept)}
    try:
        advice = advise(LearnRequest(pictures=(), base=base, **about, **unchanged), label)
    except LimnerError:
        # a method or a setting that this version does not know
        return None
    if advice is None:
        return None
    changed: dict[str, Any] = {"method": advice.request.method, "settings": dict(advice.request.settings)}
    changed |= {"hold_out": advice.request.hold_out, "goal": advice.request.goal}
    return {"subject": concept.subject_id, **before, **changed}, advice.sentence


def facts_of(concept: Concept) -> list[tuple[str, str]]:
    """Base, settings, cost and seed from the header of the concept's file."""
    rows = [("Base", concept.base), ("Seed", str(concept.header.get("seed", "")))]
    rows += [(name, short(value)) for name, value in settings_of(concept).items()]
    cost = concept.header.get("cost", {})
    rows += cost_rows(cost) if isinstance(cost, dict) else []
    rows += [("File", f"{size(concept.num_bytes)}, SHA-256 {concept.sha256[:16]}…")]
    return [(name, value) for name, value in rows if value]


def cost_rows(cost: dict[str, Any]) -> list[tuple[str, str]]:
    """Time, updates and parameters of the training, in words. The size stands beside the file."""
    named = {"seconds": "Training", "steps": "Updates", "parameters": "Learned parameters"}
    return [
        (named.get(name, f"cost: {name}"), seconds(value) if name == "seconds" else short(value))
        for name, value in cost.items()
        if name != "bytes" and isinstance(value, (int, float))
    ]


def states_of(session: Session, concept: Concept) -> list[dict[str, Any]]:
    """The strip of states, each with the picture of the seed that they share."""
    ids = [str(each) for state in concept.states for each in _picture_ids(state)]
    known = (
        set(session.scalars(select(Picture.id).where(Picture.id.in_(ids), Picture.deleted.is_(None)))) if ids else set()
    )
    return [
        {
            "done": state.get("done", 0),
            "sha256": state.get("sha256", ""),
            "picture": next((each for each in _picture_ids(state) if each in known), ""),
            "scores": picture_scores(state.get("scores", {})),
            "used": state.get("sha256") == concept.sha256,
        }
        for state in concept.states
    ]


def _picture_ids(state: dict[str, Any]) -> list[str]:
    return [str(each) for each in (state.get("pictures") or [state.get("picture", "")]) if each]


@router.get("/concepts/{concept_id}/file")
def download(request: Request, concept_id: str) -> Response:
    return api.download_concept(concept_id, request, request.app.state.services, user_of(request))


@router.get("/concepts/{concept_id}/zip")
def download_zip(request: Request, concept_id: str) -> Response:
    """The concept with its scores, certificate and sample pictures."""
    with writing(request) as session:
        user = user_of(request)
        concept = find_own(session, Concept, concept_id, user)
        pictures = pictures_of(session, user, concept=concept.id, purposes=(), limit=24)
        note(session, request, "concept.download", concept.id)
    files, buffer = request.app.state.services.files, io.BytesIO()
    about = {name: getattr(concept, name) for name in ("name", "handle", "noun", "kind", "method", "base", "scores")}
    about |= {"diagnosis": concept.diagnosis, "certificate": concept.certificate}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{concept.name}.safetensors", files.read(concept.sha256))
        archive.writestr("about.json", json.dumps(about, indent=1, ensure_ascii=False))
        for number, picture in enumerate(pictures):
            archive.writestr(f"pictures/{number:03}.png", files.read(picture.sha256))
    return file_response(buffer.getvalue(), "application/zip", filename=f"{concept.name}.zip")
