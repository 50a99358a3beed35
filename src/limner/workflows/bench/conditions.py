"""`bench --suite conditions`: methods on toys that are swapped into pictures, and painted by depth, edges, boxes and
viewpoints; and on garments that are put on people.

Every method is given every condition. One that cannot read a condition has the reason in place of numbers. A swap, a
garment and a box act on any method (`Canvas`, regions); depth, edges and viewpoints need a method that reads them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.errors import InputError, UnknownName
from limner.evaluation.datasets.conditions import (  # fmt: skip
    BOX,
    CONDITIONS,
    DEPTH,
    EDGES,
    GARMENT,
    SWAP,
    VIEW,
    ConditionCase,
    conditions,
    view_of,
)
from limner.evaluation.datasets.garments import garment_cases
from limner.evaluation.suites import BASE, TRUTH, UNCHANGED, WORDS
from limner.pocket import SIZE

from .suites import Say, Settings, SuitePlan, SuiteUnit, cost_of, open_pocket, painted, run_suite, to_stderr, trained

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.evaluation.datasets.garments import GarmentCase

    Case: TypeAlias = ConditionCase | GarmentCase

HANDLE = "<rex>"
CHANGED = (SWAP, GARMENT)
"""Conditions that change a part of a source picture."""


@dataclass(frozen=True)
class ConditionPlan(SuitePlan):
    """Everything that decides the numbers of a run."""

    suite: ClassVar[str] = "conditions"
    scope: ClassVar[str] = "condition"

    prompts: int = 4
    cases: int = 3
    conditions: tuple[str, ...] = CONDITIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.conditions:
            if name not in CONDITIONS:
                raise UnknownName("condition of the bench", name, CONDITIONS)
        if not self.conditions:
            raise InputError(f"a bench of conditions needs one of {', '.join(CONDITIONS)} at least")


def bench_conditions(
    plan: ConditionPlan, *, results: Path, folder: Path, add: bool = False, say: Say = to_stderr
) -> dict[str, Any]:
    """Run the plan's missing units on the pocket base and write `results`, as `run_suite` does, which raises the
    same errors."""
    base, units = open_pocket(plan.device), list[SuiteUnit]()
    toys = [name for name in plan.conditions if name != GARMENT]
    cases: list[tuple[Case, list[str]]] = []
    if toys:
        cases += [(case, toys) for case in conditions(count=plan.cases, prompts=plan.prompts)]
    if GARMENT in plan.conditions:
        cases += [(case, [GARMENT]) for case in garment_cases(count=plan.cases, prompts=plan.prompts)]
    for case, names in cases:
        for method, given in plan.methods:
            for name in names:
                make = partial(_unit, plan, base, method, given, name, case, folder)
                units.append(SuiteUnit(method, given, name, case.name, make))
        for name in names:
            marks = (BASE, WORDS, TRUTH, *((UNCHANGED,) if name in CHANGED else ()))
            units += [SuiteUnit(m, (), name, case.name, partial(_mark, plan, base, m, name, case)) for m in marks]
    return run_suite(plan, units, base, results=results, folder=folder, add=add, say=say)


def _unit(
    plan: ConditionPlan, base: Base, method: str, given: Settings, condition: str, case: Case, folder: Path
) -> tuple[dict[str, Any], list[Image.Image]]:
    """One method's record and pictures."""
    concept = trained(base, method, given, case.subject(HANDLE), folder)
    began = time.monotonic()
    images = _painted(plan, base, _texts(case, HANDLE), condition, case, [concept])
    cost = cost_of([concept], time.monotonic() - began, len(images))
    return _judged(plan, condition, case, images, cost), images


def _mark(
    plan: ConditionPlan, base: Base, mark: str, condition: str, case: Case
) -> tuple[dict[str, Any], list[Image.Image]]:
    """The record and pictures of a baseline, or of pictures that are not painted."""
    from limner.core.wording import with_article
    from limner.pocket.world.people_words import PLURAL

    if mark in (TRUTH, UNCHANGED):
        images = case.answers(condition, plan.seeds)
        if mark == UNCHANGED:
            images = [source for source in case.sources for _ in plan.seeds]
        return _judged(plan, condition, case, images, cost_of([], 0.0, 0)), images
    looks = case.noun if mark == BASE else case.looks
    looks = looks if case.noun in PLURAL else with_article(looks)
    texts = _texts(case, looks, condition if mark == WORDS else "")
    began = time.monotonic()
    images = _painted(plan, base, texts, condition, case)
    return _judged(plan, condition, case, images, cost_of([], time.monotonic() - began, len(images))), images


def _painted(
    plan: ConditionPlan,
    base: Base,
    texts: Sequence[str],
    condition: str,
    case: Case,
    concepts: Sequence[Concept] = (),
) -> list[Image.Image]:
    """A picture for each prompt and seed. Without concepts, only a source picture acts: nothing reads the other
    conditions."""
    import limner

    images: list[Image.Image] = []
    readable = _readable(base, concepts) if concepts or condition in CHANGED else frozenset()
    for number, text in enumerate(texts):
        about, settings = _about(condition, case, number, readable), limner.PaintSettings(plan.steps)
        if not concepts and condition not in CHANGED:
            about = {}
        if concepts and condition == VIEW:
            settings = replace(settings, views={HANDLE: view_of(number)[0]})
        images += painted(base, plan, [text], concepts=list(concepts), settings=settings, **about)
    return images


def _texts(case: Case, subject: str, condition: str = "") -> list[str]:
    """The prompts of a case with a handle or words for its subject."""
    return case.texts(subject, condition) if isinstance(case, ConditionCase) else case.texts(subject)


def _readable(base: Base, concepts: Sequence[Concept]) -> Set[str]:
    """Names of the conditions that the concepts read in sampling."""
    from limner.engine.attach import attach
    from limner.library.opening import adapter_of

    with attach(base, [adapter_of(concept, base) for concept in concepts]) as adapted:
        return adapted.painting_reads | adapted.may_read


def _about(condition: str, case: Case, number: int, readable: Set[str]) -> dict[str, Any]:
    """The arguments of `limner.paint` that state the condition of a prompt. The source of a swap is a condition for
    methods that read it, and a canvas for all others. That of a garment is a canvas, which such methods read as well;
    sampling starts from noise, so that nothing of the clothes there is left. A method that reads no such map by name,
    but a picture of any kind, gets the map as that: FreeControl's source (where there is no mask to it) and Context
    Diffusion's query."""
    from limner.core.pixels import to_tensor
    from limner.engine.sample import Canvas

    if condition == GARMENT or not isinstance(case, ConditionCase):
        return {"canvas": Canvas(case.sources[number], _picture(case.changeable[number]), start=0.0)}
    if condition == SWAP and "source" in readable:
        given = {
            "source": to_tensor(case.sources[number : number + 1], SIZE),
            "mask": case.changeable[number][None, None],
        }
        return {"conditions": {name: value for name, value in given.items() if name in readable}}
    if condition == SWAP:
        return {"canvas": Canvas(case.sources[number], _picture(case.changeable[number]))}
    if condition == BOX:
        return {"regions": {HANDLE: case.boxes[number]}}
    if condition not in (DEPTH, EDGES):
        return {}
    maps = (case.depths if condition == DEPTH else case.edges)[number : number + 1]
    guides = {"query"} if "mask" in readable else {"query", "source"}
    if condition not in readable and readable & guides:
        return {"conditions": {min(readable & guides): to_tensor([_picture(maps[0, 0]).convert("RGB")], SIZE)}}
    return {"conditions": {condition: maps}}


def _picture(mask: Tensor) -> Image.Image:
    """A mask [H, W] as a picture, white where it is 1."""
    from PIL import Image

    return Image.fromarray((mask * 255).byte().numpy())


def _judged(
    plan: ConditionPlan, condition: str, case: Case, images: Sequence[Image.Image], cost: dict[str, float]
) -> dict[str, Any]:
    from limner.evaluation.conditions import judged_conditions, judged_garments
    from limner.evaluation.encoders import pocket_encoders

    seeds, encoder = len(plan.seeds), pocket_encoders()["identity"]
    measures = (
        judged_conditions(case, condition, images, seeds, encoder)
        if isinstance(case, ConditionCase)
        else judged_garments(case, images, seeds, encoder)
    )
    return {**measures, "cost": cost, "columns": len(plan.seeds)}
