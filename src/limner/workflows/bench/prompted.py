"""`bench --suite styles` and `--suite meanings`: methods that are given captioned pictures and then prompts alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

from limner.evaluation.datasets.meanings import meanings
from limner.evaluation.datasets.styles import styles
from limner.evaluation.meanings import judged_meanings
from limner.evaluation.styles import judged_styles
from limner.evaluation.suites import BASE, TRUTH, WORDS

from .suites import Say, Settings, SuitePlan, SuiteUnit, cost_of, open_pocket, painted, run_suite, to_stderr, trained

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.subject import Subject

HANDLE = "<concept>"


class Case(Protocol):
    """A subject that is no thing, with prompts about other things."""

    @property
    def name(self) -> str: ...
    @property
    def part(self) -> str: ...  # part of the suite that it belongs to

    # the prompts without the subject, and with the subject in words
    @property
    def unnamed(self) -> list[str]: ...
    @property
    def in_words(self) -> list[str]: ...
    def subject(self, handle: str) -> Subject: ...
    def texts(self, handle: str) -> list[str]: ...

    # ground-truth renders, one for each seed, prompt by prompt
    def answers(self, seeds: Sequence[int]) -> list[Image.Image]: ...


C = TypeVar("C", bound=Case)
Judge: TypeAlias = Callable[[C, Sequence[Any], int], dict[str, Any]]
"""A case, its pictures by prompt and the number of seeds -> the fields `values` and `each` of a unit."""


@dataclass(frozen=True)
class PromptedPlan(SuitePlan):
    """Everything that decides the numbers of a run."""

    cases: int = 4
    references: int = 4  # reference images of each case


@dataclass(frozen=True)
class StylePlan(PromptedPlan):
    """A bench of styles."""

    suite: ClassVar[str] = "styles"
    scope: ClassVar[str] = "style"


@dataclass(frozen=True)
class MeaningPlan(PromptedPlan):
    """A bench of meanings."""

    suite: ClassVar[str] = "meanings"
    scope: ClassVar[str] = "semantic"


def bench_styles(
    plan: StylePlan, *, results: Path, folder: Path, add: bool = False, say: Say = to_stderr
) -> dict[str, Any]:
    """Run the plan's missing units on the pocket base and write `results`, as `run_suite` does, which raises the
    same errors."""
    cases = styles(count=plan.cases, prompts=plan.prompts, references=plan.references)
    return _bench(plan, cases, judged_styles, results, folder, add, say)


def bench_meanings(
    plan: MeaningPlan, *, results: Path, folder: Path, add: bool = False, say: Say = to_stderr
) -> dict[str, Any]:
    """Run the plan's missing units on the pocket base and write `results`, as `run_suite` does, which raises the
    same errors."""
    cases = meanings(count=plan.cases, prompts=plan.prompts, references=plan.references)
    return _bench(plan, cases, judged_meanings, results, folder, add, say)


def _bench(
    plan: PromptedPlan, cases: Sequence[C], judge: Judge[C], results: Path, folder: Path, add: bool, say: Say
) -> dict[str, Any]:
    base, units, about = open_pocket(plan.device), [], (plan.references,)
    for case in cases:
        run = _Run(plan, base, case, judge, folder)
        for method, given in plan.methods:
            units.append(SuiteUnit(method, given, case.part, case.name, partial(run.learned, method, given), about))
        for name in (BASE, WORDS, TRUTH):
            units.append(SuiteUnit(name, (), case.part, case.name, partial(run.baseline, name), about))
    return run_suite(plan, units, base, results=results, folder=folder, add=add, say=say)


Made: TypeAlias = "tuple[dict[str, Any], list[Image.Image]]"
"""The record and the pictures of a unit."""


@dataclass(frozen=True)
class _Run:
    """The units of one case."""

    plan: PromptedPlan
    base: Base
    case: Any
    judge: Judge[Any]
    folder: Path

    def learned(self, method: str, given: Settings) -> Made:
        """One method's record and pictures."""
        concept = trained(self.base, method, given, self.case.subject(HANDLE), self.folder)
        return self.painted(self.case.texts(HANDLE), [concept])

    def baseline(self, name: str) -> Made:
        """The record and pictures of a baseline."""
        if name == TRUTH:
            return self.judged(self.case.answers(self.plan.seeds), cost_of([], 0.0, 0))
        return self.painted(self.case.unnamed if name == BASE else self.case.in_words)

    def painted(self, texts: Sequence[str], concepts: Sequence[Concept] = ()) -> Made:
        began = time.monotonic()
        images = painted(self.base, self.plan, texts, concepts=list(concepts))
        return self.judged(images, cost_of(concepts, time.monotonic() - began, len(images)))

    def judged(self, images: list[Image.Image], cost: dict[str, float]) -> Made:
        seeds = len(self.plan.seeds)
        return {**self.judge(self.case, images, seeds), "cost": cost, "columns": seeds}, images
