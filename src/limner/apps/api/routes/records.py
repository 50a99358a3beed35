"""Rows of the database as records of the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from limner.apps.jobs import tables
from limner.apps.jobs.tables import User

from ..fields import Record


def when(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def subject_record(row: tables.Subject) -> Record:
    return {
        "id": row.id,
        "name": row.name,
        "handle": f"<{row.name}>",
        "noun": row.noun,
        "kind": row.kind,
        "may": row.may,
        "person": row.person,
        "guardian": row.guardian,
        "report": row.report,
        "created": when(row.created),
        "pictures": [reference_record(each) for each in row.pictures],
    }


def reference_record(row: tables.Reference) -> Record:
    place = f"/api/subjects/{row.subject_id}/pictures/{row.id}"
    return {
        "id": row.id,
        "filename": row.filename,
        "caption": row.caption,
        "in_training": row.in_training,
        "position": row.position,
        "sha256": row.sha256,
        "content": f"{place}/content",
        "thumbnail": f"{place}/thumbnail",
        "mask": f"{place}/mask" if row.mask else None,
    }


def concept_record(row: tables.Concept, user: User, *, whole: bool = False) -> Record:
    """A concept; `whole` adds its certificate, and for its owner the states of its training and its file's header,
    which names the photos and their captions."""
    own = row.owner_id == user.id
    record: Record = {
        "id": row.id,
        "name": row.name,
        "handle": row.handle,
        "noun": row.noun,
        "kind": row.kind,
        "method": row.method,
        "base": row.base,
        "num_bytes": row.num_bytes,
        "subject": row.subject_id if own else None,
        "job": row.job_id if own else None,
        "shared": not own,
        "scores": row.scores,
        "diagnosis": row.diagnosis,
        "created": when(row.created),
        "file": f"/api/concepts/{row.id}/file" if own else None,
    }
    if whole:
        record |= {"certificate": row.certificate}
        record |= {"header": row.header, "states": row.states} if own else {}
    return record


def job_record(row: tables.Job, *, whole: bool = False) -> Record:
    """A job; `whole` adds its payload, its result, and the files that it made, each with the address of its content."""
    record: Record = {
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "position": row.position,
        "progress": row.progress,
        "wishes": row.wishes,
        "failure": row.failure,
        "seconds": row.seconds,
        "attempts": row.attempts,
        "created": when(row.created),
        "started": when(row.started),
        "ended": when(row.ended),
    }
    if not whole:
        return record
    place = f"/api/jobs/{row.id}/files"
    files = [each | {"content": f"{place}/{number}"} for number, each in enumerate(files_of(row))]
    return record | {"payload": row.payload, "result": row.result, "files": files}


def picture_record(row: tables.Picture) -> Record:
    return {
        "id": row.id,
        "prompt": row.prompt,
        "seed": row.seed,
        "base": row.base,
        "settings": row.settings,
        "concepts": row.concepts,
        "parent": row.parent_id,
        "job": row.job_id,
        "scores": row.scores,
        "favourite": row.favourite,
        "purpose": row.purpose,
        "created": when(row.created),
        "content": f"/api/pictures/{row.id}/content",
        "thumbnail": f"/api/pictures/{row.id}/thumbnail",
    }


def files_of(job: tables.Job) -> list[Record]:
    """The files that a job made for downloading, of exports and repositories: "name", "sha256" and "bytes"."""
    files = (job.result or {}).get("files", [])
    if isinstance(files, dict):
        files = [{"name": name, "sha256": sha256} for name, sha256 in files.items()]
    return [
        {"name": str(each.get("name", "file")), "sha256": each["sha256"], "bytes": each.get("bytes")}
        for each in files
        if isinstance(each, dict) and each.get("sha256")
    ]


def user_record(row: User) -> Record:
    names = ("id", "name", "role", "disabled", "most_jobs", "most_seconds", "most_bytes")
    return {name: getattr(row, name) for name in names} | {"created": when(row.created)}


def token_record(row: tables.Token) -> Record:
    """A token without its secret, which nobody can read again."""
    times: dict[str, Any] = {name: when(getattr(row, name)) for name in ("created", "last_used", "revoked")}
    return {"id": row.id, "label": row.label, **times}


def turn_record(row: tables.Turn) -> Record:
    return {
        "id": row.id,
        "parent": row.parent_id,
        "words": row.words,
        "answer": row.answer,
        # the newest turn holds the record of the whole conversation, for workers
        "state": {name: value for name, value in row.state.items() if name != "conversation"},
        "picture": row.picture_id,
        "created": when(row.created),
    }
