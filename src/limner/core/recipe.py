"""The parts that a method is made of: the whole vocabulary.

A *method* is a function of a subject that returns a `Recipe`; a recipe lists modifiers, stages and what happens while
painting. Parts are plain functions, or functions that make one; their types are named here, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from .adapted import Adapted, Candidates, LatentOperation, Modifier, Step
    from .artefact import Artefact
    from .base import Base
    from .corpus import Corpus
    from .types import AttentionOp, Batch, Denoiser, Guidance, ReferenceStream, Streams


Selection: TypeAlias = "Callable[[Adapted], Mapping[str, Tensor]]"
"""The adapted base -> the parameters that learn, by name. Called at the start of a stage."""


@dataclass(frozen=True)
class Rated:
    """A selection that learns at a multiple of its stage's rate."""

    selection: Selection
    factor: float

    def __call__(self, adapted: Adapted) -> Mapping[str, Tensor]:
        return self.selection(adapted)


@dataclass(frozen=True)
class Gather:
    """A source's work at the start of a stage, with the adapters as learned so far. `make` returns tensors, which the
    run's checkpoints keep, so that a resumed stage draws from the very same; `draw` makes the drawing of batches of
    them."""

    make: Callable[[Adapted, Streams], Mapping[str, Tensor]]
    draw: Callable[[Base, Mapping[str, Tensor]], Callable[[int, Streams], Batch]]


@dataclass(frozen=True)
class Source:
    """Examples to learn from. `prepare` looks at the base before anything is changed and returns the drawing of
    batches, a pure function of (step, streams): so a source resumes anywhere without state. With `gather`, the drawing
    that it makes at the start of a stage takes the place of `prepare`'s."""

    name: str
    learns_from: Literal["subject", "class", "prompts", "corpus"]
    prepare: Callable[[Base], Callable[[int, Streams], Batch]]
    over: Callable[[Corpus], Source] | None = None  # of one that learns from a corpus: the same on another
    gather: Gather | None = None  # of one that first looks at what has been learned so far
    times: tuple[float, float] = (0.0, 1.0)  # shares of the base's times between which its batches are noised
    corpus: Callable[[Base], Corpus] | None = None  # what it learns from, where that is not the base's first corpus


@dataclass(frozen=True)
class Objective:
    """A term that is minimised: a scalar of a `Step` on a source, summed with its weight. `2.0 *
    denoising(photos(s))`."""

    name: str
    source: Source
    value: Callable[[Step], Tensor]
    weight: float = 1.0
    any_target: bool = False  # means something whatever the base predicts; the others need noise, velocity or flow
    across: bool = False  # looks across the rows of a batch: it is not the mean of what its parts give

    def __rmul__(self, factor: float) -> Objective:
        return replace(self, weight=self.weight * factor)


class Stop(Protocol):
    """Decides after every update whether a stage has learned enough. `state` [n] is all it remembers, so that a resumed
    stage stops where it would have; it begins empty."""

    def __call__(self, adapted: Adapted, state: Tensor) -> tuple[bool, Tensor]: ...


@dataclass(frozen=True)
class Evolution:
    """Learn without gradients: CMA-ES over everything a stage selects, one generation an update (arXiv:1604.00772)."""

    population: int = 20
    sigma: float = 1.0


# ----------------------------------------------------------------------------------------------------------- the recipe


LATE = 0.15
"""Share of a stage's updates over which a rate that falls late falls: so a long run can be ended earlier than
planned."""


@dataclass(frozen=True)
class Stage:
    """A stretch of learning: which parameters learn, from which terms, for how long. Stages run one after another.

    A term of weight 0 is left out: its source is not even prepared. With `score`, the adapters at the stage's end are
    scored, and those of the best end of all stages are kept.
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
    average: float = 0.0  # decay of the exponential moving average that is kept in the parameters' place; 0: none
    stop: Stop | None = None
    optimizer: Literal["adamw", "muon", "sign"] = "adamw"
    """Muon for whole networks from scratch; "sign" moves every value by the rate against its gradient's sign."""
    search: Evolution | None = None  # in the place of gradients: lr, decay, clip and optimizer then mean nothing
    score: Callable[[Adapted], float] | None = None
    after: Callable[[Adapted], None] | None = None
    """Called after every update, without gradients: a projection of `adapted.tensors` in place, as onto an epsilon
    ball."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", tuple(term for term in self.loss if term.weight))
        if not 0 <= self.average < 1:
            raise ValueError(f"the decay of a moving average must be from 0 to below 1, not {self.average}")
        if self.optimizer not in ("adamw", "muon", "sign"):
            raise ValueError(f"a stage learns with 'adamw', 'muon' or 'sign', not {self.optimizer!r}")
        if self.search and self.after:
            raise ValueError(
                "a stage that is searched without gradients cannot project what it learns: leave out `after`"
            )

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
    """Parts that act while painting, beside the plain sampling loop."""

    operations: tuple[AttentionOp, ...] = ()
    guidance: tuple[Guidance, ...] = ()
    latents: tuple[LatentOperation, ...] = ()
    parallel_stream: Callable[[str], str] | None = None
    """Every picture gets a parallel stream, painted alongside from the same noise for operations to look at; the
    function makes the parallel stream's prompt of the picture's, both as the base reads them."""
    negative: str = ""  # what the negative branch reads where the user says nothing else
    branches: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """More branches for guidance to ask for: the prompt as it was written -> what that branch reads in its place."""
    reference_stream: Callable[[Adapted], Callable[[int], ReferenceStream]] | None = (
        None  # worn -> number of sampling steps -> row
    )
    denoiser: Callable[[Adapted, Denoiser], Denoiser] | None = None  # put around the base's own, before any guidance
    candidates: Candidates | None = None
    reads: tuple[str, ...] = ()  # names of the conditions that its operations need, beside those of modifiers


class Answer(NamedTuple):
    """A handle that something worn answers to."""

    handle: str  # as prompts write it: "<rex>"
    says: str | Callable[[Base], str]  # the words that the base reads in the handle's place
    noun: str  # of its class, read in the handle's place where the concept does not act


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
    artefacts: Callable[[Adapted], Sequence[Artefact]] | None = None
    """The adapted base -> files that the method makes beside the concept, once all stages are done."""
    notes: tuple[str, ...] = ()  # for the user to read before it starts
    also: tuple[Answer, ...] = ()  # more handles that it answers to: those of concepts that were merged into one

    def __post_init__(self) -> None:
        for stage in self.stages:
            if "corpus" in stage.learns_from and stage.learns_from - {"corpus"}:
                raise ValueError("a stage learns from a corpus or from the subject, not from both at once")

    def words(self, base: Base) -> str:
        """The words that the handle becomes in a prompt on a base."""
        return self.says if isinstance(self.says, str) else self.says(base)

    def expand(self, prompt: str, handle: str, base: Base) -> str:
        """The prompt as a base reads it, the handle being this recipe's."""
        return prompt.replace(handle, self.words(base))

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
    def why_not_stackable(self) -> str:
        """Why it cannot be taught in a fleet (`learn_many.train_stacked`); nothing where it can: all its modifiers have
        a stacked form, in which rows of one pass belong to different subjects."""
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
        if any(stage.after for stage in self.tuning):
            return "its stages project what they learned after every update"
        if self.artefacts or any(term.source.gather for stage in self.tuning for term in stage.loss):
            return "it looks at what it learned between its stages, or makes more than a concept"
        if any(getattr(part, "of_base", False) for stage in self.tuning for part in stage.train):
            return "it changes the base's own weights"
        return ""
