"""The plan of a training for its page: method, time, memory and a form of all settings, without torch."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from limner.apps.jobs.tables import Concept, Job, Subject
from limner.core.method import settings
from limner.errors import InputError, LimnerError, UnknownName
from limner.library.settings import check_setting
from limner.methods import card, find, methods
from limner.workflows.choose_method import measured
from limner.workflows.form import Field, fields_of
from limner.workflows.quick_estimate import quick_estimate

from .view import settings_of, text

LAST_TRAININGS = 8
"""Number of the last trainings by which the time of the next one is estimated."""
SAMPLE_EVERY = 25
"""Updates between samples where the form of a training names no number."""


def base_of(request: Request) -> str:
    """Name of the base that the studio teaches on."""
    return str(request.app.state.services.config.base.name or "pocket")


def known_method(name: str) -> str:
    """The name itself. Raises `UnknownName` unless it is one of limner's methods: a client never names code to run."""
    if name and name not in methods():
        raise UnknownName("method", name[:100], methods())
    return name


@functools.cache
def method_choices(kind: str, base: str) -> tuple[dict[str, Any], ...]:
    """The methods for a kind of subject, those that were measured first, by their seconds."""
    wanted, results = "object" if kind == "pet" else kind, measured(base)
    scope = {"action": "semantic", "relation": "semantic"}.get(wanted, wanted)
    rows = [
        {"name": name, "title": card(each).title, "seconds": results.get(name, {}).get("seconds")}
        for name, each in methods().items()
        if scope in card(each).scope
    ]
    return tuple(sorted(rows, key=lambda row: (row["seconds"] is None, row["seconds"] or 0, row["title"])))


def pace_of(session: Session, base: str) -> float | None:
    """How many times longer the last trainings on a base lasted than where the bench was measured, of everything that a
    training does; None where there were none."""
    wanted = select(Job).where(Job.kind == "learn", Job.state == "done", Job.seconds > 0)
    jobs = session.scalars(wanted.order_by(Job.ended.desc()).limit(LAST_TRAININGS)).all()
    paces = [each for each in (_pace(session, job, base) for job in jobs) if each is not None]
    return statistics.median(paces) if paces else None


def _pace(session: Session, job: Job, base: str) -> float | None:
    """The pace of one training; None for one that was cut short, and for one whose time is not estimated."""
    payload, subject = job.payload, session.get(Subject, str(job.payload.get("subject", "")))
    cut = "stop" in (job.wishes or {}) or payload.get("budget") or payload.get("stop")
    if cut or subject is None or payload.get("base") not in (None, base):
        return None
    about = {name: payload[name] for name in ("method", "sample_every") if name in payload}
    goal = payload.get("goal", "balanced")
    try:
        usual = quick_estimate(goal, subject.kind, base, given=payload.get("settings"), pace=1.0, **about)
    except LimnerError:  # a method or a setting that this version does not know
        return None
    return job.seconds / usual.whole_seconds if usual.whole_seconds else None


def seconds_before(session: Session, method: str, given: Mapping[str, Any], base: str) -> float | None:
    """Seconds of the last training by a method with these settings on a base without a bench; None where there was
    none."""
    wanted = select(Job).where(Job.kind == "learn", Job.state == "done", Job.seconds > 0)
    for job in session.scalars(wanted.order_by(Job.ended.desc()).limit(100)):
        concept = session.scalars(select(Concept).where(Concept.job_id == job.id).limit(1)).first()
        same = concept is not None and (concept.method, concept.base) == (method, base)
        if same and dict(job.payload.get("settings", {})) == dict(given) and "stop" not in (job.wishes or {}):
            return job.seconds
    return None


def plan(
    goal: str,
    kind: str,
    base: str,
    *,
    method: str = "",
    given: Mapping[str, Any] | None = None,
    session: Session | None = None,
) -> dict[str, Any]:
    """Method, cost and settings of a training that has not begun. With a session, its time is estimated by the last
    trainings here."""
    about: dict[str, Any] = {"method": known_method(method), "given": given, "sample_every": SAMPLE_EVERY}
    pace = pace_of(session, base) if session is not None else None
    estimate = quick_estimate(goal, kind, base, pace=pace, **about)
    whole, basis = estimate.whole_seconds, estimate.basis
    if whole is None and session is not None:
        whole = seconds_before(session, estimate.method, given or {}, base)
        basis = f"the last training by {estimate.method} here took this long" if whole is not None else basis
    row = measured(base).get(estimate.method, {})
    return {
        "method": estimate.method,
        "title": card(find(estimate.method)).title,
        "why": f"{estimate.why[:1].upper()}{estimate.why[1:]}.",
        "whole": whole,
        "seconds": estimate.seconds,
        "between": estimate.between,
        "memory": estimate.memory_bytes,
        "basis": basis,
        "h": row.get("H"),
        "fields": [field_view(each, base, (given or {}).get(each.name)) for each in fields_of(estimate.method)],
    }


def default_of(field: Field, base: str) -> Any:
    return field.default if measured(base) else field.full_size_default


def field_view(field: Field, base: str, value: Any = None) -> dict[str, Any]:
    """A setting as the form draws it."""
    number = field.type in ("int", "float")
    return {
        "name": field.name,
        "type": field.type,
        "help": field.help,
        "value": default_of(field, base) if value is None else value,
        "choices": field.choices,
        "options": [(each, each) for each in field.choices],
        "input": "number" if number else "text",
        "step": {"int": "1", "float": "any"}.get(field.type, ""),
        "min": "" if field.least is None else field.least,
        "max": "" if field.greatest is None else field.greatest,
    }


def changed_settings(form: FormData, method: str, base: str) -> dict[str, Any]:
    """The settings of a form that differ from the method's own.

    Raises `InputError` for a value that the method does not take, and where the form shows the settings of another
    method and changes them: a browser without scripts leaves them there when the goal or the method is moved.
    """
    shown = known_method(text(form, "shown_method", most=100)) or method
    if shown != method:
        if _changed(form, shown, base):
            raise InputError(
                f"the settings that you changed are those of {shown}, and {method} is chosen now: press “Show method, "
                "time and settings” first, and change its own"
            )
        return {}
    return _changed(form, method, base)


def _changed(form: FormData, method: str, base: str) -> dict[str, Any]:
    kinds = {each.name: each.type for each in settings(find(method))}
    fields = {each.name: each for each in fields_of(method)}
    usual = {name: (kinds[name], default_of(each, base)) for name, each in fields.items()}
    changed = settings_of(form, "set.", usual)
    for name, value in changed.items():
        check_setting(name, value, kinds[name])
        if fields[name].choices and value not in fields[name].choices:
            raise InputError(f"{name} must be one of {', '.join(fields[name].choices)}, not {str(value)[:100]!r}")
    return changed


def clone_settings(
    payload: Mapping[str, Any], base: str, kind: str, *, session: Session | None = None
) -> dict[str, Any]:
    """The plan of a job that is done again: its own method and settings. An old one may name a setting that is gone."""
    about = {"method": payload.get("method", ""), "given": payload.get("settings")}
    try:
        return plan(payload.get("goal", "balanced"), kind, base, session=session, **about)
    except LimnerError:
        return plan("balanced", kind, base, session=session)
