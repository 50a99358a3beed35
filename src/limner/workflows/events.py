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
class FaceRead:
    """A face in a picture."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels
    chosen: bool  # whether it is the person who is learned: the one who recurs
    fault: str = ""  # the reason why it cannot be learned from


@dataclass(frozen=True)
class PictureRead:
    """A picture of a subject as it was read: upright, RGB. Coordinates are pixels from the upper left corner."""

    name: str
    sha256: str  # hash of its pixels
    width: int
    height: int
    orientation: int  # orientation in its EXIF, from 1 (upright) to 8; the picture was turned upright by it
    crop: tuple[int, int, int, int]  # left, top, right, bottom of the part that is learned from
    picture: Path  # a PNG of it, of at most `look_subject.SHOWN` pixels a side
    mask: Path | None = None  # a PNG of the picture's size, white where the subject is
    mask_source: str = ""  # "given", "segmenter" (the base's own) or "model" (the request's)
    visible: bool | None = None  # whether the subject is visible in the crop; None where nothing can tell
    caption: str = ""
    caption_source: str = ""  # "given", "captioner" (the base's own) or "model" (the request's)
    faces: tuple[FaceRead, ...] = ()


@dataclass(frozen=True)
class SubjectRead(Event):
    """Everything that was read of a subject's photos. Nothing is learned from them yet."""

    name: str
    noun: str
    kind: str
    pictures: tuple[PictureRead, ...]
    duplicates: tuple[tuple[str, str], ...] = ()  # names of near-duplicates and copies
    unread: tuple[tuple[str, str], ...] = ()  # name of each file that is left out, and the reason
    photographs: bool | None = None  # whether they look like photographs; None for a base of photographs
    consent: tuple[str, ...] = ()  # people who must consent before training: "person", "guardian"; empty: nobody
    unclear: str = ""  # the question where several people are shown and none of them recurs
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunPlanned(Event):
    """The run is checked and planned; the work begins."""

    method: str
    settings: Mapping[str, Any]
    base: str
    target: Path  # the concept's file
    page: Path  # folder of its page, checkpoint and previews


@dataclass(frozen=True)
class CostEstimated(Event):
    """The method and the cost of learning that has not begun. None where a number is unknown; `basis` and
    `memory_basis` say why, and otherwise where the numbers are from."""

    method: str
    why: str
    seconds: float | None  # for painting class images and for training
    between: tuple[float, float] | None
    basis: str
    memory_bytes: float | None  # at the peak
    memory_basis: str


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
class WeightsUpdateDone(Event):
    """One update of the training, done once for a base, of the weights that a method starts from."""

    method: str
    done: int
    total: int
    losses: Mapping[str, float]  # weighted, by objective
    eta: float  # seconds left, at the pace so far
    last: bool = False


@dataclass(frozen=True)
class SignalMeasured(Event):
    """Losses on fixed pictures under fixed noise: `loss` on the reference images, `held_out` on held-out ones where
    there are any, each with its `_ratio` to the unchanged base's, and the `gap` of the ratios."""

    done: int  # number of updates
    values: Mapping[str, float]


@dataclass(frozen=True)
class SamplePainted(Event):
    """Pictures of this moment of training are on disk, one of each prompt, all of one seed."""

    done: int  # number of updates
    paths: tuple[Path, ...]
    prompts: tuple[str, ...] = ()
    seed: int = 0
    scores: tuple[Mapping[str, float], ...] = ()  # scores of each picture; empty where the base has no judges


@dataclass(frozen=True)
class StateSaved(Event):
    """A concept of this moment of training is on disk."""

    done: int  # number of updates
    path: Path


@dataclass(frozen=True)
class Paused(Event):
    """The work ended before its end because someone asked for a pause. The same request goes on, one to learn with
    `resume`. Nothing follows."""

    path: Path | None = None  # the checkpoint, or the concept where training had ended
    done: int = 0  # number of pictures that are painted


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
    scores: Mapping[str, float] = field(default_factory=dict)  # see `limner.workflows.picture_scores`


@dataclass(frozen=True)
class PictureScored(Event):
    """A given picture is scored by a concept."""

    number: int  # place among the pictures, from 0
    path: Path
    prompt: str
    scores: Mapping[str, float]  # see `limner.workflows.picture_scores`


@dataclass(frozen=True)
class PhotoProtected(Event):
    """The protected copy of a photograph is on disk."""

    photo: str  # file name of the photograph
    path: Path
    largest: int  # largest change of a colour channel, from 0 to 255
    psnr: float | None  # peak signal-to-noise ratio in dB; None for an equal copy


@dataclass(frozen=True)
class StatePainted(Event):
    """A picture by a state of a concept's training is on disk."""

    done: int  # number of updates of the state
    path: Path
    scores: Mapping[str, float]  # see `limner.workflows.picture_scores`
    prompt: str = ""
    seed: int = 0


@dataclass(frozen=True)
class CellPainted(Event):
    """A picture of a comparison is on disk."""

    concept: str  # file of the concept; "plain base" for the base alone
    prompt: str  # as the request has it
    seed: int
    path: Path
    scores: Mapping[str, float]  # see `limner.workflows.picture_scores`
    text: str = ""  # the prompt that was painted, with the concept's handle or the class noun
    row: int = 0
    column: int = 0


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
