"""A base with adapters attached, as recipes and parts see it: a `Step` in training, a `Moment` in sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from .base import Base
    from .types import (
        AttentionOp,
        Batch,
        Denoiser,
        Guidance,
        Live,
        Pass,
        Prediction,
        References,
        ReferenceStream,
        Sampling,
        Streams,
    )


class Adapted(Protocol):
    """A base and the adapters attached to it now, as recipes and parts see it (`engine.attach.AdaptedBase`)."""

    @property
    def base(self) -> Base: ...
    @property
    def adapters(self) -> Sequence[Any]: ...
    @property
    def live(self) -> Lives: ...
    @property
    def originals(self) -> dict[str, Tensor]: ...
    @property
    def frozen_text(self) -> bool: ...
    @property
    def cache(self) -> dict[Any, Any]: ...
    @property
    def singles(self) -> dict[str, Tensor]: ...

    # name -> exponential moving average of a trained tensor, in a stage with `momentum`
    @property
    def averages(self) -> dict[str, Tensor]: ...

    # learned words now in the vocabulary: word -> vectors [n, D]
    @property
    def words(self) -> dict[str, Tensor]: ...

    # operations of attention, in the order in which they were attached
    @property
    def operations(self) -> tuple[AttentionOp, ...]: ...
    @property
    def tensors(self) -> dict[str, Tensor]: ...

    # guidance that a recipe adds
    @property
    def guidance(self) -> tuple[Guidance, ...]: ...

    # wraps the base's own denoiser in sampling
    @property
    def denoiser(self) -> Callable[[Adapted, Denoiser], Denoiser] | None: ...
    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]: ...

    # prompt of the negative branch where the user gives none
    @property
    def negative(self) -> str: ...

    # branches that guidance may ask for beside "text" and "negative"
    @property
    def branches(self) -> dict[str, Callable[[str], str]]: ...

    # prompt of a picture -> prompt of its parallel stream; None where no recipe asks for parallel streams
    @property
    def parallel_stream(self) -> Callable[[str], str] | None: ...
    # whether one recipe asks for parallel streams and for a reference stream
    @property
    def both_streams(self) -> bool: ...
    @property
    def latent_operations(self) -> tuple[Any, ...]: ...

    # operations on latents after every sampling step
    @property
    def after_step_operations(self) -> tuple[Any, ...]: ...

    # the sampler where the user names none; empty for the base's own
    @property
    def sampler(self) -> str: ...

    # the row that is sampled along with every batch; None where no recipe asks for one
    def reference_stream(self, steps: int) -> ReferenceStream | None: ...

    # names of the conditions that adapters need
    @property
    def reads(self) -> frozenset[str]: ...

    # names of conditions that adapters read where these are given
    @property
    def may_read(self) -> frozenset[str]: ...

    # `reads` and the conditions that operations of sampling need
    @property
    def painting_reads(self) -> frozenset[str]: ...

    # number of frames of the longest clip that can be sampled; 1 for pictures alone
    @property
    def frames(self) -> int: ...

    # how one of several sampled pictures is chosen; None where no recipe samples several
    @property
    def candidates(self) -> Candidates | None: ...

    # the sampling that comes before each picture's own (`recipe.FirstPass`); None where no recipe asks for one
    @property
    def first_pass(self) -> Any: ...

    # places of the adapters that act in every region of a picture: control branches, motion modules, styles
    @property
    def everywhere(self) -> tuple[int, ...]: ...
    def expand_prompt(self, prompt: str) -> str: ...

    # positions of a handle, or of a plain word, in the text-encoder hidden states of a prompt as the user wrote it
    def handle_places(self, prompt: str, handle: str) -> tuple[int, ...]: ...
    def text_states(self, prompts: Sequence[str]) -> Tensor: ...
    def text_learns(self, learns: bool) -> None: ...
    def run(self, **about: Any) -> Pass: ...
    def in_single(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    def round_off(self, names: Iterable[str]) -> None: ...
    def changing(self, names: Sequence[str]) -> None: ...
    def suspended(self) -> AbstractContextManager[None]: ...

    # inside, trained tensors have the values in `averages`
    def averaged(self) -> AbstractContextManager[None]: ...
    def only(self, *places: int) -> AbstractContextManager[None]: ...

    # turn on the modifiers that act now, turn off the others
    def switch(self) -> None: ...
    def check_together(self) -> None: ...


class Lives:
    """The attached modifiers by place: the number of the adapter, and the number of the modifier in its recipe.

    Two equal modifiers have two places. A lookup by modifier finds the very same object first, else an equal one.
    """

    def __init__(self) -> None:
        self._by_place: dict[tuple[int, int], tuple[Modifier, Live]] = {}

    def add(self, adapter: int, index: int, modifier: Modifier, live: Live) -> None:
        self._by_place[adapter, index] = modifier, live

    def _live(self, modifier: Any) -> Live | None:
        same = [live for known, live in self._by_place.values() if known is modifier]
        return next(iter(same or [live for known, live in self._by_place.values() if known == modifier]), None)

    def __contains__(self, modifier: object) -> bool:
        return self._live(modifier) is not None

    def __getitem__(self, modifier: object) -> Live:
        live = self._live(modifier)
        if live is None:
            raise KeyError(f"{names([modifier])[0]} is not attached now")
        return live

    def __bool__(self) -> bool:
        return bool(self._by_place)

    def items(self) -> list[tuple[tuple[int, int], Modifier, Live]]:
        """Place, modifier and its `Live`, in the order attached."""
        return [(place, *pair) for place, pair in self._by_place.items()]

    def of(self, adapter: int) -> list[Live]:
        """The modifiers of one adapter."""
        return [live for (k, _), (_, live) in self._by_place.items() if k == adapter]

    def values(self) -> list[Live]:
        return [live for _, live in self._by_place.values()]

    def release(self) -> None:
        """Let go of what refers back to these modifiers, once they are detached: the last run has them, and functions
        that act in it close over them. Such cycles, with all tensors of the run, would wait for Python's collector."""
        for live in self.every():
            live.run, live.cut = None, None
            live.operations, live.controls = (), ()
            live.words, live.residuals, live.offers = {}, {}, {}

    def every(self) -> list[Live]:
        """The attached modifiers, and those that lie inside of others."""
        return [each for live in self.values() for each in (live, *live.within)]


class Modifier(Protocol):
    """Changes the network, and undoes the change on exit.

    The modifiers of a recipe are entered in the order written when it is attached, and left in reverse order, also
    after an exception. `stored` holds the tensors of a saved concept (by the names of `Live.tensors`); it is empty for
    a new one.
    """

    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> AbstractContextManager[Live]: ...


class Step(Protocol):
    """One update as an objective sees it. Each value is computed at its first use."""

    batch: Batch
    time: Tensor  # [B]
    noise: Tensor  # [B, C, h, w]

    @property
    def adapted(self) -> Adapted: ...
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

    # the denoiser's prediction for the same noised latents with its parameters' exponential moving averages, without
    # gradient; with `text`, the prompts are read with the averages too
    def momentum_prediction(self, *, text: bool = False) -> Prediction: ...


class Moment(NamedTuple):
    """The state before a sampling step, or after it (`Painting.after_steps`), without reference streams."""

    adapted: Adapted
    latents: Tensor  # [B, C, h, w]
    time: Tensor  # scalar
    step: int  # from 0
    total: int
    prompts: tuple[str, ...]  # B, as the base reads them
    states: Tensor  # [B, L, D]: hidden states of the prompts
    where: Tensor | None = None  # [1, 1, h, w]: where a canvas may change
    against: Tensor | None = None  # [B, L, D]: hidden states that the negative branch reads
    guidance: float = 1.0  # the user's scale
    conditions: Mapping[str, Tensor] = {}  # name -> [B, 1 or 3, H, W] in [0, 1]
    frames: int = 1  # number of consecutive rows that form one clip
    regions: Mapping[str, Tensor] = {}  # handle or word -> [1, 1, h, w] in [0, 1], as in `Pass`
    # B: handle or word with a region -> its positions in the hidden states
    handle_places: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    times: Tensor | None = None  # [total]: the times of all steps, noisiest first
    sampling: Sampling | None = None  # shared with the runs of this sampling


class FirstPicture(NamedTuple):
    """The result of a picture's first pass."""

    adapted: Adapted
    prompt: str  # as the user wrote it
    pixels: Tensor  # [1, 3, H, W] in [0, 1]
    latents: Tensor  # [1, C, h, w]
    activations: Mapping[str, Tensor]  # tensors [1, ...] that the watching operation stored


LatentOperation: TypeAlias = "Callable[[Moment], Tensor]"
"""Called between two sampling steps: returns the latents, changed or not."""


@dataclass(frozen=True)
class Candidates:
    """Each picture is sampled `count` times from different noise; the one that `nearness` rates highest is returned."""

    count: int
    nearness: Callable[[Adapted, Tensor], Tensor]
    """(adapted base, pixels [B, 3, H, W] in [0, 1]) -> rating of each picture [B]"""


def names(parts: Iterable[Any]) -> tuple[str, ...]:
    """The readable names of parts, for headers and error messages."""
    return tuple(getattr(part, "name", getattr(part, "__name__", type(part).__name__)) for part in parts)
