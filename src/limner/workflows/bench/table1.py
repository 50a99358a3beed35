"""`bench --suite table1`: the rows of the survey's Table 1 under one protocol, objects and faces.

Each task is a bench of its own (`limner.workflows.bench.run`) in a folder of its own, so that a killed run continues
where it was. Methods run one after the other: one that cannot run on this base is named with its reason and the others
run. The results file is put together from both by `limner.evaluation.table1`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from limner.bases.common.loading import capabilities_of
from limner.core.files import check_folder, write_text
from limner.errors import InputError, LimnerError, UnknownName
from limner.evaluation.summary import BASE, MARKS, POLICIES
from limner.evaluation.survey import methods_of
from limner.evaluation.table1 import TASKS, put_together, read_table1
from limner.methods import methods

from .plan import TABLE1, Plan, size_of
from .run import bench, collect, set_aside
from .unit import compact

KINDS = {"object": ("object", "pet"), "face": ("face",)}
"""Task -> kinds of subjects of a data set that has both."""
OWN, PHOTOGRAPHS = "toys", "persona"
"""Data sets: toys and people of the pocket world, or the survey's own set of photographs."""
NO_METHOD = "this version of limner has no method of that name"


@dataclass(frozen=True)
class TablePlan:
    """Everything that decides the numbers of a run; `cases`, `prompts` and `seeds` of 0 are those of the size."""

    methods: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()  # none: those of every row, and the baselines
    size: str = "standard"
    data: str = OWN
    where: tuple[tuple[str, str], ...] = ()
    cases: int = 0
    prompts: int = 0
    seeds: int = 0
    teaching_seeds: int = 1
    base: str = "pocket"
    encoders: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.data not in (OWN, PHOTOGRAPHS):
            raise InputError(
                f"the suite table1 is of toys and people, or of --data persona --where folder=PATH, not of {self.data!r}"
            )
        if self.where and self.data == OWN:
            raise InputError("toys and people need no --where; photographs are --data persona --where folder=PATH")
        self._check_methods()
        self._check_encoders()

    def _check_methods(self) -> None:
        """Raise `InputError` for a method that is no row, or that is named twice."""
        rows, names = {name for task in TASKS for name in methods_of(task)}, [name for name, _ in self.methods]
        for name in names:
            if name not in rows and name not in (*POLICIES, *MARKS):
                raise UnknownName("row of Table 1 by the method", name, rows)
            if names.count(name) > 1:
                raise InputError(f"a row has one setting, and {name} is named {names.count(name)} times")

    def _check_encoders(self) -> None:
        """Raise `InputError` where an encoder that the table's columns need is not named."""
        roles = dict(self.encoders)
        if not roles and self.data == OWN and capabilities_of(self.base).bench is not None:
            return
        known = "photographs" if self.data == PHOTOGRAPHS else f"pictures of {self.base}"
        needed = {"clip": "CLIP-T and CLIP-I"} | ({"face": "the similarity of faces"} if self._named("face") else {})
        for role, columns in needed.items():
            if role not in roles:
                flag = "faces" if role == "face" else role
                raise InputError(f"{columns} of {known} need an encoder of your own: say --{flag} WHERE")

    def _named(self, task: str) -> list[tuple[str, tuple[tuple[str, Any], ...]]]:
        """Methods of a task with their settings, baselines first."""
        of_task = methods_of(task)
        if self.methods:
            own = [(name, given) for name, given in self.methods if name in of_task]
            baselines = [(name, given) for name, given in self.methods if name in (*POLICIES, *MARKS)]
            return [*baselines, *own] if own else []
        baselines = [(name, ()) for name in ((*POLICIES, *MARKS) if self.data == OWN else (BASE,))]
        return [*baselines, *((name, ()) for name in of_task)]

    @cached_property
    def missing(self) -> dict[str, dict[str, str]]:
        """Task -> method of a row -> why it is not there."""
        return {task: {name: NO_METHOD for name in methods_of(task) if name not in methods()} for task in TASKS}

    @cached_property
    def parts(self) -> dict[str, Plan]:
        """Task -> its bench; a task none of whose methods is named is left out."""
        plans = {task: self._part(task) for task in TASKS}
        return {task: plan for task, plan in plans.items() if plan is not None}

    def _part(self, task: str) -> Plan | None:
        suite = TABLE1[task]
        size = size_of(suite.sizes, self.size, suite="table1")
        there = tuple(pair for pair in self._named(task) if pair[0] not in self.missing[task])
        if not there:
            return None
        whole = {"data": suite.data} if self.data == OWN else {"data": self.data, "kinds": KINDS[task]}
        return Plan(
            there,
            where=self.where,
            cases=self.cases or size.cases,
            prompts=self.prompts or size.prompts,
            seeds=tuple(range(self.seeds)) if self.seeds else size.seeds,
            teaching_seeds=tuple(range(self.teaching_seeds)),
            base=self.base,
            encoders=self.encoders,
            device=self.device,
            **whole,  # type: ignore[arg-type]  # a data set, and kinds of its subjects
        )


def bench_table1(
    plan: TablePlan,
    *,
    results: Path,
    folder: Path,
    workers: int = 1,
    on: str = "local",
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Run what is missing of both tasks and write `results`; units and pictures stay in a folder of each task.

    A row whose method limner does not have, or whose method cannot run on this base, has no numbers and says why.
    Raises the first method's error where none could run, and `FileError` for results that limner did not write.

    plan: everything that decides the numbers
    results: the file to write
    folder: where units and pictures stay
    workers: number of processes on this machine
    on: "local", or "ray" for a cluster that sees `folder`
    say: called with each line of progress
    """
    check_folder(folder)
    set_aside(results, say, read_table1)
    parts: dict[str, Mapping[str, Any]] = {}
    missing, errors = {task: dict(names) for task, names in plan.missing.items()}, list[LimnerError]()
    for task, names in missing.items():
        for name, why in names.items():
            say(f"note: {name} ({task}): {why}")
    for task, part in plan.parts.items():
        done = []
        for pair in part.methods:
            try:
                _bench_one(replace(part, methods=(pair,)), folder / task, workers, on, say)
                done.append(pair)
            except LimnerError as error:
                missing[task][pair[0]] = str(error)
                errors.append(error)
                say(f"note: {pair[0]} ({task}) could not run: {error}")
        if done:
            parts[task] = collect(replace(part, methods=tuple(done)), folder / task, folder / f"{task}.json")
    if errors and not parts:
        raise errors[0]
    whole = put_together(parts, missing)
    write_text(results, compact(whole), overwrite=True)
    return read_table1(results)


def _bench_one(plan: Plan, folder: Path, workers: int, on: str, say: Callable[[str], object]) -> None:
    """The units of one method; its own results file lies beside them."""
    name = plan.methods[0][0].replace(" ", "-")
    say(f"{name}, {plan.data}")
    bench(plan, results=folder / f"method-{name}.json", folder=folder, workers=workers, on=on, say=say)
