"""The parts that a method consists of, and their types.

A *method* is a function of a subject that returns a `Recipe`; a recipe lists modifiers, stages of training and the
parts that act in sampling. Parts are plain functions, or functions that return one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from .wording import in_place

if TYPE_CHECKING:
    from torch import Tensor

    from .adapted import Adapted, Candidates, FirstPicture, LatentOperation, Modifier, Step
    from .artefact import Artefact
    from .base import Base
    from .corpus import Corpus
    from .types import AttentionOp, Batch, Denoiser, Guidance, ReferenceStream, Streams


Need: TypeAlias = "Callable[[Base], object]"
"""Raises `InputError` for a base that lacks a capability (see `needs`): the message says what was expected and found,
and what to do."""
Selection: TypeAlias = "Callable[[Adapted], Mapping[str, Tensor]]"
"""The adapted base -> the parameters that learn, by name. Called at the start of a stage."""


@dataclass(frozen=True)
class Rated:
    """A selection whose learning rate is a multiple of its stage's."""

    selection: Selection
    factor: float

    def __call__(self, adapted: Adapted) -> Mapping[str, Tensor]:
        return self.selection(adapted)


@dataclass(frozen=True)
class Gather:
    """A source's work at the start of a stage, with the adapters as trained so far.

    `make` returns tensors, which are saved in the run's checkpoints, so that a resumed stage draws from the same ones.
    Its third argument are the tensors that a source of the same name made for the stage before, if that is `onward`;
    else it is empty. `draw` returns the function that draws batches from them.
    """

    make: Callable[[Adapted, Streams, Mapping[str, Tensor]], Mapping[str, Tensor]]
    draw: Callable[[Base, Mapping[str, Tensor]], Callable[[int, Streams], Batch]]
    onward: bool = False


@dataclass(frozen=True)
class Source:
    """Examples to learn from.

    `prepare` is called on the unchanged base and returns the function that draws batches, a pure function of (step,
    streams): a source can resume at any step without state. With `gather`, the function that it makes at the start of a
    stage replaces that of `prepare`.
    """

    name: str
    learns_from: Literal["subject", "class", "prompts", "corpus"]
    prepare: Callable[[Base], Callable[[int, Streams], Batch]]
    # for a source that learns from a corpus: the same source on another corpus
    over: Callable[[Corpus], Source] | None = None
    gather: Gather | None = None  # for a source that depends on the adapters as trained so far
    times: tuple[float, float] = (0.0, 1.0)  # range of its batches' times, as shares of the base's
    corpus: Callable[[Base], Corpus] | None = None  # the corpus that it learns from; None: `base.corpus`
    needs: tuple[Need, ...] = ()  # capabilities that it needs of a base


@dataclass(frozen=True)
class Objective:
    """A term of the loss: a scalar computed from a `Step` on a source, times its weight. Multiply it to change the
    weight: `2.0 * denoising(photos(s))`."""

    name: str
    source: Source
    value: Callable[[Step], Tensor]
    weight: float = 1.0
    any_target: bool = False  # whether it fits every base; otherwise only one that predicts noise, velocity or flow
    across: bool = False  # whether it relates rows of a batch, so that it is not the mean of its values on parts
    needs: tuple[Need, ...] = ()  # capabilities that it needs of a base

    def __rmul__(self, factor: float) -> Objective:
        return replace(self, weight=self.weight * factor)


class Stop(Protocol):
    """Decides after every update whether a stage ends. `state` [n], empty at first, is its only memory, so that a
    resumed stage ends at the same update as an uninterrupted one."""

    def __call__(self, adapted: Adapted, state: Tensor) -> tuple[bool, Tensor]: ...


@dataclass(frozen=True)
class Evolution:
    """Training without gradients: CMA-ES over all parameters of a stage, one generation per update
    (arXiv:1604.00772)."""

    population: int = 20
    sigma: float = 1.0


# ----------------------------------------------------------------------------------------------------------- the recipe


LATE = 0.15
"""Share of a stage's updates, at its end, over which the decay "late" lowers the learning rate. Until then, the rate
does not depend on the planned number of updates."""


@dataclass(frozen=True)
class Stage:
    """A stage of training: its parameters, the terms of its loss and its number of updates. Stages run in order.

    A term of weight 0 is left out, and its source is not prepared. With `score`, the adapters are scored at the end of
    the stage, and the result of the run is the best of all stages' ends.
    """

    train: tuple[Selection, ...]
    loss: tuple[Objective, ...]
    steps: int
    lr: float
    weight_decay: float = 0.0
    warmup: int = 0
    decay: Literal["constant", "cosine", "late"] = "constant"
    """Course of the learning rate: constant, a cosine down to 2 %, or linear to 2 % over the last LATE of the
    updates."""
    clip: float = 1.0
    average: float = 0.0  # decay of the exponential moving average that replaces the parameters at the end; 0: none
    momentum: float = 0.0
    """Decay of an exponential moving average of the parameters that objectives can predict with
    (`Step.momentum_prediction`), from their values at the start of the stage. The parameters themselves are the result.
    1 keeps these first values, as a fixed reference; 0: none."""
    stop: Stop | None = None
    optimizer: Literal["adamw", "muon", "sign"] = "adamw"
    """Muon is for whole networks trained from scratch; "sign" changes every value by the rate, against the sign of its
    gradient."""
    anew: bool = False
    """Whether the base's parameters that it trains begin with their original values again, once its sources have
    gathered with those trained so far."""
    search: Evolution | None = None  # replaces gradients: lr, decay, clip and optimizer are then ignored
    score: Callable[[Adapted], float] | None = None
    after: Callable[[Adapted], None] | None = None
    """Called after every update, without gradients: an in-place projection of `adapted.tensors`, such as onto an
    epsilon ball."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", tuple(term for term in self.loss if term.weight))
        if not 0 <= self.average < 1:
            raise ValueError(
                f"the decay of an exponential moving average must be from 0 to below 1, not {self.average}"
            )
        if not 0 <= self.momentum <= 1 or (self.momentum and (self.average or self.search)):
            raise ValueError(
                f"the decay of a momentum network must be from 0 to 1, in a stage that neither replaces its "
                f"parameters by their average nor searches without gradients, not {self.momentum}"
            )
        if self.optimizer not in ("adamw", "muon", "sign"):
            raise ValueError(f"a stage learns with 'adamw', 'muon' or 'sign', not {self.optimizer!r}")
        if self.search and self.after:
            raise ValueError(
                "a stage that is searched without gradients cannot project its parameters: leave out `after`"
            )

    def rate(self, step: int) -> float:
        """The learning rate of an update: a linear warm-up, then the course that `decay` names."""
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
class FirstPass:
    """A sampling of every picture before its own: by the unchanged base, from the same noise, with class nouns in the
    handles' places. It gives the regions of the second sampling, in which each subject's region is predicted with its
    concept alone and the rest by the base. Where the user gives regions there is no first pass.

    Up to the share `begin` of the steps both samplings are the same, so the second goes on from the first's latents.
    Adapters that are attached together must ask for equal first passes: its functions are module-level functions or
    frozen dataclasses.
    """

    regions: Callable[[FirstPicture], Mapping[str, Tensor]]
    """Handle -> [1, 1, h, w] in [0, 1] at the latents' size; subjects without a region do not appear."""
    begin: float = 0.3
    # a dictionary, empty at first -> an operation of the first pass, which stores tensors [B, ...] in it, a row for
    # each picture
    watch: Callable[[dict[str, Tensor]], AttentionOp] | None = None
    # number of sampling steps -> an operation of the second pass in runs of the base alone: the second half of each
    # branch's rows is the first pass at the same step, and `Pass.parallel_stream` is True
    follow: Callable[[int], AttentionOp] | None = None
    # the picture's prompt and a handle -> the prompt of this handle's region, both as the user writes them
    prompt: Callable[[str, str], str] | None = None
    # conditions of the second pass, where something reads them and the user gives none: name -> [1, 1 or 3, H, W]
    conditions: Callable[[FirstPicture], Mapping[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.begin < 1:
            raise ValueError(f"concepts begin to act at a share of the steps from 0 to below 1, not {self.begin}")


@dataclass(frozen=True)
class Painting:
    """Parts that act in sampling, beside the plain sampling loop."""

    operations: tuple[AttentionOp, ...] = ()
    guidance: tuple[Guidance, ...] = ()
    latents: tuple[LatentOperation, ...] = ()
    # called after every sampling step, the last one too: `Moment.step` is then the number of steps done
    after_steps: tuple[LatentOperation, ...] = ()
    sampler: str = ""  # the sampler where the user names none, on bases that have it
    parallel_stream: Callable[[str], str] | None = None
    """Gives each picture a parallel stream, which is sampled along with it from the same noise and which operations can
    read. The function maps the picture's prompt to the stream's, both as the base reads them."""
    negative: str = ""  # prompt of the negative branch where the user gives none
    branches: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """More branches for guidance to ask for: name -> function of the prompt as the user wrote it, which returns the
    branch's prompt."""
    # the adapted base -> function of the number of sampling steps, which returns the stream
    reference_stream: Callable[[Adapted], Callable[[int], ReferenceStream]] | None = None
    denoiser: Callable[[Adapted, Denoiser], Denoiser] | None = None  # wraps the base's own, inside of any guidance
    candidates: Candidates | None = None
    reads: tuple[str, ...] = ()  # names of the conditions that its operations need, beside those of modifiers
    first_pass: FirstPass | None = None


class Answer(NamedTuple):
    """A handle of an attached concept, with the words that replace it in prompts."""

    handle: str  # the word for it in prompts: "<rex>"
    says: str | Callable[[Base], str]  # the words that the base reads in the handle's place
    noun: str  # class noun, which the base reads in the handle's place while the concept does not act


@dataclass(frozen=True)
class Recipe:
    """A method as a value. `says` are the words that replace the handle in a prompt: a rare token and the class noun, a
    placeholder token with learned vectors, or the class noun alone."""

    says: str | Callable[[Base], str]
    modifiers: tuple[Modifier, ...] = ()
    stages: tuple[Stage, ...] = ()
    painting: Painting = field(default_factory=Painting)
    weights: str | None = None  # name of the pre-trained weights that the modifiers start from
    portable: bool = False  # whether these fit every denoiser of a base's family, so that a fine-tuned copy uses them
    begins: str | None = None  # name of the weights that their pre-training starts from
    artefacts: Callable[[Adapted], Sequence[Artefact]] | None = None
    """The adapted base -> files that the method makes beside the concept, once all stages are done."""
    notes: tuple[str, ...] = ()  # lines shown to the user before training starts
    also: tuple[Answer, ...] = ()  # further handles of a merged concept

    def __post_init__(self) -> None:
        for stage in self.stages:
            if "corpus" in stage.learns_from and stage.learns_from - {"corpus"}:
                raise ValueError("a stage learns from a corpus or from the subject, not from both at once")

    def words(self, base: Base) -> str:
        """The words that replace the handle in a prompt, on this base."""
        return self.says if isinstance(self.says, str) else self.says(base)

    def expand(self, prompt: str, handle: str, base: Base) -> str:
        """The prompt as a base reads it, with `handle` replaced by this recipe's words."""
        return in_place(prompt, handle, self.words(base))

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
        """The framework of the method, computed from the sources of its stages."""
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
        """The reason why it cannot train several subjects at once, stacked (`learn_many.train_stacked`); empty where it
        can: each of its modifiers has a stacked form, in which rows of one pass belong to different subjects."""
        if not self.tuning:
            return "it learns nothing per subject"
        if self.weights:
            return "it starts from weights of its own"
        single = [modifier for modifier in self.modifiers if not hasattr(modifier, "stacked")]
        if single:
            return f"{type(single[0]).__name__} has no stacked form"
        if any(stage.stop or stage.search or stage.score for stage in self.tuning):
            return "its stages decide for themselves when to end, or search without gradients"
        if any(stage.momentum for stage in self.tuning):
            return "its objectives compare with an exponential moving average of its parameters"
        if any(stage.average for stage in self.tuning):
            return "it saves an exponential moving average of its parameters"
        if any(stage.optimizer != "adamw" for stage in self.tuning):
            return "it trains with another optimiser than AdamW"
        if any(stage.after for stage in self.tuning):
            return "its stages project their parameters after every update"
        if self.artefacts or any(term.source.gather for stage in self.tuning for term in stage.loss):
            return "its sources depend on earlier stages, or it makes more than a concept"
        selections = [part.selection if isinstance(part, Rated) else part for s in self.tuning for part in s.train]
        if not all(getattr(selection, "of_modifiers", False) for selection in selections):
            return "it changes the base's own weights"
        return ""
