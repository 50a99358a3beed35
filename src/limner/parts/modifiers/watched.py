"""A word whose cross-attention is kept while teaching, for objectives that look at where it is read."""

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
"""In a run's cache, with a word: {row: place among the states}, of a word that is not read where it starts."""


@dataclass(frozen=True)
class watched_word:
    """Keeps, in every run while teaching, the word's cross-attention maps by site: [rows, N], the mean over heads; rows
    without the word are zero. `word` is in the vocabulary by another modifier."""

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
            call.run.kept[f"{self.key}, {call.site.name}"] = torch.stack(rows)
            return maps

        return keep

    def note(self, base: Base, run: Pass) -> None:
        """Nothing to say of where a word of the vocabulary is read."""

    def _place(self, base: Base, prompt: str) -> int:
        """Where the word starts in the states; 0, where no word can be, when the prompt is without it."""
        import torch

        found = base.word_places(prompt, self.word, words={self.word: torch.zeros(1, 1)})
        return found[0] if found else 0


def maps_of(kept: Mapping[str, Tensor], watched: watched_word, *, most: int = 256) -> Tensor:
    """[rows, h, w]: the mean over the finest sites of at most `most` places."""
    import torch

    found = [maps for name, maps in kept.items() if name.startswith(f"{watched.key}, ") and maps.shape[1] <= most]
    fine = max(maps.shape[1] for maps in found)
    side = round(fine**0.5)
    return torch.stack([maps for maps in found if maps.shape[1] == fine]).mean(0).unflatten(1, (side, side))
