"""Outfits worn by rows: several at once on one base, each by the rows of a run that are its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Lives
from limner.core.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe
    from limner.engine.attach import Adapter


class Rows:
    """Which adapter each row of the run under way belongs to: the place of its member, or -1 for none."""

    def __init__(self) -> None:
        self.index: Tensor | None = None
        self.members: list[int] = []
        self.version = 0  # of this arrangement
        self.even = True
        self._of: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def assign(self, members: Sequence[int], device: Any) -> None:
        """`members` is the place of each row's member, rows of one member side by side."""
        if list(members) == self.members:
            return
        self.members, self.version = list(members), self.version + 1
        self.index = torch.tensor(members, device=device)
        self._of.clear()
        each = {members.count(k) for k in members}
        self.even = -1 not in members and len(each) == 1 and list(members) == sorted(members)

    def all_of(self, place_of: Mapping[int, int]) -> bool:
        """Whether all rows belong to these members, in their order and as many to each."""
        return self.even and tuple(dict.fromkeys(self.members)) == tuple(place_of)

    def of(self, place_of: Mapping[int, int]) -> tuple[Tensor, Tensor]:
        """The rows of these members, and the place in their stack of each."""
        key = tuple(place_of)
        if key not in self._of:
            assert self.index is not None
            pairs = [(row, place_of[k]) for row, k in enumerate(self.index.tolist()) if k in place_of]
            at, mine = (
                torch.tensor([pair[i] for pair in pairs], dtype=torch.long, device=self.index.device) for i in (0, 1)
            )
            self._of[key] = at, mine
        return self._of[key]


def alike(recipes: Sequence[Recipe]) -> list[list[int]]:
    """Which recipes have the same kinds of modifiers in the same order: each kind is stacked once."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for k, recipe in enumerate(recipes):
        key = tuple((type(m).__name__, getattr(m, "layers", "")) for m in recipe.modifiers)
        found.setdefault(key, []).append(k)
    return list(found.values())


def alias(name: str, place: int) -> str:
    """A handle or word of the adapter at a place, told apart from the same of another: "<rex>" -> "<rex.3>"."""
    return f"{name[:-1]}.{place}>"


@contextmanager
def attach_rows(base: Base, adapters: Sequence[Adapter], rows: Rows) -> Iterator[list[Lives]]:
    """The stacked forms of the adapters' modifiers; yields what each adapter wears. `rows` says, before each run, whose
    they are."""
    lives = [Lives() for _ in adapters]
    with ExitStack() as stack:
        for group in alike([adapter.recipe for adapter in adapters]):
            for place in range(len(adapters[group[0]].recipe.modifiers)):
                own = [adapters[k].recipe.modifiers[place] for k in group]
                stored = [adapters[k].stored for k in group]
                generators = [stream(adapters[k].seed, "modifier", place) for k in group]
                scales = [adapters[k].scale for k in group]
                kind: Any = type(own[0])
                made = kind.stacked(base, own, stored, generators, scales, rows, group)
                for k, modifier, live in zip(group, own, stack.enter_context(made), strict=True):
                    lives[k].add(0, place, modifier, live)
        yield lives
