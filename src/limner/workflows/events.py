"""Events: the progress and results of a workflow, as values that go to JSON. The caller draws, logs or sends them."""

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
        """The event as a JSON object; "event" is its kind, such as "concept_saved"."""
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return {"event": kind, **{each.name: plain_data(getattr(self, each.name)) for each in dataclasses.fields(self)}}


@dataclass(frozen=True)
class Message(Event):
    """A line about the current work."""

    text: str


@dataclass(frozen=True)
class Note(Event):
    """A line that the user should know."""

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
    """The run is checked and planned; the work begins."""

    method: str
    settings: Mapping[str, Any]
    base: str
    target: Path  # the concept's file
    page: Path  # folder of its page, checkpoint and previews


@dataclass(frozen=True)
class UpdateDone(Event):
    """One update of training."""

    done: int
    total: int
    stage: int
    losses: Mapping[str, float]  # weighted, by objective
    eta: float  # seconds left, at the pace so far
    last: bool = False


@dataclass(frozen=True)
class FleetUpdateDone(Event):
    """One update of many subjects that learn in one pass."""

    done: int  # number of finished subjects
    learning: int  # number of subjects in training
    waiting: int  # number of subjects that have not started
    loss: float  # mean over the subjects in training
    seconds: float


@dataclass(frozen=True)
class ConceptSaved(Event):
    """A concept is on disk, complete."""

    path: Path
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConceptScored(Event):
    """A concept is painted and scored."""

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
    finding: str


@dataclass(frozen=True)
class ConceptCertified(Event):
    """All checks are done. `failure` names the failed ones with their remedies; empty where none failed."""

    ok: bool
    dtype: str
    failure: str = ""


@dataclass(frozen=True)
class TurnDone(Event):
    """A sentence of a conversation is answered: by a picture, a line or a question."""

    turn: str  # id of the current turn; empty before the first
    is_new: bool  # whether that turn is new
    answer: str
    state: Mapping[str, Any]  # state of the current turn
    conversation: Mapping[str, Any]  # for the next request
    choices: tuple[str, ...] = ()  # answers that a question offers
    picture: Path | None = None  # picture of a new turn
    concepts: tuple[Path, ...] = ()  # new states of concepts
    references: tuple[Path, ...] = ()  # accepted pictures, in folders by subject


@dataclass(frozen=True)
class RunDone(Event):
    """The work is done; nothing follows."""

    result: Mapping[str, Any]  # in types that JSON can hold
    text: str  # the same in lines, for people
    failure: str = ""  # the part of the work that failed, and the remedy; empty without a failure
