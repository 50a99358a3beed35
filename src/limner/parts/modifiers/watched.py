"""A token whose cross-attention is kept in training, for objectives that compare its position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

from .states import word_places_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Pass


READ_AT = "where a word is read"
"""Key in a run's cache, with a token: {row: position among the states}, for a token not read at its own position."""


@dataclass(frozen=True)
class watched_word:
    """Keep a token's cross-attention maps in every training run, by site: [rows, N], the mean over heads.

    Rows without the token are zero. Another modifier defines the token.

    word: the token
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str

    @property
    def key(self) -> str:
        return f"maps of {self.word}"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "cross" and live.on and call.run.random is not None:
                call.on_maps.append(self._keep(call, base))
            return call

        live.operations = (operation,)
        yield live

    def _keep(self, call: AttentionCall, base: Base) -> Callable[[Tensor], Tensor]:
        def keep(maps: Tensor) -> Tensor:
            import torch

            self.note(base, call.run)
            known = call.run.cache.get((READ_AT, self.word), {})
            places = [known.get(k, place) for k, place in enumerate(self._places(base, call.run))]
            mean, none = maps.mean(1), torch.zeros_like(maps[0, 0, :, 0])
            rows = [mean[k, :, place] if place >= 0 else none for k, place in enumerate(places)]
            call.run.activations[f"{self.key}, {call.site.name}"] = torch.stack(rows)
            return maps

        return keep

    def note(self, base: Base, run: Pass) -> None:
        """Register other positions of the token in a run; here none."""

    def _places(self, base: Base, run: Pass) -> list[int]:
        """The token's first position in each row's states; -1 in rows without it."""
        if (id(self), "places") not in run.cache:
            starts = [word_places_of(base, run, row, self.word) for row in range(len(run.prompts))]
            run.cache[id(self), "places"] = [own[0] if own else -1 for own in starts]
        places: list[int] = run.cache[id(self), "places"]
        return places


def maps_of(tensors: Mapping[str, Tensor], watched: watched_word, *, most: int = 256) -> Tensor:
    """[rows, h, w]: the mean map over the finest sites with at most `most` positions.

    tensors: the tensors kept in a run
    watched: the part that kept them
    most: largest number of positions of a site
    """
    import torch

    site_maps = [
        maps for name, maps in tensors.items() if name.startswith(f"{watched.key}, ") and maps.shape[1] <= most
    ]
    fine = max(maps.shape[1] for maps in site_maps)
    side = round(fine**0.5)
    return torch.stack([maps for maps in site_maps if maps.shape[1] == fine]).mean(0).unflatten(1, (side, side))
