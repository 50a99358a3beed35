"""Outfits worn by rows: several at once on one base, each by the rows of a run that are its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from .streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base
    from .recipe import Live, Recipe
    from .wearing import Outfit


class Rows:
    """Which outfit each row of the run under way belongs to: the place of its member, or -1 for none."""

    def __init__(self) -> None:
        self.index: Tensor | None = None
        self.members: list[int] = []
        self.version = 0  # of this arrangement
        self.count = 0
        self.even = True
        self._of: dict[int, tuple[Tensor, Tensor]] = {}

    def told(self, members: Sequence[int], device: Any) -> None:
        """`members` is the place of each row's member, rows of one member side by side."""
        if list(members) == self.members:
            return
        self.members, self.version = list(members), self.version + 1
        self.index = torch.tensor(members, device=device)
        self.count = max(members) + 1
        self._of.clear()
        each = [members.count(k) for k in range(self.count)]
        self.even = -1 not in members and len(set(each)) == 1 and list(members) == sorted(members)

    def of(self, place_of: Mapping[int, int]) -> tuple[Tensor, Tensor]:
        """The rows of these members, and the place in their stack of each."""
        if id(place_of) not in self._of:
            assert self.index is not None
            pairs = [(row, place_of[k]) for row, k in enumerate(self.index.tolist()) if k in place_of]
            at, mine = (
                torch.tensor([pair[i] for pair in pairs], dtype=torch.long, device=self.index.device) for i in (0, 1)
            )
            self._of[id(place_of)] = at, mine
        return self._of[id(place_of)]


def alike(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Which recipes have the same kinds of modifiers in the same order: each kind is stacked once."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for k, recipe in enumerate(recipes):
        key = tuple((type(m).__name__, getattr(m, "layers", "")) for m in recipe.modifiers)
        found.setdefault(key, []).append(k)
    return list(found.values())


def alias(name: str, place: int) -> str:
    """A handle or word of the outfit at a place, told apart from the same of another: "<rex>" -> "<rex.3>"."""
    return f"{name[:-1]}.{place}>"


@contextmanager
def worn_by_rows(base: Base, outfits: Sequence[Outfit], rows: Rows) -> Iterator[list[dict[Any, Live]]]:
    """The stacked forms of the outfits' modifiers; yields what each outfit wears. `rows` says, before each run, whose they are."""
    lives: list[dict[Any, Live]] = [{} for _ in outfits]
    with ExitStack() as stack:
        for group in alike([outfit.recipe for outfit in outfits]):
            for place in range(len(outfits[group[0]].recipe.modifiers)):
                own = [outfits[k].recipe.modifiers[place] for k in group]
                stored = [outfits[k].stored for k in group]
                generators = [stream(outfits[k].seed, "modifier", place) for k in group]
                scales = [outfits[k].scale for k in group]
                kind: Any = type(own[0])
                made = kind.stacked(base, own, stored, generators, scales, rows, group)
                for k, modifier, live in zip(group, own, stack.enter_context(made), strict=True):
                    lives[k][modifier] = live
        yield lives
