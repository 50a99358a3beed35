"""Teach: photos in, what was read of them, and the plan of the training before it begins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from limner.apps.api.routes.common import find_own, note, picture_kind, store
from limner.apps.api.uploads import UploadedPicture
from limner.apps.jobs import retention
from limner.apps.jobs.tables import Job, Reference, Subject
from limner.core.subject import KINDS, check_name, check_noun
from limner.errors import InputError
from limner.workflows.choose_method import GOALS

from . import plans, reports
from .rows import OPEN
from .uploading import read_pictures
from .view import (
    Form,
    decimal,
    flag,
    form_key,
    go,
    lines,
    queue_job,
    reading,
    render,
    text,
    uploads,
    user_of,
    whole,
    writing,
)

router = APIRouter(include_in_schema=False)
KIND_CHOICES = tuple((kind, kind) for kind in KINDS)
GOAL_NAMES = tuple(GOALS)
MOST_PHOTOS = 200


@router.get("/teach")
def show(request: Request) -> Response:
    """The form for photos, and the subjects that the user gave before."""
    with reading(request) as session:
        wanted = select(Subject).where(Subject.owner_id == user_of(request).id, Subject.deleted.is_(None))
        rows = session.scalars(wanted.order_by(Subject.created.desc()).limit(24))
        subjects = [
            {"id": s.id, "name": s.name, "noun": s.noun, "number": len(s.pictures), "cover": _cover(s)} for s in rows
        ]
    goals = [(goal, goal) for goal in GOAL_NAMES]
    return render(
        request, "teach.html", title="Teach", subjects=subjects, kinds=KIND_CHOICES, goals=goals, key=form_key()
    )


def _cover(subject: Subject) -> str:
    return subject.pictures[0].id if subject.pictures else ""


@router.post("/teach")
async def add(request: Request, form: Form) -> Response:
    """Make a subject of uploaded photos and look at them."""
    name, noun = _named(form)
    photos = await read_pictures(request, uploads(form, "photos"))
    if not photos:
        raise InputError("no photos came with the form; choose at least one")
    subject_id = await run_in_threadpool(_store, request, form, name, noun, photos)
    return go(request, f"/teach/{subject_id}")


def _named(form: FormData) -> tuple[str, str]:
    """Name and class of the form. Raises `InputError` for what cannot be one."""
    return check_name(text(form, "name", most=64)), check_noun(text(form, "noun", most=64))


def _kind(form: FormData) -> str:
    kind = text(form, "kind", "object")
    if kind not in KINDS:
        raise InputError(f"the kind must be one of {', '.join(KINDS)}, not {kind[:40]!r}")
    return kind


def _store(request: Request, form: FormData, name: str, noun: str, photos: list[UploadedPicture]) -> str:
    services = request.app.state.services
    hashes = [store(services, user_of(request), each.data, picture_kind(each.data)) for each in photos]
    with writing(request) as session:
        subject = Subject(owner_id=user_of(request).id, name=name, noun=noun, kind=_kind(form), report={})
        session.add(subject)
        session.flush()
        _append(session, subject, photos, hashes)
        note(session, request, "subject.create", subject.id, photos=len(photos))
        subject_id = subject.id
    queue_job(request, "look", {"subject": subject_id}, form)
    return subject_id


def _append(session: Session, subject: Subject, photos: list[UploadedPicture], hashes: list[str]) -> None:
    known = session.scalar(select(func.count()).select_from(Reference).where(Reference.subject_id == subject.id)) or 0
    if known + len(photos) > MOST_PHOTOS:
        raise InputError(f"a subject has at most {MOST_PHOTOS} photos, not {known + len(photos)}")
    for number, (photo, sha256) in enumerate(zip(photos, hashes, strict=True)):
        place = known + number
        session.add(Reference(subject_id=subject.id, position=place, sha256=sha256, filename=photo.filename))


@router.post("/teach/together")
def teach_together(request: Request, form: Form) -> Response:
    """Several subjects learn in one pass."""
    ids = [each for each in form.getlist("subject") if isinstance(each, str)]
    with reading(request) as session:
        subjects = [find_own(session, Subject, each, user_of(request)) for each in dict.fromkeys(ids)]
    if len(subjects) < 2:
        raise InputError("choose two subjects or more to teach together")
    if faces := [each.name for each in subjects if each.kind == "face" and not each.may]:
        raise InputError(f"{faces[0]} is a face without consent; open its page and state it there")
    goal = text(form, "goal", "balanced")
    if goal not in GOALS:
        raise InputError(f"the goal must be one of {', '.join(GOALS)}, not {goal[:40]!r}")
    payload = {"subjects": [each.id for each in subjects], "together": True, "goal": goal}
    return go(request, f"/jobs/{queue_job(request, 'learn', payload, form)}")


# ---------------------------------------------------------------------------------------------------------- one subject


@router.get("/teach/{subject_id}")
def show_subject(request: Request, subject_id: str, goal: str = "", method: str = "") -> Response:
    with reading(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        looking = _is_looked_at(session, subject)
        index = GOAL_NAMES.index(goal) if goal in GOAL_NAMES else GOAL_NAMES.index("balanced")
        plan = plans.plan(
            GOAL_NAMES[index], subject.kind, plans.base_of(request), method=plans.known_method(method), session=session
        )
    values = {
        **_report(subject, looking),
        "title": f"Teach {subject.name}",
        "handle": f"<{subject.name}>",
        "kinds": KIND_CHOICES,
        "goal_names": GOAL_NAMES,
        "goal": index,
        "method": method,
        "methods": plans.method_choices(subject.kind, plans.base_of(request)),
        "plan": plan,
        "key": form_key(),
    }
    return render(request, "subject.html", **values)


@router.get("/teach/{subject_id}/report")
def show_report(request: Request, subject_id: str) -> Response:
    """The report on the photos; asks again for itself while that is going on."""
    with reading(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        looking = _is_looked_at(session, subject)
    return render(request, "subject_part.html", **_report(subject, looking))


@router.get("/teach/{subject_id}/plan")
def show_plan(request: Request, subject_id: str, goal: int = 1, method: str = "") -> Response:
    """Method, time, memory and all settings, for a move of the slider."""
    with reading(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        name = GOAL_NAMES[min(max(goal, 0), len(GOAL_NAMES) - 1)]
        plan = plans.plan(name, subject.kind, plans.base_of(request), method=method, session=session)
    return render(request, "plan.html", plan=plan)


def _is_looked_at(session: Session, subject: Subject) -> bool:
    """Whether a job that reads the photos waits or runs."""
    wanted = select(Job).where(Job.owner_id == subject.owner_id, Job.kind == "look", Job.state.in_(OPEN))
    return any(job.payload.get("subject") == subject.id for job in session.scalars(wanted))


def _report(subject: Subject, looking: bool) -> dict[str, Any]:
    view = reports.report_view(subject)
    return {"s": subject, "looking": looking, **view}


@router.post("/teach/{subject_id}")
async def change(request: Request, subject_id: str, form: Form) -> Response:
    """Save the form, and do what its button says."""
    photos = await read_pictures(request, uploads(form, "photos"))
    masks = await read_pictures(request, uploads(form, "masks"), mask=True)
    do = text(form, "do", "save")
    url = f"/teach/{subject_id}"
    await run_in_threadpool(_save, request, subject_id, form, photos, masks)
    if photos or masks or do == "look":
        await run_in_threadpool(queue_job, request, "look", {"subject": subject_id}, form)
    if do == "start":
        job_id = await run_in_threadpool(_start, request, subject_id, form)
        return go(request, f"/jobs/{job_id}")
    if do == "plan":
        goal = GOAL_NAMES[whole(form, "goal", 1, most=len(GOAL_NAMES) - 1)]
        return go(request, f"{url}?goal={goal}&method={plans.known_method(text(form, 'method'))}#plan")
    return go(request, url, "saved")


@router.post("/teach/{subject_id}/delete")
def delete(request: Request, subject_id: str) -> Response:
    with writing(request) as session:
        retention.delete_subject(session, find_own(session, Subject, subject_id, user_of(request)))
        note(session, request, "subject.delete", subject_id)
    return go(request, "/teach", "deleted")


def _save(
    request: Request, subject_id: str, form: FormData, photos: list[UploadedPicture], masks: list[UploadedPicture]
) -> None:
    services = request.app.state.services
    hashes = [store(services, user_of(request), each.data, picture_kind(each.data)) for each in photos]
    mask_hashes = {
        _stem(each.filename): store(services, user_of(request), each.data, picture_kind(each.data)) for each in masks
    }
    name, noun = _named(form)
    with writing(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        subject.name, subject.noun, subject.kind = name, noun, _kind(form)
        subject.person, subject.guardian = text(form, "person", most=128), text(form, "guardian", most=128)
        subject.may = flag(form, "may")
        if which := whole(form, "which", 0, most=100):
            subject.report = {**subject.report, "which": which}
        for photo in subject.pictures:
            if f"caption-{photo.id}" in form:
                photo.caption = _caption(form, text(form, f"caption-{photo.id}", most=2000))
                photo.in_training = flag(form, f"used-{photo.id}")
            photo.mask = mask_hashes.pop(_stem(photo.filename), photo.mask)
        if mask_hashes:
            raise InputError(f"no photo is named {next(iter(mask_hashes))!r}, as a mask is; name masks as their photos")
        _append(session, subject, photos, hashes)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _caption(form: FormData, caption: str) -> str:
    """A caption after the change to all captions, where the form asks for one."""
    if text(form, "do") != "bulk":
        return caption
    find = text(form, "find", most=200)
    caption = caption.replace(find, text(form, "replace", most=200)) if find else caption
    parts = (text(form, "before", most=200), caption, text(form, "after", most=200))
    return " ".join(part for part in parts if part)


def _start(request: Request, subject_id: str, form: FormData) -> str:
    """Queue the training."""
    with reading(request) as session:
        subject = find_own(session, Subject, subject_id, user_of(request))
        if not any(photo.in_training for photo in subject.pictures):
            raise InputError("every photo is left out; choose at least one to learn from")
        which = int(subject.report.get("which", 0))
    payload = training_payload(request, form, subject.kind)
    if subject.kind == "face":
        if not subject.may:
            raise InputError("a face is taught only with the person's consent: tick the box under Consent")
        payload |= {"which": which} if which else {}
    return queue_job(request, "learn", {"subject": subject.id, **payload}, form)


def training_payload(request: Request, form: FormData, kind: str) -> dict[str, Any]:
    """The fields of a request to learn that the form holds."""
    goal = GOAL_NAMES[whole(form, "goal", 1, most=len(GOAL_NAMES) - 1)]
    method = plans.known_method(text(form, "method", most=100))
    base = plans.base_of(request)
    chosen = method or plans.plan(goal, kind, base)["method"]
    payload: dict[str, Any] = {
        "goal": goal,
        "seed": whole(form, "seed", 0, most=2**31 - 1),
        "sample_every": whole(form, "sample_every", plans.SAMPLE_EVERY, most=100_000),
        "states": whole(form, "states", 4, most=20),
        "hold_out": whole(form, "hold_out", 0, most=20),
        "keep": "best" if text(form, "keep") == "best" else "last",
    }
    settings = plans.changed_settings(form, chosen, base)
    if method or settings:
        payload |= {"method": chosen, "settings": settings}
    if budget := decimal(form, "budget", 0.0, least=0, most=604_800):
        payload["budget"] = budget
    if prompts := lines(form, "sample_prompts", most=12):
        payload["sample_prompts"] = prompts
    return payload
