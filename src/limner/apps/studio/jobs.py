"""Jobs: the queue, and the page of each job while it runs and after."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from limner.apps.api.archives import streamed_zip
from limner.apps.api.errors import not_found
from limner.apps.api.routes.common import find_own, note
from limner.apps.api.routes.jobs import job_file
from limner.apps.api.routes.records import files_of
from limner.apps.jobs.ordering import move
from limner.apps.jobs.tables import Concept, Job, Picture, Subject
from limner.apps.jobs.wishes import choose, wish

from . import plans
from .charts import chart, loss_points
from .rows import OPEN, concept_view, covers_of, events_of, job_view, jobs_of, names_of, pictures_of_job, try_again
from .view import Form, form_key, go, queue_job, reading, render, text, user_of, whole, writing
from .words import nested_rows
from .words import number as short

router = APIRouter(include_in_schema=False)
SMOOTHING = 0.9
"""Decay of the running mean of the loss: about ten updates."""
MOST_STEPS = 40  # rows of the grid of samples


class Ask(NamedTuple):
    """A button of a job's page."""

    name: str
    text: str
    main: bool = False
    sure: str = ""
    asked: bool = False


@router.get("/jobs")
def show_all(request: Request) -> Response:
    with reading(request) as session:
        user = user_of(request)
        opened = jobs_of(session, user, states=OPEN, by_place=True)
        ended = jobs_of(session, user, states=("done", "failed", "cancelled"), limit=40)
    return render(request, "jobs.html", title="Jobs", open=opened, ended=ended)


@router.get("/jobs/queue")
def show_queue(request: Request) -> Response:
    with reading(request) as session:
        opened = jobs_of(session, user_of(request), states=OPEN, by_place=True)
    return render(request, "queue.html", open=opened)


@router.get("/jobs/{job_id}")
def show(request: Request, job_id: str) -> Response:
    with reading(request) as session:
        values = job_values(session, find_own(session, Job, job_id, user_of(request)))
    return render(request, "job.html", title=values["j"].title, key=form_key(), **values)


@router.get("/jobs/{job_id}/panel")
def show_panel(request: Request, job_id: str) -> Response:
    with reading(request) as session:
        values = job_values(session, find_own(session, Job, job_id, user_of(request)))
    return render(request, "job_panel.html", **values)


def job_values(session: Session, job: Job) -> dict[str, Any]:
    """The values that the templates of a job print."""
    names = names_of(session, [job])
    view = job_view(job, names)
    events = events_of(session, job.id)
    pictures = pictures_of_job(session, job)
    samples = [each for each in events if each.get("event") == "sample_painted"]
    steps = steps_of(samples, pictures)
    choice = choice_of(job)
    used = {number for step in steps for number in step["pictures"]} | {*choice.get("pictures", ())}
    by_id = {each.id: each for each in pictures}
    curve, title = likeness_curve(events, held_out=bool(job.payload.get("hold_out")))
    concepts = list(session.scalars(select(Concept).where(Concept.job_id == job.id, Concept.deleted.is_(None))))
    covers = covers_of(session, concepts)
    return {
        "j": view,
        "said": last_words(events),
        "spent": job.seconds,
        "asks": asks_of(job),
        "choice": {**choice, "pictures": [by_id[each] for each in choice["pictures"] if each in by_id]}
        if choice
        else {},
        "loss": chart(loss_points(events), name="Loss", mean=SMOOTHING),
        "likeness": curve,
        "likeness_title": title,
        "steps": steps[-MOST_STEPS:],
        "prompts": list(samples[-1].get("prompts", ())) if samples else [],
        "pictures": [each for each in pictures if each.id not in used],
        "concepts": [concept_view(each, covers.get(each.id, "")) for each in concepts],
        "files": files_of(job),
        "warning": str((job.result or {}).get("warning", "")),
        "checks": [each for each in events if each.get("event") == "check_done"],
        "log": [str(each["text"]) for each in events if each.get("event") in ("message", "note")][-60:],
        "facts": facts_of(job.payload, names),
        "about": links_of(session, job),
    }


def choice_of(job: Job) -> dict[str, Any]:
    """The choice among pictures that a job waits for: the most to keep, and the ids; empty where it waits for none."""
    return dict((job.progress or {}).get("choice") or {}) if job.state == "paused" else {}


def last_words(events: Sequence[Mapping[str, Any]]) -> str:
    """The last message of a job, or where its training stands."""
    for event in reversed(events):
        if event.get("event") == "message":
            return str(event["text"])
        if event.get("event") == "weights_update_done":
            return f"weights of {event['method']}: update {event['done']} of {event['total']}"
        if event.get("event") == "update_done":
            return f"update {event['done']} of {event['total']}"
    return ""


def asks_of(job: Job) -> list[Ask]:
    """The buttons that a job's state permits."""
    asked = job.wishes or {}
    learns = job.kind == "learn"
    cancel = Ask("cancel", "Cancel", sure="Cancel this job and keep nothing of it?", asked="cancel" in asked)
    if job.state == "running":
        now = [Ask("sample", "Sample now", asked="sample" in asked), Ask("save", "Save now", asked="save" in asked)]
        stop = Ask("stop", "Stop and keep", asked="stop" in asked)
        return [Ask("pause", "Pause", asked="pause" in asked), *([stop, *now] if learns else []), cancel]
    if choice_of(job):
        return [cancel]
    if job.state == "paused":
        return [
            Ask("resume", "Resume", main=True),
            *([Ask("stop", "Stop and keep")] if learns and job.started else []),
            cancel,
        ]
    if job.state == "queued":
        return [Ask("pause", "Hold back"), cancel]
    if job.state == "failed":
        return [Ask("resume", try_again(job.kind), main=True)]
    return []


def likeness_curve(events: Iterable[Mapping[str, Any]], *, held_out: bool) -> tuple[Any, str]:
    """The curve and its title: likeness of the samples by update (to held-out photos where there are any, else to the
    training photos); where no samples were scored, the held-out loss as a share of the base's."""
    likeness: list[tuple[float, float]] = []
    held: list[tuple[float, float]] = []
    for event in events:
        if event.get("event") == "sample_painted" and (value := mean_likeness(event)) is not None:
            likeness.append((float(event["done"]), value))
        if event.get("event") == "signal_measured" and "held_out_ratio" in event.get("values", {}):
            held.append((float(event["done"]), float(event["values"]["held_out_ratio"])))
    if len(likeness) > 1 or not held:
        photos = "held-out photos" if held_out else "the photos it learns from"
        return chart(likeness, name="Likeness", dots=True), f"Likeness of the samples to {photos}"
    return chart(held, name="Held-out loss", dots=True), "Loss on held-out photos, as a share of the base's"


def mean_likeness(event: Mapping[str, Any]) -> float | None:
    values = [row.get("likeness", row.get("identity", row.get("F"))) for row in event.get("scores", ())]
    known = [float(value) for value in values if isinstance(value, (int, float))]
    return sum(known) / len(known) if known else None


def steps_of(samples: Sequence[Mapping[str, Any]], pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """A row of pictures for each moment at which samples were painted."""
    by_hash = {each.sha256: each.id for each in pictures}
    known = set(by_hash.values())
    steps = []
    for event in samples:
        names = [each.get("id", "") if isinstance(each, dict) else str(each) for each in event.get("pictures", ())]
        names = names or [by_hash.get(str(each), "") for each in event.get("sha256", ())]
        score = mean_likeness(event)
        row = [name for name in names if name in known]
        steps.append({"done": event["done"], "pictures": row, "score": "" if score is None else f"{score:.2f}"})
    return [step for step in steps if step["pictures"]]


@router.get("/jobs/{job_id}/files")
def download_all(request: Request, job_id: str) -> Response:
    """All files that the job made, as a ZIP."""
    with reading(request) as session:
        files = files_of(find_own(session, Job, job_id, user_of(request)))
    if not files:
        raise not_found("file")
    parts = streamed_zip(request.app.state.services.files, [(each["name"], each["sha256"]) for each in files])
    about = {"Content-Disposition": f'attachment; filename="limner-{job_id[:8]}.zip"'}
    return StreamingResponse(parts, media_type="application/zip", headers=about)


@router.get("/jobs/{job_id}/files/{place}")
def download(request: Request, job_id: str, place: int) -> Response:
    """A file that the job made."""
    return job_file(request.app.state.services, user_of(request), job_id, place)


def facts_of(payload: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """The settings of a job, flat and in words. `names` are those of concepts, by id."""
    rows: list[tuple[str, str]] = []
    for name, value in payload.items():
        if value in (None, "", [], {}) or name in ("subject", "subjects", "concept", "conversation", "file", "parent"):
            continue
        if isinstance(value, Mapping):
            rows += nested_rows(name, value)
        elif isinstance(value, list):
            rows.append((name, ", ".join(_item(each, names or {}) for each in value)))
        else:
            rows.append((name, short(value)))
    return rows


def _item(value: Any, names: Mapping[str, str]) -> str:
    if isinstance(value, Mapping):
        name = value.get("name") or names.get(str(value.get("id", ""))) or str(value.get("id", ""))[:12]
        return f"{name} × {short(value.get('scale', 1))}"
    return short(value)


def links_of(session: Session, job: Job) -> list[tuple[str, str]]:
    """(address, words) of the likeness and of the photos that a job works on, where they still exist."""
    concept = job.payload.get("concept") or {}
    likeness = session.get(Concept, str(concept.get("id", "") if isinstance(concept, Mapping) else concept))
    photos = session.get(Subject, str(job.payload.get("subject") or ""))
    links: list[tuple[str, str]] = []
    if likeness is not None and likeness.owner_id == job.owner_id and likeness.deleted is None:
        links.append((f"/concepts/{likeness.id}", f"the likeness {likeness.name}"))
    if photos is not None and photos.owner_id == job.owner_id and photos.deleted is None:
        links.append((f"/teach/{photos.id}", f"the photos of {photos.name}"))
    return links


# -------------------------------------------------------------------------------------------------------------- actions


@router.post("/jobs/{job_id}/move")
def change_order(request: Request, job_id: str, form: Form) -> Response:
    """Move a waiting job of the user to the front of the user's jobs, or one place."""
    with reading(request) as session:
        find_own(session, Job, job_id, user_of(request))
        waiting = [each.id for each in jobs_of(session, user_of(request), states=("queued",), by_place=True, limit=500)]
    if job_id not in waiting:
        return go(request, "/jobs")
    at = waiting.index(job_id)
    others = [each for each in waiting if each != job_id]
    place = {"first": 0, "earlier": max(0, at - 1), "later": at + 1}.get(text(form, "to"), at)
    move(request.app.state.services.database, job_id, others[place] if place < len(others) else None)
    return go(request, "/jobs", "moved")


@router.post("/jobs/{job_id}/again")
def do_again(request: Request, job_id: str, form: Form) -> Response:
    with reading(request) as session:
        job = find_own(session, Job, job_id, user_of(request))
    return go(request, f"/jobs/{queue_job(request, job.kind, job.payload, form)}")


@router.get("/jobs/{job_id}/clone")
def show_clone(request: Request, job_id: str) -> Response:
    with reading(request) as session:
        job = find_own(session, Job, job_id, user_of(request))
        view = job_view(job, names_of(session, [job]))
        base = plans.base_of(request)
        plan = plans.clone_settings(job.payload, base, kind_of(session, job), session=session)
    seed = job.payload.get("seed", 0)
    return render(request, "clone.html", title="Clone", j=view, plan=plan, seed=seed, key=form_key())


def kind_of(session: Session, job: Job) -> str:
    subject = session.get(Subject, str(job.payload.get("subject", "")))
    return subject.kind if subject is not None else "object"


@router.post("/jobs/{job_id}/clone")
def clone(request: Request, job_id: str, form: Form) -> Response:
    """Teach the same photos with the form's settings."""
    with reading(request) as session:
        job = find_own(session, Job, job_id, user_of(request))
    method = plans.known_method(text(form, "method", most=100))
    settings = plans.changed_settings(form, method, plans.base_of(request))
    payload = {**job.payload, "method": method, "settings": settings, "seed": whole(form, "seed", 0, most=2**31 - 1)}
    return go(request, f"/jobs/{queue_job(request, 'learn', payload, form)}")


@router.post("/jobs/{job_id}/choose")
def choose_pictures(request: Request, job_id: str, form: Form) -> Response:
    """Keep the ticked pictures of a job that waits for a choice, which goes on with them."""
    with reading(request) as session:
        find_own(session, Job, job_id, user_of(request))
    ticked = [str(each) for each in form.getlist("chosen")]
    choose(
        request.app.state.services.database, job_id, [int(each) for each in ticked if re.fullmatch("[0-9]{1,4}", each)]
    )
    with writing(request) as session:
        note(session, request, "job.choose", job_id)
    return go(request, f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/{what}")
def ask(request: Request, job_id: str, what: str) -> Response:
    """Pause, resume, stop and keep, cancel, sample now, save now."""
    with reading(request) as session:
        find_own(session, Job, job_id, user_of(request))
    wish(request.app.state.services.database, job_id, what)
    with writing(request) as session:
        note(session, request, f"job.{what}", job_id)
    return go(request, f"/jobs/{job_id}")
