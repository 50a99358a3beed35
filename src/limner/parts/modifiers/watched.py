"""A token whose cross-attention is kept in training, for objectives that compare its position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

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
            places = [known.get(k, self._place(base, prompt)) for k, prompt in enumerate(call.run.prompts)]
            mean = maps.mean(1)
            rows = [mean[k, :, place] if place else torch.zeros_like(mean[k, :, 0]) for k, place in enumerate(places)]
            call.run.activations[f"{self.key}, {call.site.name}"] = torch.stack(rows)
            return maps

        return keep

    def note(self, base: Base, run: Pass) -> None:
        """Register other positions of the token in a run; here none."""

    def _place(self, base: Base, prompt: str) -> int:
        """The token's first position in the states; 0, which is the begin token's, for a prompt without it."""
        import torch

        places = base.word_places(prompt, self.word, words={self.word: torch.zeros(1, 1)})
        return places[0] if places else 0


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
