"""Requests to learn, paint, protect, score, check, export, publish and pre-train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .reading import BASE_OF_CONCEPT, BaseChoice, ConceptChoice, Request, Settings


@dataclass(frozen=True, kw_only=True)
class FurtherSubject:
    """A subject that is learned into another one's concept (`Subject.beside`)."""

    name: str
    noun: str  # the class
    pictures: Path | None = None  # a folder; None: the pictures of the first subject show it


@dataclass(frozen=True, kw_only=True)
class LearnRequest(Request):
    """Learn a subject; with `together`, every subject of a folder in one pass."""

    kind_of_work: ClassVar[str] = "learn"

    pictures: tuple[Path, ...]  # a folder or files; with `together`, one folder that holds a folder for each subject
    noun: str = ""  # the class
    nouns: Mapping[str, str] = field(default_factory=dict)  # with `together`: class by the name of the folder
    name: str = ""
    kind: str = "object"
    method: str = ""  # empty: chosen by `goal`
    settings: Settings = field(default_factory=dict)  # the method's settings
    base: BaseChoice = field(default_factory=BaseChoice)
    seed: int = 0
    out: Path = Path()
    overwrite: bool = False
    resume: bool = False
    goal: str = "balanced"
    budget: float | None = None  # seconds after which training ends
    hold_out: int = 0  # number of pictures to leave out of training
    without: Path | None = None
    pool: Path | None = None
    auxiliary: Path | None = None
    after: Path | None = None  # file of the concept to learn the subject after, whose handles the new one keeps
    beside: tuple[FurtherSubject, ...] = ()  # further subjects of the same concept
    segment: str | None = None
    caption: str | None = None
    keep: str = "last"
    stop: str = ""
    sample_every: int = 0  # updates between samples; 0: none
    sample_prompts: tuple[str, ...] = ()
    states: int = 0  # number of states of training that are saved as concepts; 0: none
    preview: int = 4  # number of pictures of each preview prompt
    score: bool = True
    check: bool = True
    encoders: Mapping[str, str] = field(default_factory=dict)  # role -> folder or hub id
    together: bool = False
    slots: int | None = None  # with `together`: number of subjects at a time
    mixed: bool = False  # with `together`: compute in bfloat16
    which: int | None = None  # for a face: number of the person, counted from the left, where pictures show several
    may: bool = False  # for a face: the person consents to the training
    person: str = ""  # for a face: name of the person
    guardian: str = ""  # for a child's face: the parent or guardian who consents


@dataclass(frozen=True, kw_only=True)
class PictureChoices:
    """The way in which a picture is painted: everything but its prompt and its concepts."""

    base: BaseChoice = BASE_OF_CONCEPT
    seed: int = 0
    steps: int = 25
    guidance: float = 4.0
    guide_between: tuple[float, float] = (0.0, 1.0)
    subject_from: float = 0.0
    sampler: str = ""
    negative: str = ""
    onto: Path | None = None
    where: Path | None = None
    start: float = 0.3
    any_base: bool = False
    regions: Mapping[str, str] = field(default_factory=dict)  # handle -> word, box "0,0,0.5,1", or file of a mask
    # handle -> viewpoint: degrees of azimuth "90", or azimuth, elevation and factor of the distance "45,10,1.2"
    views: Mapping[str, str] = field(default_factory=dict)
    compose: str = "blend"  # how regions act
    background: str = "base"  # the model that paints outside of all regions: base, or all concepts
    conditions: Mapping[str, Path] = field(default_factory=dict)  # name -> picture
    like: Path | None = None  # the picture that `computed` conditions are computed from
    computed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PaintRequest(PictureChoices, Request):
    """Paint pictures of prompts, with concepts attached to the base."""

    kind_of_work: ClassVar[str] = "paint"

    prompts: tuple[str, ...]
    concepts: tuple[ConceptChoice, ...] = ()
    scale: tuple[float, ...] = (1.0,)
    count: int = 1  # pictures of each prompt
    out: Path = Path("out/paint")
    overwrite: bool = False
    layout: Path | None = None  # JSON file of handles and their regions
    estimators: Mapping[str, str] = field(default_factory=dict)  # name of a computed condition -> folder
    controls: Mapping[str, str] = field(default_factory=dict)  # condition -> folder of its control branch
    frames: int = 1  # number of frames of a clip; 1: a picture
    motion: str = ""  # folder of motion modules
    skip: int = 0  # number of pictures, at the start, that an earlier run has painted
    score: bool = False  # whether each picture is scored, by the first concept's subject
    references: Path | None = None  # real pictures of that subject, for scores of likeness


@dataclass(frozen=True, kw_only=True)
class SwapRequest(Request):
    """Put a concept's subject into a photo, in the place of something there."""

    kind_of_work: ClassVar[str] = "swap"

    photo: Path
    concept: ConceptChoice
    base: BaseChoice = BASE_OF_CONCEPT
    where: Path | None = None  # mask of the photo, white where it may change
    prompt: str = ""  # empty: from the source's prompt, or "a photo of" the subject
    source_noun: str = ""  # noun of the thing that is replaced; empty: the subject's class
    source_prompt: str = ""  # prompt of the photo; empty: the prompt with that noun in the handle's place
    how: str = ""  # method whose way into a picture is taken; empty: the concept's own, else photoswap
    settings: Settings = field(default_factory=dict)  # that method's
    seed: int = 0
    count: int = 1
    out: Path = Path("out/swap")
    overwrite: bool = False
    steps: int = 50
    guidance: float = 7.5
    negative: str = ""
    any_base: bool = False


@dataclass(frozen=True, kw_only=True)
class TryOnRequest(Request):
    """Put a garment on the person in a photo."""

    kind_of_work: ClassVar[str] = "try-on"

    person: Path
    garment: Path
    base: BaseChoice = field(default_factory=BaseChoice)
    where: Path | None = None  # mask of the person's photo, white where the garment goes; None: below the face
    noun: str = "shirt"  # the kind of garment
    method: str = "pe_viton"
    seed: int = 0
    count: int = 1
    out: Path = Path("out/try-on")
    overwrite: bool = False
    steps: int = 25
    guidance: float = 4.0


@dataclass(frozen=True, kw_only=True)
class ProtectRequest(Request):
    """Write changed copies of photographs, which are hard to learn from or to edit."""

    kind_of_work: ClassVar[str] = "protect"

    pictures: tuple[Path, ...]  # a folder or files
    noun: str = "person"  # class of what the photographs show
    method: str = "mist"
    settings: Settings = field(default_factory=dict)  # the method's settings
    base: BaseChoice = field(default_factory=BaseChoice)
    seed: int = 0
    out: Path = Path("out/protect")
    overwrite: bool = False  # replace earlier copies, never a photograph
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Request):
    """Score a concept beside its base, by pictures that are painted for it; or score given pictures by a concept."""

    kind_of_work: ClassVar[str] = "score"

    concept: ConceptChoice
    base: BaseChoice = BASE_OF_CONCEPT
    seed: int = 0
    count: int = 2  # pictures of each prompt
    # with given pictures: one for each, one for all, or none for "a photo of" the subject
    prompts: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()  # given pictures to score; empty: pictures are painted with and without the concept
    photos: Path | None = None  # pictures that the concept was learned from
    held_out: Path | None = None  # other pictures of the subject
    out: Path | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Request):
    """Certify a concept."""

    kind_of_work: ClassVar[str] = "check"

    concept: ConceptChoice
    base: BaseChoice = BASE_OF_CONCEPT
    seed: int = 0
    steps: int = 8
    any_base: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Request):
    """Write a concept for another tool."""

    kind_of_work: ClassVar[str] = "export"

    concept: ConceptChoice  # or the path "ip_adapter": the weights of that method
    to: str
    base: BaseChoice = BASE_OF_CONCEPT
    out: Path | None = None
    rank: int = 0
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishRequest(Request):
    """Write a repository for a concept, and upload it to the hub."""

    kind_of_work: ClassVar[str] = "publish"

    concept: ConceptChoice
    to: str  # USER/REPO
    base: BaseChoice = BASE_OF_CONCEPT
    formats: tuple[str, ...] = ("diffusers",)
    licence: str = ""
    pictures: Path | None = None
    out: Path | None = None
    upload: bool = True
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class PretrainRequest(Request):
    """Train the weights that a method starts from."""

    kind_of_work: ClassVar[str] = "pretrain"

    method: str
    settings: Settings = field(default_factory=dict)
    base: BaseChoice = field(default_factory=BaseChoice)
    seed: int = 0
    run: Path | None = None  # folder for checkpoints and previews
    corpus: str | None = None
    noun: str = ""
    exclude: Path | None = None
    duplicates: str = "error"
    accumulate: int = 1
    ema: float = 0.0
    precision: str = "auto"
    preview_every: int = 0
    preview_of: Path | None = None
    track: str | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ConverseRequest(Request):
    """One sentence of a conversation about a picture."""

    kind_of_work: ClassVar[str] = "converse"

    words: str
    conversation: Mapping[str, Any] = field(default_factory=dict)  # JSON of a `converse.Conversation`; empty: a new one
    # files of all concepts that its turns show, also of those that preferences made
    concepts: tuple[ConceptChoice, ...] = ()
    base: BaseChoice = BASE_OF_CONCEPT
    pictures: Mapping[str, Path] = field(default_factory=dict)  # id of a turn -> its picture; others are painted again
    # name of a subject -> folder of its reference images, which accepted pictures must not be copies of
    photos: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    steps: int = 25
    guidance: float = 4.0
    preference_steps: int = 8  # updates of a concept for "more like this"
    out: Path = Path("out/chat")
    llm: str = ""  # URL of an OpenAI-compatible server whose language model reads the words; empty: the grammar
    llm_model: str = ""
