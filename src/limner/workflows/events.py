"""Events: everything that a workflow says while it works, as values that go to JSON. The caller draws, logs or sends
them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .requests import plain_data


@dataclass(frozen=True)
class Event:
    """Something that has happened."""

    @property
    def record(self) -> dict[str, Any]:
        """The event as JSON holds it; "event" is its kind, such as "concept_saved"."""
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return {"event": kind, **{each.name: plain_data(getattr(self, each.name)) for each in dataclasses.fields(self)}}


@dataclass(frozen=True)
class Message(Event):
    """What is being done, in a line."""

    text: str


@dataclass(frozen=True)
class Note(Event):
    """Something that the user should know, in a line."""

    text: str


@dataclass(frozen=True)
class PicturesRead(Event):
    """The subject's pictures are read."""

    name: str
    noun: str
    kind: str
    num_pictures: int


@dataclass(frozen=True)
class RunPlanned(Event):
    """What will be done is known and checked; the work begins."""

    method: str
    settings: Mapping[str, Any]
    base: str
    target: Path  # the concept's file
    page: Path  # folder of its page, checkpoint and previews


@dataclass(frozen=True)
class UpdateDone(Event):
    """One update of teaching."""

    done: int
    total: int
    stage: int
    losses: Mapping[str, float]  # weighted, by objective
    eta: float  # seconds left, at the pace so far
    last: bool = False


@dataclass(frozen=True)
class FleetUpdateDone(Event):
    """One update of many subjects that learn in one pass."""

    done: int  # subjects
    learning: int
    waiting: int
    loss: float  # mean over those that learn
    seconds: float


@dataclass(frozen=True)
class ConceptSaved(Event):
    """A concept is on disk, and nothing of it can be lost any more."""

    path: Path
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConceptScored(Event):
    """A concept was painted and judged."""

    scores: Mapping[str, Any]
    diagnosis: str


@dataclass(frozen=True)
class PreviewsPainted(Event):
    """Preview pictures and the page are on disk."""

    page: Path
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PictureSaved(Event):
    """A picture is on disk."""

    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class CheckDone(Event):
    """One of the certificate's checks."""

    what: str
    ok: bool
    found: str


@dataclass(frozen=True)
class ConceptCertified(Event):
    """All checks are done. `failure` says which failed and what to do; empty where none did."""

    ok: bool
    dtype: str
    failure: str = ""


@dataclass(frozen=True)
class RunDone(Event):
    """The work is done; nothing follows."""

    result: Mapping[str, Any]  # as JSON holds it
    text: str  # the same in lines, for people
    failure: str = ""  # where a part of it failed: which, and what to do
