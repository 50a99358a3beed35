"""The choice of a method where the user names none."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.bases.common.loading import facts_of
from limner.core.wording import counted, with_article
from limner.errors import InputError, UnknownName
from limner.methods import DEFAULT, card, methods

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.subject import Subject
    from limner.engine.train import Progress

GOALS = {"fast": 0.8, "balanced": 0.95, "best": 1.0}
"""Goal -> share of the best measured H that a method must reach; the fastest of those methods is chosen."""
FEWEST = 2
"""Least number of toys that a method must have been measured on to be chosen."""


OF_PHOTOGRAPHS = "instantbooth"
"""The method for photographs on the pocket base. On three subjects of DreamBench its pictures have 0.91 to 1.00 of the
base's quality and F from 0.55 to 0.72; ip_adapter's have 0.56 to 0.76 of the quality, and look like noise."""
TOYLIKE = 0.6
"""Least cosine at which a subject's pictures count as a toy's (in features of the pocket judge, to the nearest of other
toys' renders, mean over the pictures). Renders of 24 held-out toys of 12 classes are at 0.61 and more, 22 subjects of
DreamBench at 0.58 and less."""


OF_MEANINGS = {"relation": "reversion", "action": "adi"}
"""Kind of a subject that is no thing -> the method for it; the benches on toys and people do not measure it."""


class Choice(NamedTuple):
    """A method, and why."""

    method: str
    why: str


@functools.cache
def measured(base: str = "pocket") -> dict[str, dict[str, float]]:
    """H, F, T, toys, seconds and bytes of each method on a base's own bench, by name; empty where the base has no
    results."""
    results = facts_of(base).results
    return dict(json.loads(results.read_text(encoding="utf-8"))) if results and results.is_file() else {}


def choose(
    *,
    base: str,
    goal: str = "balanced",
    kind: str = "object",
    budget: float | None = None,
    photographs: bool = False,
    among: Collection[str] | None = None,
) -> Choice:
    """The method for a goal on a base, by the results measured there.

    `budget`, in seconds, leaves out methods that took longer; `InputError` is raised where all did. `photographs` says
    that the pictures are photographs (see `are_photographs`): results on a base that knows no photographs do not apply
    to them. `among` are the names of the measured methods to choose from; None: all.
    """
    if goal not in GOALS:
        raise UnknownName("goal", goal, GOALS)
    if kind in OF_MEANINGS:
        return Choice(OF_MEANINGS[kind], f"it is made for {with_article(kind)}, whose captions name what has it")
    about = facts_of(base)
    if about.results is None:
        name = "dreambooth" if goal == "best" else DEFAULT
        return Choice(name, f"there are no results on {base}; this is the field's usual method for the goal {goal!r}")
    if photographs and not about.photographs:
        return Choice(
            OF_PHOTOGRAPHS,
            f"these pictures are photographs, which {base} does not know: other methods paint noise or another "
            "member of "
            "the class, this one a toy like the subject. To paint the subject itself, name a real base with --base",
        )
    wanted = "object" if kind == "pet" else kind
    known = methods()
    able = {
        n: row
        for n, row in measured(base).items()
        if n in known and row["toys"] >= FEWEST and wanted in card(known[n]).scope and (among is None or n in among)
    }
    if not able:
        return Choice(DEFAULT, f"there are no results for {with_article(kind)}; this is the field's usual method")
    quick = {n: row for n, row in able.items() if budget is None or row["seconds"] <= budget}
    if not quick:
        least = min(row["seconds"] for row in able.values())
        raise InputError(
            f"no method for {with_article(kind)} took less than {least:.0f} s when measured; the budget is "
            f"{budget:.0f} s"
        )
    best = max(row["H"] for row in quick.values())
    enough = {n: row for n, row in quick.items() if row["H"] >= GOALS[goal] * best}
    name = min(enough, key=lambda n: (enough[n]["seconds"], n))
    row = enough[name]
    of = "within the budget" if budget is not None else "of all"
    share = "the highest H" if goal == "best" else f"the quickest with {GOALS[goal]:.0%} of the best H"
    return Choice(name, f"{share} {of}: H {row['H']:.2f} in {row['seconds']:.0f} s where it was measured")


def are_photographs(subject: Subject) -> bool:
    """Whether a subject's pictures differ from everything that the pocket world renders."""
    return toylikeness(subject) < TOYLIKE


def toylikeness(subject: Subject) -> float:
    """Cosine of a subject's pictures to the nearest toy renders, in features of the pocket judge; mean over the
    pictures."""
    import torch

    from limner.core.cache import cached_tensors
    from limner.evaluation.encoders import pocket_encoders

    judge = pocket_encoders()["judge"]
    shown = [picture.image for picture in subject.pictures if picture.image is not None]
    renders = cached_tensors(("toys to compare with", judge.weights), lambda: {"features": judge.pictures(_renders())})
    one, other = (
        torch.nn.functional.normalize(rows.float(), dim=-1) for rows in (judge.pictures(shown), renders["features"])
    )
    return float((one @ other.T).amax(1).mean())


def _renders() -> list[Image.Image]:
    """Pictures of two toys of each class, in the scenes of reference images."""
    from limner.pocket.subjects import toy
    from limner.pocket.world.vocabulary import CLASSES

    toys = [toy(kind, seed, count=2) for kind in CLASSES for seed in (1, 2)]
    return [picture.image for each in toys for picture in each.pictures if picture.image is not None]


def seconds(text: str) -> float:
    """ "90s", "3m", "1.5h" or "90" -> seconds. Raises `InputError` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not match or not float(match[1]):
        raise InputError(f"a budget is a time such as 90s, 3m or 1h, not {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def within(budget: float, say: Callable[[str], Any]) -> Callable[[Progress], bool]:
    """A watch that ends training when `budget` seconds from now have passed."""
    began = time.monotonic()

    def watch(progress: Progress) -> bool:
        over = time.monotonic() - began >= budget
        if over and not progress.last:
            say(f"the budget of {budget:.0f} s is used up after {progress.done} of {counted(progress.total, 'update')}")
        return over

    return watch
