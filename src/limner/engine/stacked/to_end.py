"""Training several subjects together until the last one ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.errors import TeachingError

from .rows import alike
from .train import SLOTS, SubjectRun, stacked_trainer

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.engine.attach import Adapter
    from limner.engine.checkpoint import Run


def train_to_end(base: Base, runs: Sequence[Run], *, slots: int = SLOTS, mixed: bool = False) -> list[Adapter]:
    """Train all runs, `slots` at a time, and return their adapters with the trained tensors, in the order of the runs.

    A run whose loss or gradient is not finite is left out; any other error is raised. `mixed` computes in bfloat16. The
    base is restored at the end. Raises `InputError` for a recipe that cannot be stacked.
    """
    every = [SubjectRun(base, run) for run in runs]
    waiting, members = list(every), list[SubjectRun]()
    adapters: dict[SubjectRun, Adapter] = {}
    while waiting or members:
        free = slots - len(members)
        members, waiting = [*members, *waiting[:free]], waiting[free:]
        members = [members[k] for group in alike([member.recipe for member in members]) for k in group]
        with stacked_trainer(base, members) as trainer:
            trainer.mixed = mixed
            ended: list[SubjectRun] = []
            while not ended:
                _, ended = trainer.update()
            for member in ended:
                tensors = trainer.end(member).tensors
                if member.error is None:
                    adapters[member] = replace(member.run.adapter, stored=tensors)
                elif not isinstance(member.error, TeachingError):
                    raise member.error
            trainer.keep()
        members = [member for member in members if member not in ended]
    return [adapters[member] for member in every if member in adapters]
