"""`bench --suite pairs` and `--suite couples`: a comparison of methods, and of ways to paint two of their concepts, of
toys or of people, in one picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from limner.errors import UnknownName
from limner.evaluation.suites import TRUTH

from .suites import Say, Settings, SuitePlan, SuiteUnit, cost_of, open_pocket, painted, run_suite, to_stderr, trained

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.faces import FaceNetworks
    from limner.evaluation.datasets import Member

HANDLES = ("<rex>", "<bo>")
COMPOSED = ("blend", "attention", "latents")
MERGED = ("average", "weighted", "closed-form", "gradient-fusion", "neurons", "orthogonal", "continual")
WAYS = ("together", *COMPOSED, *MERGED)
"""Ways to paint both concepts: attached at once; attached with regions, by how these act; merged into one, by the way
of merging."""
FACES = ("lora_dreambooth", "mix_of_show", "omg", "mc2", "fastcomposer")
"""Methods for couples: LoRA-based ones, and an encoder that keeps subjects apart."""
METHODS = ("textual_inversion", "lora_dreambooth", "custom_diffusion", "ip_adapter", "cones2", "mix_of_show", "mc2")


class Both(Protocol):
    """Two subjects, their prompts and regions: `datasets.pairs.Pair` of toys, `datasets.couples.Couple` of people."""

    @property
    def name(self) -> str: ...
    @property
    def members(self) -> tuple[Member, Member]: ...

    # with `text`, and `truth` by the judge's fields
    @property
    def prompts(self) -> Sequence[Any]: ...

    # role of the encoder that tells the two apart, and networks that find faces; None for toys
    @property
    def encoder(self) -> str: ...
    @property
    def faces(self) -> FaceNetworks | None: ...
    def regions(self, prompt: Any, handles: Sequence[str]) -> dict[str, Any]: ...

    # masks in which each of the two is judged; none where their classes tell them apart
    def judged_regions(self) -> tuple[Any, ...]: ...

    # ground-truth renders, one for each seed, prompt by prompt
    def answers(self, seeds: Sequence[int]) -> list[Image.Image]: ...

    # prompts for one of the two alone, with {} for the subject
    def alone(self, number: int) -> list[str]: ...


@dataclass(frozen=True)
class PairPlan(SuitePlan):
    """Everything that decides the numbers of a run."""

    suite: ClassVar[str] = "pairs"
    scope: ClassVar[str] = "multi"

    methods: tuple[tuple[str, Settings], ...] = tuple((name, ()) for name in METHODS)
    ways: tuple[str, ...] = ("together", "blend")
    pairs: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        for way in self.ways:
            if way not in WAYS:
                raise UnknownName("way of painting two subjects", way, WAYS)


@dataclass(frozen=True)
class CouplePlan(PairPlan):
    """Everything that decides the numbers of a run on couples of people; `pairs` is their number."""

    suite: ClassVar[str] = "couples"
    scope: ClassVar[str] = "face"

    methods: tuple[tuple[str, Settings], ...] = tuple((name, ()) for name in FACES)
    ways: tuple[str, ...] = ("together", "blend")


def bench_couples(
    plan: CouplePlan, *, results: Path, folder: Path, add: bool = False, say: Say = to_stderr
) -> dict[str, Any]:
    """`bench_pairs` on couples of people."""
    from limner.evaluation.datasets.couples import couples

    return _bench(plan, couples(count=plan.pairs, prompts=plan.prompts), results, folder, add, say)


def bench_pairs(
    plan: PairPlan, *, results: Path, folder: Path, add: bool = False, say: Say = to_stderr
) -> dict[str, Any]:
    """Run the plan's missing units on the pocket base and write `results`. A way that does not suit a method, such as
    the closed form for concepts that change more than keys and values, gives a unit with the reason instead of scores.
    Raises `FileError` for a results file that limner did not write."""
    from limner.evaluation.datasets.pairs import pairs

    return _bench(plan, pairs(count=plan.pairs, prompts=plan.prompts), results, folder, add, say)


def _bench(plan: PairPlan, cases: Sequence[Both], results: Path, folder: Path, add: bool, say: Say) -> dict[str, Any]:
    base, units = open_pocket(plan.device), []
    for pair in cases:
        for method, given in plan.methods:
            for way in plan.ways:
                make = partial(_unit, plan, base, method, given, way, pair, folder)
                units.append(SuiteUnit(method, given, way, pair.name, make))
        units.append(SuiteUnit(TRUTH, (), TRUTH, pair.name, partial(_truth, plan, pair)))
    return run_suite(plan, units, base, results=results, folder=folder, add=add, say=say)


def _truth(plan: PairPlan, pair: Both) -> tuple[dict[str, Any], list[Image.Image]]:
    images = pair.answers(plan.seeds)
    return {**_judged(plan, pair, images, (1.0, 1.0)), "cost": cost_of([], 0.0, 0), "columns": len(plan.seeds)}, images


def _unit(
    plan: PairPlan, base: Base, method: str, given: Settings, way: str, pair: Both, folder: Path
) -> tuple[dict[str, Any], list[Image.Image]]:
    """One unit's record and pictures."""
    concepts = [
        trained(base, method, given, member.subject(handle), folder)
        for member, handle in zip(pair.members, HANDLES, strict=True)
    ]
    began = time.monotonic()
    images = _painted(plan, base, concepts, way, pair)
    cost = cost_of(concepts, time.monotonic() - began, len(images))
    alone = tuple(_alone(plan, base, concepts[k], pair, k) for k in range(2))
    return {**_judged(plan, pair, images, alone), "alone": alone, "cost": cost, "columns": len(plan.seeds)}, images


def _painted(plan: PairPlan, base: Base, concepts: Sequence[Concept], way: str, pair: Both) -> list[Image.Image]:
    """One picture for each prompt and seed, ordered by prompt."""
    import limner

    attached_concepts = [limner.merge(base, concepts, by=way)] if way in MERGED else list(concepts)
    settings = limner.PaintSettings(plan.steps, compose=way if way in COMPOSED else "blend")
    images: list[Image.Image] = []
    for prompt in pair.prompts:
        regions = pair.regions(prompt, HANDLES) if way in COMPOSED else None
        text = prompt.text.format(*HANDLES)
        images += painted(base, plan, [text], concepts=attached_concepts, settings=settings, regions=regions)
    return images


def _alone(plan: PairPlan, base: Base, concept: Concept, pair: Both, number: int) -> float:
    """The subject fidelity of one of the two in pictures of it alone, in the scenes of the prompts."""
    import limner
    from limner.evaluation.several import likeness_alone

    prompts = [text.format(concept.handle) for text in pair.alone(number)]
    settings = limner.PaintSettings(plan.steps)
    images = [p.image for p in limner.paint(base, prompts, concepts=[concept], seed=plan.seeds[0], settings=settings)]
    member = pair.members[number]
    return round(likeness_alone(images, member.held_out, member.noun, _encoder(pair), faces=pair.faces), 4)


def _judged(plan: PairPlan, pair: Both, images: Sequence[Image.Image], alone: tuple[float, ...]) -> dict[str, Any]:
    from limner.evaluation.several import Company, judged_together

    truths = tuple(prompt.truth for prompt in pair.prompts for _ in plan.seeds)
    company = Company(
        tuple(member.noun for member in pair.members),
        tuple(images),
        tuple(member.held_out for member in pair.members),
        alone,
        truths,
        pair.judged_regions(),
        pair.faces,
    )
    return judged_together(company, _encoder(pair)).record


def _encoder(pair: Both) -> Any:
    from limner.evaluation.encoders import pocket_encoders

    return pocket_encoders()[pair.encoder]
