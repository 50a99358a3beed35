"""Adapters attached by rows: several at once on one base, each acting on its own rows of a run."""

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
    """The member (number of an adapter) that each row of the current run belongs to, or -1 for none."""

    def __init__(self) -> None:
        self.index: Tensor | None = None
        self.members: list[int] = []
        self.version = 0  # increases with every new assignment
        self.even = True
        self._of: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._those: dict[int, Tensor] = {}

    def assign(self, members: Sequence[int], device: Any) -> None:
        """Set the member of each row. Rows of one member must be adjacent."""
        if list(members) == self.members:
            return
        self.members, self.version = list(members), self.version + 1
        self.index = torch.tensor(members, device=device)
        self._of.clear()
        self._those.clear()
        each = {members.count(k) for k in members}
        self.even = -1 not in members and len(each) == 1 and list(members) == sorted(members)

    def those_of(self, member: int) -> Tensor:
        """The rows of one member."""
        if member not in self._those:
            assert self.index is not None
            own = [row for row, k in enumerate(self.members) if k == member]
            self._those[member] = torch.tensor(own, dtype=torch.long, device=self.index.device)
        return self._those[member]

    def all_of(self, place_of: Mapping[int, int]) -> bool:
        """Whether all rows belong to these members, in this order and with equal numbers of rows."""
        return self.even and tuple(dict.fromkeys(self.members)) == tuple(place_of)

    def of(self, place_of: Mapping[int, int]) -> tuple[Tensor, Tensor]:
        """The rows of these members, and for each row its member's place in their stack."""
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
    """Groups of recipes (by number) with the same kinds of modifiers in the same order: these are stacked together."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for k, recipe in enumerate(recipes):
        key = tuple((type(m).__name__, getattr(m, "layers", "")) for m in recipe.modifiers)
        groups.setdefault(key, []).append(k)
    return list(groups.values())


def alias(name: str, place: int) -> str:
    """A word of the adapter at a place, made distinct from the same word of another: "<rex>" -> "<rex.3>"."""
    return f"{name[:-1]}.{place}>"


@contextmanager
def attach_rows(base: Base, adapters: Sequence[Adapter], rows: Rows) -> Iterator[list[Lives]]:
    """Attach the stacked forms of the adapters' modifiers; yields the attached modifiers of each adapter. Before each
    run, `rows` must be assigned the adapter of each row."""
    lives = [Lives() for _ in adapters]
    with ExitStack() as stack:
        for own_lives in lives:
            stack.callback(own_lives.release)
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
