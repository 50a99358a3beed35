"""Rows of concepts, from the files that workflows wrote and from what was measured."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.core.files import header_marks

from .access import may_change
from .made import Made
from .tables import Concept, Subject, User


def concept_id(made: Made, stem: str) -> str:
    """The id of the concept that a job learns, known before its row is there."""
    return made.id(f"concept {stem}")


def add_concepts(session: Session, made: Made) -> list[str]:
    """Add a row for each concept that the job made, and return their ids."""
    ids = []
    for stem, path in made.concepts.items():
        header = read_header(path)
        sha256 = made.stored[stem]
        subject = _subject_of(made, stem)
        card = header.get("subject")
        card = card if isinstance(card, Mapping) else {}
        row = Concept(
            id=concept_id(made, stem),
            owner_id=made.job.owner_id,
            name=_free_name(session, made.job.owner_id, stem, concept_id(made, stem)),
            handle=str(header.get("handle") or f"<{stem}>")[:128],
            noun=str(card.get("noun") or "")[:64],
            kind=str(card.get("kind") or "object")[:16],
            method=str(header.get("method", ""))[:64],
            base=str((header.get("base") or {}).get("name", ""))[:255],
            sha256=sha256,
            num_bytes=path.stat().st_size,
            subject_id=subject.id if subject is not None else None,
            job_id=made.job.id,
            header={name: value for name, value in header.items() if name not in ("losses", "scores")},
            scores=dict(header.get("scores") or {}),
            diagnosis=made.diagnosis,
            certificate=made.certificate,
            states=_states(made, sha256, header),
        )
        session.merge(row)
        ids.append(row.id)
    return ids


def read_header(path: Path) -> dict[str, Any]:
    """The header of a concept's file; empty for a file that has none."""
    try:
        header = json.loads(header_marks(path).get("limner", "{}"))
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def _states(made: Made, sha256: str, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The states of training, and at the end the concept itself."""
    if not made.states:
        return []
    last = int((header.get("cost") or {}).get("steps", 0))
    end = {"done": last, "sha256": sha256, "pictures": [], "scores": {}}
    return [state for done, state in sorted(made.states.items()) if done != last] + [end]


def _subject_of(made: Made, stem: str) -> Subject | None:
    """The subject of a concept: the only one, or the one whose folder had the name."""
    names = list(getattr(made.plan.request, "nouns", ()) or ())
    if stem in names:
        return made.plan.subjects[names.index(stem)]
    return made.plan.subjects[0] if made.plan.subjects else None


def _free_name(session: Session, owner: str, name: str, id: str) -> str:
    """The name, or with a number where another of the owner's concepts has it."""
    taken = set(
        session.scalars(
            select(Concept.name).where(Concept.owner_id == owner, Concept.deleted.is_(None), Concept.id != id)
        )
    )
    # the column holds 64 characters
    names = itertools.chain([name[:64]], (f"{name[:56]}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


def update_concept(session: Session, made: Made) -> None:
    """Put scores, diagnosis and certificate into the concept's row, where the job's owner may change it."""
    row = _changeable(session, made)
    if row is None:
        return
    if made.scores:
        row.scores = {**row.scores, "with it": made.scores}
        row.diagnosis = made.diagnosis
    if made.certificate:
        row.certificate = made.certificate


def place_states(session: Session, made: Made) -> None:
    """Put the pictures and scores of states into the concept's row, where the job's owner may change it."""
    row = _changeable(session, made)
    if row is None:
        return
    known = {int(state.get("done", 0)): state for state in row.states}
    for done, state in made.states.items():
        before = known.get(done, {"done": done, "sha256": row.sha256})
        known[done] = {**before, "pictures": state["pictures"], "scores": state["scores"]}
    row.states = [state for _, state in sorted(known.items())]


def _changeable(session: Session, made: Made) -> Concept | None:
    row = session.get(Concept, made.plan.concepts[0].id) if made.plan.concepts else None
    owner = session.get(User, made.job.owner_id)
    return row if row is not None and owner is not None and may_change(owner, row) else None


def diagnosis_of(text: str) -> dict[str, Any]:
    """The parts of a diagnosis from its line, "label: finding and advice"."""
    from limner.evaluation.diagnose import words_about

    label = text.split(":", 1)[0]
    finding, advice = words_about(label)
    _, separator, rest = text.partition(f"{label}: {finding} ")
    return {"label": label, "finding": finding, "advice": rest if separator else advice}
