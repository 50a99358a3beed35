"""Payloads: a job's kind and JSON -> the request of a workflow.

A payload holds the fields of its request (`limner.workflows.requests`), with everything replaced that would be a path:
`subject` by the id of a subject, `concept` and `concepts` by {"id", "scale"}, pictures by their ids or by the SHA-256
of stored content. Only the fields in `readers.py` are read: none names a file, a folder, an address or code. Everything
that a payload names must be visible to the job's owner, when the job is submitted and again when it runs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from limner.errors import InputError, UnknownName
from limner.methods import methods, protections
from limner.workflows.requests import BaseChoice, PaintRequest, Request, plain_data, read_request

from .checks import check_handles, check_pictures
from .conditions import NONE, Networks, networks_for
from .files import Files
from .layout import Layout
from .readers import MOST_SEEDS, READERS
from .reading import Reading
from .safe_settings import check_method, check_settings
from .tables import Concept, Subject, User

POCKET = (BaseChoice(),)
MOST: Mapping[str, float] = {
    "prompts": 64,
    "concepts": 16,
    "count": 64,
    "steps": 1000,
    "preview": 16,
    "states": 100,
    "frames": 64,
    "sample_prompts": 16,
    "num_pictures": 10_000,
    "hold_out": 1000,
    "slots": 256,
    "rank": 1024,
    "scale": 10,
    "seeds": MOST_SEEDS,
    "subjects": 256,
    "regions": 16,
    "conditions": 8,
    "weights": 16,
    "formats": 8,
    "beside": 8,
    "pictures": 64,
}
"""Field of a payload -> its largest number, or its largest length."""
LISTS = ("concepts", "subjects", "beside", "prompts", "seeds", "pictures")
MAX_DEPTH = 8
"""Largest depth of nested tables in a payload."""
EXTRA = ("base", "parent", "title")
"""Fields of every payload that no request has: the name of one of the server's bases, the picture that a new one is
made from, and words for people."""


@dataclass(frozen=True)
class Plan:
    """A request with the files that it reads, and the rows that its results belong to."""

    request: Request
    files: Mapping[Path, str]  # place -> SHA-256
    texts: Mapping[Path, str]  # place -> text
    concepts: Sequence[Concept] = ()
    subjects: Sequence[Subject] = ()
    scales: Sequence[float] = ()


def plan(
    session: Session,
    user: User,
    kind: str,
    payload: Mapping[str, Any],
    *,
    folder: Path = Path("/job"),
    bases: Sequence[BaseChoice] = POCKET,
    networks: Networks = NONE,
    again: bool = False,
    skip: int = 0,
) -> Plan:
    """Read a payload into a request. Nothing is written, and no file is opened.

    Args:
        user: the job's owner.
        folder: the job's folder.
        bases: the bases that the server offers, the default one first.
        networks: the networks that the server adds to them for conditions.
        again: whether an earlier worker may have begun this job in this folder.
        skip: for painting, the number of pictures that are stored already.

    Raises `InputError` for a payload that cannot be read, with the field and what it must be, for a condition that
    nothing reads and for a handle that nothing answers to; and `NotFound` for a thing that the owner may not see.
    """
    if kind not in READERS:
        raise UnknownName("kind of job", kind, READERS)
    reader, known = READERS[kind]
    for name in payload:
        if name not in known and name not in EXTRA:
            raise UnknownName(f"field of a job to {kind}, named", str(name)[:100], (*known, *EXTRA))
    _check_sizes(payload)
    reading = Reading(kind, payload, Layout(folder, session, user), bases)
    reader(reading, again)
    own = protections() if kind == "protect" else methods()
    check_method(payload.get("method", ""), own)
    check_method(payload.get("how", ""), own)
    check_settings(str(payload.get("method") or payload.get("how") or ""), payload.get("settings", {}), own)
    base = _base(reading)
    record = {"request": kind, "base": plain_data(base), **reading.fields}
    if skip:
        record["skip"] = skip
    request = read_request(json.dumps(record))
    if isinstance(request, PaintRequest) and (request.conditions or request.computed):
        added = networks_for(request.conditions, request.computed, reading.concepts, base, networks)
        request = replace(request, **added)
    check_handles(request, reading.concepts)
    layout = reading.layout
    return Plan(request, layout.files, layout.texts, reading.concepts, reading.subjects, reading.scales)


def check_payload(
    session: Session,
    user: User,
    kind: str,
    payload: Mapping[str, Any],
    *,
    bases: Sequence[BaseChoice] = POCKET,
    networks: Networks = NONE,
    files: Files | None = None,
) -> dict[str, Any]:
    """Check a payload before it is submitted, and return it. With the store of `files`, the shapes of its pictures are
    checked, too. Raises as `plan`."""
    planned = plan(session, user, kind, payload, bases=bases, networks=networks)
    if files is not None:
        check_pictures(planned.request, lambda place: files.read(planned.files[place]))
    return dict(payload)


def _check_sizes(payload: Mapping[str, Any]) -> None:
    _check_values(payload)
    if len(text := json.dumps(payload)) > 1_000_000:
        raise InputError(f"a payload has at most 1,000,000 characters, not {len(text):,}")
    for name in LISTS:
        if payload.get(name) is not None and not isinstance(payload[name], list):
            raise InputError(f"{name} must be a list, not {str(payload[name])[:80]!r}")
    if not isinstance(title := payload.get("title") or "", str) or len(title) > 200:
        raise InputError(f"title must be a text of at most 200 characters, not {str(title)[:80]!r}")
    if not isinstance(parent := payload.get("parent") or "", str) or not re.fullmatch(r"([0-9a-f]{32})?", parent):
        raise InputError(f"parent must be the id of a picture or of a turn, not {str(parent)[:80]!r}")
    for name, most in MOST.items():
        value = payload.get(name)
        if isinstance(value, (list, dict, str)) and len(value) > most:
            raise InputError(f"{name} has {len(value)} entries; {most:g} is the most")
        if isinstance(value, (int, float)) and not 0 <= value <= most:
            raise InputError(f"{name} must be from 0 to {most:g}, not {value}")


def _check_values(payload: Mapping[str, Any]) -> None:
    """Raise `InputError` for values that a database or a page cannot hold: deep tables, numbers that are not finite,
    and characters that are no text. A stored job that holds one would stop every reader of the table."""
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"a payload holds finite numbers, not {value}")
            if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
                raise InputError(f"a text holds a null or half of a character: {value[:80]!a}")
        inner = [each for value in level if isinstance(value, dict) for pair in value.items() for each in pair]
        level = inner + [each for value in level if isinstance(value, (list, tuple)) for each in value]
        if not level:
            return
    raise InputError(f"a payload has tables within tables, at most {MAX_DEPTH} deep")


def _base(reading: Reading) -> BaseChoice:
    """The base that the payload names, among those of the server; else the one that the first concept was learned on,
    where the server offers it; else the server's first."""
    names = {choice.name: choice for choice in reading.bases}
    asked = reading.payload.get("base")
    if asked:
        if not isinstance(asked, str) or asked not in names:
            raise UnknownName("base at this server, named", str(asked)[:100], names)
        return names[asked]
    learned_on = next((row.base for row in reading.concepts), "")
    return names.get(learned_on, reading.bases[0])
