"""Requests around learning and painting: look at photos, estimate, paint states, compare, merge, import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from .reading import BASE_OF_CONCEPT, BaseChoice, ConceptChoice, Request, Settings


@dataclass(frozen=True, kw_only=True)
class LookRequest(Request):
    """Read the photos of a subject as `learn` would, and report on each. Nothing is learned."""

    kind_of_work: ClassVar[str] = "look"

    pictures: tuple[Path, ...]  # a folder or files
    noun: str = ""  # the class; empty: the one in the folder's files
    name: str = ""
    kind: str = "object"
    base: BaseChoice = field(default_factory=BaseChoice)
    segment: str | None = None
    caption: str | None = None  # None: the base's own captioner, where it has one
    which: int | None = None  # for a face: number of the person, counted from the left, where pictures show several
    out: Path = Path("out/look")
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class EstimateRequest(Request):
    """Estimate the method, time and memory of learning. Where results do not tell, a few updates are measured."""

    kind_of_work: ClassVar[str] = "estimate"

    goal: str = "balanced"
    method: str = ""  # empty: chosen by `goal`
    settings: Settings = field(default_factory=dict)  # the method's settings
    kind: str = "object"
    noun: str = "dog"  # the class
    num_pictures: int = 4
    base: BaseChoice = field(default_factory=BaseChoice)
    budget: float | None = None  # seconds after which training ends
    photographs: bool = False  # whether the pictures are photographs
    measure: bool = True  # whether updates are measured where this machine's speed is not known
    anew: bool = False  # measure this machine's speed again


@dataclass(frozen=True, kw_only=True)
class StatesRequest(Request):
    """Paint the same prompts, of one seed, with each state of a concept's training, and score each."""

    kind_of_work: ClassVar[str] = "states"

    concept: ConceptChoice  # the concept at the end of its training
    states: tuple[Path, ...] = ()  # files of states, or folders that hold some; empty: in the folder of its page
    prompts: tuple[str, ...] = ()  # empty: the first prompt of the previews
    base: BaseChoice = BASE_OF_CONCEPT
    seed: int = 0
    references: Path | None = None  # real pictures of the subject, for scores of likeness
    encoders: Mapping[str, str] = field(default_factory=dict)
    steps: int = 25
    guidance: float = 4.0
    choose: int | None = None  # number of updates of the state that is written to `to`; then nothing is painted
    to: Path | None = None  # file for the chosen state; None: the concept's own
    out: Path = Path("out/states")
    overwrite: bool = False
    resume: bool = False  # go on with the pictures that an earlier run of this request saved in `out`


@dataclass(frozen=True, kw_only=True)
class CompareRequest(Request):
    """Paint the same prompts and seeds with each concept and with the plain base, and score each picture."""

    kind_of_work: ClassVar[str] = "compare"

    concepts: tuple[ConceptChoice, ...]
    prompts: tuple[str, ...]  # with {} for the subject, or one handle of any of the concepts
    seeds: tuple[int, ...] = (0,)
    plain: bool = True  # whether the plain base is a row too
    base: BaseChoice = BASE_OF_CONCEPT
    references: Path | None = None  # real pictures of the subject, for scores of likeness
    encoders: Mapping[str, str] = field(default_factory=dict)
    steps: int = 25
    guidance: float = 4.0
    negative: str = ""
    any_base: bool = False
    out: Path = Path("out/compare")
    overwrite: bool = False
    resume: bool = False  # go on with the pictures that an earlier run of this request saved in `out`


@dataclass(frozen=True, kw_only=True)
class MergeRequest(Request):
    """Merge several concepts into one that answers to all their handles."""

    kind_of_work: ClassVar[str] = "merge"

    concepts: tuple[ConceptChoice, ...]
    out: Path  # the file to write
    by: str = "average"
    weights: tuple[float, ...] = ()
    base: BaseChoice = BASE_OF_CONCEPT
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportRequest(Request):
    """Read a concept from another tool's file."""

    kind_of_work: ClassVar[str] = "import"

    file: Path  # or a folder of PEFT or InstantID
    name: str = ""
    noun: str = ""  # the class
    says: str = ""  # trigger words that the file was trained with
    partial: bool = False  # import what is understood, and list the rest
    base: BaseChoice = field(default_factory=BaseChoice)
    out: Path = Path()
    overwrite: bool = False
