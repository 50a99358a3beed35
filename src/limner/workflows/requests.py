"""Requests: the input of each workflow, as values that go to JSON and come back equal.

A command line, an HTTP server and a queue make a request and hand it to `limner.workflows.run.run`, which yields
events. Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from limner.core.untrusted import parse_json
from limner.errors import InputError, UnknownName

R = TypeVar("R", bound="Request")
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BaseChoice:
    """Which base, and how it is opened."""

    # pocket, a folder, a file or a hub id; empty: the base that the concept was learned on
    name: str = "pocket"
    device: str | None = None  # None: cuda where there is one
    dtype: str = "float32"
    fit: float | None = None  # memory limit in gigabytes
    quantise: str = ""
    offload: bool = False
    tiling: bool = False
    checkpointing: bool = False
    offline: bool = False
    config: str | None = None  # folder or hub id with the settings of a base that is a single file
    faces: str = ""  # networks that find and recognise faces: a folder, or FILE.py:FUNCTION


@dataclass(frozen=True, kw_only=True)
class ConceptChoice:
    """A concept's file, and how far the file is trusted."""

    path: Path
    method: str = ""  # the user's own method that the file may name, FILE.py:NAME
    trust: bool = False  # run and open everything that the file names


@dataclass(frozen=True, kw_only=True)
class Request:
    """Work to be done. `to_json` and `from_json` are inverses of each other."""

    kind_of_work: ClassVar[str] = ""

    @property
    def record(self) -> dict[str, Any]:
        """The request as a JSON object."""
        return {"request": self.kind_of_work, **plain_data(self)}

    def to_json(self) -> str:
        return json.dumps(self.record)

    @classmethod
    def from_json(cls: type[R], text: str | bytes) -> R:
        """The request of a JSON text. Raises `FileError` for text that is not JSON, `UnknownName` for an unknown field,
        and `InputError` for a value of the wrong type and for another kind of request."""
        request = read_request(text)
        if not isinstance(request, cls):
            raise InputError(f"expected a request to {cls.kind_of_work}, not to {request.kind_of_work}")
        return request


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
class PaintRequest(Request):
    """Paint pictures of prompts, with concepts attached to the base."""

    kind_of_work: ClassVar[str] = "paint"

    prompts: tuple[str, ...]
    concepts: tuple[ConceptChoice, ...] = ()
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
    seed: int = 0
    count: int = 1  # pictures of each prompt
    out: Path = Path("out/paint")
    overwrite: bool = False
    scale: tuple[float, ...] = (1.0,)
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
    layout: Path | None = None  # JSON file of handles and their regions
    regions: Mapping[str, str] = field(default_factory=dict)  # handle -> word, box "0,0,0.5,1", or file of a mask
    # handle -> viewpoint: degrees of azimuth "90", or azimuth, elevation and factor of the distance "45,10,1.2"
    views: Mapping[str, str] = field(default_factory=dict)
    compose: str = "blend"  # how regions act
    background: str = "base"  # the model that paints outside of all regions: base, or all concepts
    conditions: Mapping[str, Path] = field(default_factory=dict)  # name -> picture
    like: Path | None = None  # the picture that `computed` conditions are computed from
    computed: tuple[str, ...] = ()
    estimators: Mapping[str, str] = field(default_factory=dict)  # name of a computed condition -> folder
    controls: Mapping[str, str] = field(default_factory=dict)  # condition -> folder of its control branch
    frames: int = 1  # number of frames of a clip; 1: a picture
    motion: str = ""  # folder of motion modules


@dataclass(frozen=True, kw_only=True)
class SwapRequest(Request):
    """Put a concept's subject into a photo, in the place of something there."""

    kind_of_work: ClassVar[str] = "swap"

    photo: Path
    concept: ConceptChoice
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
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
class ScoreRequest(Request):
    """Score a concept beside its base."""

    kind_of_work: ClassVar[str] = "score"

    concept: ConceptChoice
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
    seed: int = 0
    count: int = 2  # pictures of each prompt
    prompts: tuple[str, ...] = ()
    photos: Path | None = None
    held_out: Path | None = None
    out: Path | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckRequest(Request):
    """Certify a concept."""

    kind_of_work: ClassVar[str] = "check"

    concept: ConceptChoice
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
    seed: int = 0
    steps: int = 8
    any_base: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Request):
    """Write a concept for another tool."""

    kind_of_work: ClassVar[str] = "export"

    concept: ConceptChoice  # or the path "ip_adapter": the weights of that method
    to: str
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
    out: Path | None = None
    rank: int = 0
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishRequest(Request):
    """Write a repository for a concept, and upload it to the hub."""

    kind_of_work: ClassVar[str] = "publish"

    concept: ConceptChoice
    to: str  # USER/REPO
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
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
    precision: str = "bfloat16"
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
    base: BaseChoice = field(default_factory=lambda: BaseChoice(name=""))
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


REQUESTS: Mapping[str, type[Request]] = {
    kind.kind_of_work: kind
    for kind in (
        *(LearnRequest, PaintRequest, SwapRequest, TryOnRequest, ScoreRequest, CheckRequest),
        *(ExportRequest, PublishRequest, PretrainRequest, ConverseRequest),
    )
}


def read_request(text: str | bytes) -> Request:
    """The request of a JSON text, of the kind that its field "request" names. Raises as `Request.from_json`."""
    contents = parse_json(text, "the request")
    if not isinstance(contents, dict) or "request" not in contents:
        raise InputError(f'a request is a table of JSON with "request": one of {", ".join(REQUESTS)}')
    kind = contents.pop("request")
    if kind not in REQUESTS:
        raise UnknownName("request", str(kind)[:100], REQUESTS)
    request: Request = _read(REQUESTS[kind], contents, f"the request to {kind}")
    return request


def plain_data(value: Any) -> Any:
    """A value in types that JSON can hold: dataclasses become objects, paths become text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain_data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_data(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_data(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def read_plain(kind: Any, value: Any, where: str) -> Any:
    """The inverse of `plain_data`: a JSON value as a dataclass or another type. Raises `InputError` for a value of the
    wrong type and `UnknownName` for an unknown field; `where` names the value in messages."""
    return _read(kind, value, where)


def _read(kind: Any, value: Any, where: str) -> Any:
    """A JSON value converted to a field's type. Raises `InputError`."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
        raise InputError(f"{where} must be one of {', '.join(inner)}, not {str(value)[:80]!r}")
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(each for each in inner if each is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        if inner[-1] is Ellipsis:
            return tuple(_read(inner[0], each, where) for each in value)
        if len(value) == len(inner):
            return tuple(_read(each, one, where) for each, one in zip(inner, value, strict=True))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _read(inner[1], each, f"{key} of {where}") for key, each in value.items()}
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise InputError(f"{where} must be {_named(kind)}, not {str(value)[:80]!r}")


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table, not {str(value)[:80]!r}")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}
    for key in value:
        if key not in known:
            raise UnknownName(f"field of {where}", str(key)[:100], known)
    empty = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in known.items() if n not in value and (f.default, f.default_factory) == empty]
    if missing:
        raise InputError(f"{where} must have a field {missing[0]}")
    return kind(**{key: _read(hints[key], each, f"{key} of {where}") for key, each in value.items()})


def _named(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path as text"}
    origin = get_origin(kind)
    return names.get(kind) or ("a list" if origin is tuple else "a table")
