"""A base with adapters attached, as recipes and parts see it: while training a step, while painting a moment."""

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
    def kept(self) -> dict[Any, Any]: ...
    @property
    def singles(self) -> dict[str, Tensor]: ...
    @property
    def words(self) -> dict[str, Tensor]: ...  # learned words now in the vocabulary: word -> vectors [n, D]
    @property
    def operations(self) -> tuple[AttentionOp, ...]: ...  # those of attention, in the order attached
    @property
    def tensors(self) -> dict[str, Tensor]: ...
    @property
    def guidance(self) -> tuple[Guidance, ...]: ...  # how a recipe guides by itself
    @property
    def denoiser(
        self,
    ) -> (
        Callable[[Adapted, Denoiser], Denoiser] | None
    ): ...  # what is put around the base's own denoiser while painting
    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]: ...
    @property
    def branches(self) -> dict[str, Callable[[str], str]]: ...  # what guidance may ask for beside "text" and "negative"
    @property
    def parallel_stream(
        self,
    ) -> (
        Callable[[str], str] | None
    ): ...  # picture's prompt -> its parallel stream's, if a recipe asks for parallel streams
    @property
    def latent_operations(self) -> tuple[Any, ...]: ...
    def reference_stream(
        self, steps: int
    ) -> ReferenceStream | None: ...  # the row painted along, if a recipe asks for one
    @property
    def reads(self) -> frozenset[str]: ...  # names of the conditions that adapters need
    @property
    def may_read(self) -> frozenset[str]: ...  # names of conditions that adapters read where these are given
    @property
    def painting_reads(self) -> frozenset[str]: ...  # those, and the ones that operations of painting need
    @property
    def frames(self) -> int: ...  # of the longest clip it can paint; 1: pictures alone
    @property
    def candidates(self) -> Candidates | None: ...  # how the picture to keep is chosen, if a recipe paints several
    def expand_prompt(self, prompt: str) -> str: ...
    def handle_places(
        self, prompt: str, handle: str
    ) -> tuple[int, ...]: ...  # in the text states of the prompt as written
    def text_states(self, prompts: Sequence[str]) -> Tensor: ...
    def text_learns(self, learns: bool) -> None: ...
    def run(self, **about: Any) -> Pass: ...
    def in_single(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    def round_off(self, names: Iterable[str]) -> None: ...
    def changing(self, names: Sequence[str]) -> None: ...
    def suspended(self) -> AbstractContextManager[None]: ...
    def only(self, *places: int) -> AbstractContextManager[None]: ...
    def switch(self) -> None: ...  # turn on what acts now
    def check_together(self) -> None: ...


class Lives:
    """The modifiers attached now, by place: the number of the adapter, and of the modifier in that adapter's recipe.

    Two equal modifiers are two. Asked by modifier, the very same object is found first, else one that is equal to it.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[Modifier, Live]] = {}

    def add(self, adapter: int, index: int, modifier: Modifier, live: Live) -> None:
        self._found[adapter, index] = modifier, live

    def _live(self, modifier: Any) -> Live | None:
        same = [live for known, live in self._found.values() if known is modifier]
        return next(iter(same or [live for known, live in self._found.values() if known == modifier]), None)

    def __contains__(self, modifier: object) -> bool:
        return self._live(modifier) is not None

    def __getitem__(self, modifier: object) -> Live:
        live = self._live(modifier)
        if live is None:
            raise KeyError(f"{names([modifier])[0]} is not attached now")
        return live

    def __bool__(self) -> bool:
        return bool(self._found)

    def items(self) -> list[tuple[tuple[int, int], Modifier, Live]]:
        """Place, modifier and its `Live`, in the order attached."""
        return [(place, *pair) for place, pair in self._found.items()]

    def of(self, adapter: int) -> list[Live]:
        """The modifiers of one adapter."""
        return [live for (k, _), (_, live) in self._found.items() if k == adapter]

    def values(self) -> list[Live]:
        return [live for _, live in self._found.values()]

    def every(self) -> list[Live]:
        """The same with the modifiers inside of others."""
        return [each for live in self.values() for each in (live, *live.within)]


class Modifier(Protocol):
    """Changes the network, undoably: called when a recipe is attached, in the order written; left in reverse, also
    after an exception. `stored` holds the tensors of a saved concept (by the names of `Live.tensors`), or nothing when
    new."""

    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> AbstractContextManager[Live]: ...


class Step(Protocol):
    """One update as an objective sees it. Everything is computed when first asked for."""

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


class Moment(NamedTuple):
    """A sampling step about to be taken, without reference streams."""

    adapted: Adapted
    latents: Tensor  # [B, C, h, w]
    time: Tensor  # scalar
    step: int  # from 0
    total: int
    prompts: tuple[str, ...]  # B, as the base reads them
    states: Tensor  # [B, L, D] of the prompts
    where: Tensor | None = None  # [1, 1, h, w]: where a canvas may change
    against: Tensor | None = None  # [B, L, D] of what the negative branch reads
    guidance: float = 1.0  # the user's scale
    conditions: Mapping[str, Tensor] = {}  # name -> [B, 1 or 3, H, W] in [0, 1]
    frames: int = 1  # so many rows, one after the other, are one clip


LatentOperation: TypeAlias = "Callable[[Moment], Tensor]"
"""Acts on the latents between two sampling steps; returns them, changed or not."""


@dataclass(frozen=True)
class Candidates:
    """Of every picture, `count` are painted, each from noise of its own, and the one that `nearness` rates highest is
    kept."""

    count: int
    nearness: Callable[[Adapted, Tensor], Tensor]
    """The adapted base, pixels [B, 3, H, W] in [0, 1] -> [B]"""


def names(parts: Iterable[Any]) -> tuple[str, ...]:
    """The readable names of parts, for headers and errors."""
    return tuple(getattr(part, "name", getattr(part, "__name__", type(part).__name__)) for part in parts)
