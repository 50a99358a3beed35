"""What a method is made of: the whole vocabulary.

A *method* is a function of a subject that returns a `Recipe`; a recipe lists modifiers, stages and what happens while
painting. Parts are plain functions, or functions that make one; their types are named here, once.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from .bases.attention import AttentionCall, Kind, Pass
    from .bases.protocol import Base
    from .parts.sources.corpus import Corpus
    from .wearing import Worn

# --------------------------------------------------------------------------------------------- the parts and their types


@dataclass(eq=False)
class Live:
    """A modifier while it is worn: its tensors, and what it adds to the base.

    `tensors` is everything a concept stores of it, by a name that is unique in the recipe; those that can learn are
    `nn.Parameter`s. `words` maps a word of prompts to the vectors [n, D] that a text encoder reads, or to a function that
    makes them. `operations` act in attention.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    words: dict[str, Tensor | Callable[[], Tensor]] = field(default_factory=dict)
    operations: tuple[AttentionOp, ...] = ()
    on: bool = True  # off while the worn base is suspended: changes of layers look at it
    run: Pass | None = None  # the run under way, for changes of layers that tell its rows apart
    stack: dict[str, Tensor] = field(default_factory=dict)  # in a fleet: the leaves that this is a part of
    cut: Callable[[str, Tensor], Tensor] | None = None  # in a fleet: a tensor's own part of its place in the stack
    within: tuple[Live, ...] = ()  # modifiers inside of this one that act in every run; their tensors are among its own


class Lives:
    """The modifiers worn now, by place: the number of the outfit, and of the modifier in that outfit's recipe.

    Two equal modifiers are two. Asked by modifier, the very same object is found first, else one that is equal to it.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[Modifier, Live]] = {}

    def add(self, outfit: int, index: int, modifier: Modifier, live: Live) -> None:
        self._found[outfit, index] = modifier, live

    def _live(self, modifier: Any) -> Live | None:
        same = [live for known, live in self._found.values() if known is modifier]
        return next(iter(same or [live for known, live in self._found.values() if known == modifier]), None)

    def __contains__(self, modifier: object) -> bool:
        return self._live(modifier) is not None

    def __getitem__(self, modifier: object) -> Live:
        live = self._live(modifier)
        if live is None:
            raise KeyError(f"{names([modifier])[0]} is not worn now")
        return live

    def __bool__(self) -> bool:
        return bool(self._found)

    def items(self) -> list[tuple[tuple[int, int], Modifier, Live]]:
        """Place, modifier and what is worn there, in the order worn."""
        return [(place, *pair) for place, pair in self._found.items()]

    def of(self, outfit: int) -> list[Live]:
        """What an outfit wears."""
        return [live for (k, _), (_, live) in self._found.items() if k == outfit]

    def values(self) -> list[Live]:
        return [live for _, live in self._found.values()]

    def every(self) -> list[Live]:
        """The same with the modifiers inside of others."""
        return [each for live in self.values() for each in (live, *live.within)]


class Modifier(Protocol):
    """Changes the network, undoably: called on wearing a recipe, in the order written; left in reverse, also after an
    exception. `stored` holds the tensors of a saved concept (by the names of `Live.tensors`), or nothing when new."""

    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> AbstractContextManager[Live]: ...


Selection: TypeAlias = "Callable[[Worn], Mapping[str, Tensor]]"
"""Which parameters learn, by name; called at the start of a stage."""


@dataclass(frozen=True)
class Rated:
    """A selection that learns at a multiple of its stage's rate."""

    selection: Selection
    factor: float

    def __call__(self, worn: Worn) -> Mapping[str, Tensor]:
        return self.selection(worn)


AttentionOp: TypeAlias = "Callable[[AttentionCall], AttentionCall]"
"""Acts inside every attention layer; the call carries its site, time and branch. One of a `Painting` that can be weaker or stronger has
`at_scale`: scale -> such an operation; any other is worn at scale 0 or 1."""


def acting_in(*kinds: Kind) -> Callable[[AttentionOp], AttentionOp]:
    """Say of an operation in which kinds of attention it acts. Wearing it on a base that has none of them is an error; so it is
    with modifiers that have an `acts_in`."""

    def mark(operation: AttentionOp) -> AttentionOp:
        operation.acts_in = kinds  # type: ignore[attr-defined]  # functions stay functions
        return operation

    return mark


@dataclass(frozen=True)
class References:
    """Pictures of each row's subject that the condition may see, R to a row, and what is known of them."""

    pixels: Tensor  # [B, R, 3, H, W] in [0, 1]
    masks: Tensor | None = None  # [B, R, 1, H, W] in [0, 1]: where the subject is
    captions: tuple[tuple[str, ...], ...] = ()  # B times R: what each shows, in words the base reads
    nouns: tuple[str, ...] = ()  # B: what each row's subject is
    identity: Tensor | None = None  # [B]: equal in rows of one subject
    dropped: Tensor | None = None  # [B] bool: rows that see none of it
    looks: tuple[str, ...] = ()  # B: what each row's subject looks like, "a red spotted dog", where that is known

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def first(self) -> Tensor:
        """[B, 3, H, W]: one picture to a row."""
        return self.pixels[:, 0]

    @property
    def on(self) -> Tensor:
        """[B] bool: rows that see their pictures."""
        import torch

        return torch.ones(len(self), dtype=torch.bool) if self.dropped is None else ~self.dropped

    def of(self, rows: Sequence[int]) -> References:
        """These rows alone."""
        return References(
            self.pixels[rows],
            None if self.masks is None else self.masks[rows],
            tuple(self.captions[row] for row in rows) if self.captions else (),
            tuple(self.nouns[row] for row in rows) if self.nouns else (),
            None if self.identity is None else self.identity[rows],
            None if self.dropped is None else self.dropped[rows],
            tuple(self.looks[row] for row in rows) if self.looks else (),
        )


@dataclass(frozen=True)
class Batch:
    """Some examples to learn from: latents as the base's encoder makes them, and what goes with them."""

    latents: Tensor  # [B, C, h, w]
    prompts: tuple[str, ...]  # B, with the handle still written <rex>
    mask: Tensor | None = None  # [B, 1, h, w] in [0, 1]: where the loss counts
    weight: Tensor | None = None  # [B]
    references: References | None = None

    def of(self, rows: Sequence[int]) -> Batch:
        """These rows alone."""
        return Batch(
            self.latents[rows],
            tuple(self.prompts[row] for row in rows),
            None if self.mask is None else self.mask[rows],
            None if self.weight is None else self.weight[rows],
            None if self.references is None else self.references.of(rows),
        )


Streams: TypeAlias = "Callable[[str], Generator]"
"""A random stream for each purpose: `streams("noise")`. A function of seed, purpose and step alone."""


@dataclass(frozen=True)
class Source:
    """What is learned from. `prepare` looks at the base before anything is changed and returns the drawing of batches,
    a pure function of (step, streams): so a source resumes anywhere without state."""

    name: str
    learns_from: Literal["subject", "class", "prompts", "corpus"]
    prepare: Callable[[Base], Callable[[int, Streams], Batch]]
    over: Callable[[Corpus], Source] | None = None  # of one that learns from a corpus: the same on another


@dataclass(frozen=True)
class Prediction:
    """What the denoiser returned, with whatever its pass kept."""

    output: Tensor  # [B, C, h, w] as the base predicts: noise, velocity or flow
    kept: Pass | None = None
    rows: slice = field(default_factory=lambda: slice(None))  # of that pass


class Step(Protocol):
    """One update as an objective sees it. Everything is computed when first asked for."""

    batch: Batch
    time: Tensor  # [B]
    noise: Tensor  # [B, C, h, w]
    worn: Worn

    @property
    def random(self) -> Streams: ...
    @property
    def prediction(self) -> Prediction: ...
    @property
    def target(self) -> Tensor: ...
    @property
    def x0(self) -> Tensor: ...
    def prediction_for(
        self, prompts: Sequence[str], *, references: References | None = None, operations: tuple[AttentionOp, ...] = ()
    ) -> Prediction: ...
    def on(self, batch: Batch) -> Step: ...
    def base_prediction(self, prompts: Sequence[str] | None = None) -> Prediction: ...


@dataclass(frozen=True)
class Objective:
    """What is minimised: a scalar of a `Step` on a source, summed with its weight. `2.0 * denoising(photos(s))`."""

    name: str
    source: Source
    value: Callable[[Step], Tensor]
    weight: float = 1.0
    any_target: bool = False  # means something whatever the base predicts; the others need noise, velocity or flow
    across: bool = False  # looks across the rows of a batch: it is not the mean of what its parts give

    def __rmul__(self, factor: float) -> Objective:
        return replace(self, weight=self.weight * factor)


class Denoiser(Protocol):
    """The base seen by a sampler: one prediction for each branch asked for, each [B, C, h, w], in one batched pass."""

    def __call__(self, x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]: ...


Guidance: TypeAlias = "Callable[[Denoiser, float], Denoiser]"
"""Denoiser and the user's scale of guidance -> denoiser whose only branch is "text"; nested like functions when painting
starts. Branches are "text", "negative", those a recipe adds, and any of them with "@" and what its companion is to show."""


class Moment(NamedTuple):
    """A sampling step about to be taken, without companions."""

    worn: Worn
    latents: Tensor  # [B, C, h, w]
    time: Tensor  # scalar
    step: int  # from 0
    total: int
    prompts: tuple[str, ...]  # B, as the base reads them
    states: Tensor  # [B, L, D] of the prompts
    where: Tensor | None = None  # [1, 1, h, w]: where a canvas may change
    against: Tensor | None = None  # [B, L, D] of what the negative branch reads
    guidance: float = 1.0  # the user's scale


LatentOperation: TypeAlias = "Callable[[Moment], Tensor]"
"""Acts on the latents between two sampling steps; returns them, changed or not."""


class Companion(NamedTuple):
    """A row that is painted along with every batch, as its first, and thrown away: what others may attend to."""

    prompt: str
    latents: Callable[[int], Tensor] | None  # step -> [C, h, w] before that step; None: painted freely
    shown: Callable[[int, str], tuple[Tensor, Tensor]] | None = None
    """(step, what a branch's name has after "@") -> latents [C, h, w] and time of the row in that branch."""


@dataclass(frozen=True)
class Candidates:
    """Of every picture, `count` are painted, each from noise of its own, and the one that `nearness` rates highest is kept."""

    count: int
    nearness: Callable[[Worn, Tensor], Tensor]
    """The worn base, pixels [B, 3, H, W] in [0, 1] -> [B]"""


class Stop(Protocol):
    """Decides after every update whether a stage has learned enough. `state` [n] is all it remembers, so that a resumed
    stage stops where it would have; it begins empty."""

    def __call__(self, worn: Worn, state: Tensor) -> tuple[bool, Tensor]: ...


@dataclass(frozen=True)
class Evolution:
    """Learn without gradients: CMA-ES over everything a stage selects, one generation an update (arXiv:1604.00772)."""

    population: int = 20
    sigma: float = 1.0


# ------------------------------------------------------------------------------------------------------------ the recipe


LATE = 0.15
"""Share of a stage's updates over which a rate that falls late falls: so a long run can be ended earlier than planned."""


@dataclass(frozen=True)
class Stage:
    """A stretch of learning: what learns, from what, how long. Stages run one after another.

    A term of weight 0 is left out: its source is not even prepared. With `score`, what is worn at the stage's end is
    scored, and the best of all stages' ends is what is learned in the end.
    """

    train: tuple[Selection, ...]
    loss: tuple[Objective, ...]
    steps: int
    lr: float
    weight_decay: float = 0.0
    warmup: int = 0
    decay: Literal["constant", "cosine", "late"] = "constant"
    """How the rate falls: not at all, down a cosine to 2 %, or in a line to 2 % over the last LATE of the updates."""
    clip: float = 1.0
    average: float = (
        0.0  # what is learned is the running mean of the parameters, which keeps so much of itself at an update
    )
    stop: Stop | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"  # Muon for whole networks from nothing
    search: Evolution | None = None  # in the place of gradients: lr, decay, clip and optimizer then mean nothing
    score: Callable[[Worn], float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", tuple(term for term in self.loss if term.weight))
        if not 0 <= self.average < 1:
            raise ValueError(f"a running mean keeps a share of itself from 0 to 1, not {self.average}")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"a stage learns with 'adamw' or 'muon', not {self.optimizer!r}")

    def rate(self, step: int) -> float:
        """The learning rate of an update: a linear warm-up, then as `decay` says."""
        match self.decay:
            case "cosine":
                falling = 0.02 + 0.49 * (1 + math.cos(math.pi * step / self.steps))
            case "late":
                falling = 0.02 + 0.98 * min(1.0, (1 - step / self.steps) / LATE)
            case _:
                falling = 1.0
        return self.lr * min(1.0, (step + 1) / (self.warmup + 1)) * falling

    @property
    def learns_from(self) -> frozenset[str]:
        return frozenset(term.source.learns_from for term in self.loss)


@dataclass(frozen=True)
class Painting:
    """What happens while painting, beside the plain sampling loop."""

    operations: tuple[AttentionOp, ...] = ()
    guidance: tuple[Guidance, ...] = ()
    latents: tuple[LatentOperation, ...] = ()
    twins: Callable[[str], str] | None = None
    """Every picture gets a twin, painted alongside from the same noise for operations to look at; the function makes the
    twin's prompt of the picture's, both as the base reads them."""
    negative: str = ""  # what the negative branch reads where the user says nothing else
    branches: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """More branches for guidance to ask for: the prompt as it was written -> what that branch reads in its place."""
    companion: Callable[[Worn], Callable[[int], Companion]] | None = None  # worn -> number of sampling steps -> row
    denoiser: Callable[[Worn, Denoiser], Denoiser] | None = None  # put around the base's own, before any guidance
    candidates: Candidates | None = None


@dataclass(frozen=True)
class Recipe:
    """A method as a value. `says` is what the handle becomes in a prompt: a rare word and the class noun, a learned
    word, or nothing but the class noun."""

    says: str | Callable[[Base], str]
    modifiers: tuple[Modifier, ...] = ()
    stages: tuple[Stage, ...] = ()
    painting: Painting = field(default_factory=Painting)
    weights: str | None = None  # name of the pre-trained weights that the modifiers start from
    begins: str | None = None  # name of the weights that their pre-training starts from
    notes: tuple[str, ...] = ()  # what the user should know before it starts

    def __post_init__(self) -> None:
        for stage in self.stages:
            if "corpus" in stage.learns_from and stage.learns_from - {"corpus"}:
                raise ValueError("a stage learns from a corpus or from the subject, not from both at once")

    @property
    def tuning(self) -> tuple[Stage, ...]:
        """The stages that run for every subject."""
        return tuple(stage for stage in self.stages if "corpus" not in stage.learns_from)

    @property
    def pretraining(self) -> tuple[Stage, ...]:
        """The stages that run once, on a corpus."""
        return tuple(stage for stage in self.stages if "corpus" in stage.learns_from)

    @property
    def framework(self) -> str:
        """Where the stages learn decides: nobody declares it."""
        match bool(self.tuning), bool(self.pretraining):
            case True, False:
                return "test-time fine-tuning"
            case False, True:
                return "pre-trained adaptation"
            case True, True:
                return "hybrid"
            case _:
                return "training-free"

    @property
    def alone(self) -> str:
        """Why it cannot be taught in a fleet (`fleet.teach_many`); nothing where it can: all its modifiers have a stacked form, in
        which rows of one pass belong to different subjects."""
        if not self.tuning:
            return "it learns nothing per subject"
        if self.weights:
            return "it starts from weights of its own"
        single = [modifier for modifier in self.modifiers if not hasattr(modifier, "stacked")]
        if single:
            return f"{type(single[0]).__name__} has no stacked form"
        if any(stage.stop or stage.search or stage.score for stage in self.tuning):
            return "its stages decide for themselves when to end, or search without gradients"
        if any(stage.average for stage in self.tuning):
            return "what it learns is a running mean"
        if any(stage.optimizer != "adamw" for stage in self.tuning):
            return "it learns with another optimiser than AdamW"
        if any(getattr(part, "of_base", False) for stage in self.tuning for part in stage.train):
            return "it changes the base's own weights"
        return ""


# ----------------------------------------------------------------------------------------------------------- the methods


@dataclass(frozen=True)
class Card:
    """What is known of a published method."""

    name: str
    title: str
    arxiv: str  # its identifier; empty for what is not there
    year: int
    scope: tuple[str, ...]
    venue: str = ""  # where it appeared, of what is not on arXiv

    @property
    def source(self) -> str:
        """As Markdown: a link to arXiv, or the venue."""
        return f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else self.venue


class Setting(NamedTuple):
    """A keyword argument of a method: declared once, in its signature."""

    name: str
    type: type
    default: Any
    help: str


Method: TypeAlias = "Callable[..., Recipe]"


def method(
    *, title: str, scope: Sequence[str], arxiv: str = "", venue: str = "", year: int = 0
) -> Callable[[Method], Method]:
    """Mark a function of a `Subject` as a method: attaches its card and returns the function unchanged.

    `arxiv` is the identifier ("2208.12242"), whose first two digits give the year; a paper that is not on arXiv has a
    `venue` and a `year` instead, and a method of your own needs neither. Raises `TypeError` when a setting lacks a type, a default or
    a line of help.
    """

    def attach(function: Method) -> Method:
        if (arxiv and (venue or year)) or bool(venue) != bool(year):
            raise TypeError(f"method {function.__name__!r} has either arxiv=, or venue= and year=, or none of them")
        when = 2000 + int(arxiv[:2]) if arxiv else year
        card = Card(function.__name__, title, arxiv, when, tuple(scope), venue)
        function.card = card  # type: ignore[attr-defined]  # functions stay functions; `card` reads it back
        settings(function)
        return function

    return attach


@functools.cache
def settings(function: Method) -> tuple[Setting, ...]:
    """The settings of a method, read from its signature and the `Settings:` lines of its docstring."""
    helps = _helps(inspect.getdoc(function) or "")
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        kind = {"int": int, "float": float, "str": str, "bool": bool}.get(
            getattr(parameter.annotation, "__name__", parameter.annotation)
        )
        if kind is None or parameter.default is parameter.empty or parameter.name not in helps:
            raise TypeError(
                f"setting {parameter.name!r} of method {function.__name__!r} needs a type (int, float, str or bool), a default, "
                f"and a line '{parameter.name}: …' under 'Settings:' in the docstring"
            )
        found.append(Setting(parameter.name, kind, parameter.default, helps[parameter.name]))
    return tuple(found)


def _helps(doc: str) -> dict[str, str]:
    lines = doc.partition("Settings:")[2].splitlines()
    pairs = (line.strip().partition(": ") for line in lines if ": " in line)
    return {name: text for name, _, text in pairs if name.isidentifier()}


def names(parts: Iterable[Any]) -> tuple[str, ...]:
    """The readable names of parts, for headers and errors."""
    return tuple(getattr(part, "name", getattr(part, "__name__", type(part).__name__)) for part in parts)
