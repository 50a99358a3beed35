"""Toys of the pocket world that no training saw, with the truth of every prompt."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.evaluation.datasets import Case, DataSet, Member, loader
from limner.pocket import SIZE
from limner.pocket.subjects import prompts, table_prompts

if TYPE_CHECKING:
    from PIL import Image

    from limner.pocket.world.grammar import Prompt
    from limner.pocket.world.graph import Individual, SceneGraph

STANDARD = (("dog", 40), ("car", 41), ("teapot", 42), ("robot", 43), ("cat", 44), ("backpack", 45))
"""The six toys of the standard bench: class, and number within the split."""


asked = prompts


@loader("toys")
def toys(*, split: str = "held-out", count: int = 6, prompts: int = 10, size: int = SIZE) -> DataSet:
    """The first `count` standard toys: four pictures to learn from, four held out, and prompts whose truth is known
    (up to 25).

    `split` is "held-out" for judging or "dev" for choosing settings.
    """
    from limner.pocket.world import SPLITS

    every = table_prompts()
    if split not in ("dev", "held-out"):
        raise InputError(f"toys to judge by come from the splits dev and held-out, not {split!r}")
    if not 1 <= count <= len(STANDARD) or not 1 <= prompts <= len(every):
        raise InputError(
            f"there are {len(STANDARD)} standard toys and {len(every)} prompts; asked for {count} and {prompts}"
        )
    cases = []
    for kind, number in STANDARD[:count]:
        who, member = _member(kind, SPLITS[split].start + number, f"{kind}-{number}", size)
        chosen = every[:prompts]
        texts = tuple(p.text for p in chosen)
        cases.append(Case(member.name, (member,), texts, chosen, functools.partial(answers, who, size=size)))
    return DataSet("toys", tuple(cases), "Apache-2.0", notes=(f"split {split}",))


@functools.lru_cache(maxsize=16)
def _member(kind: str, seed: int, name: str, size: int) -> tuple[Individual, Member]:
    """A toy and its eight pictures; kept, since a bench opens its set many times and rendering takes a second."""
    from limner.pocket.labels import labels
    from limner.pocket.world import CORE, describe, individual, references, viewpoint

    who = individual(kind, seed, patterns=CORE.patterns)
    graphs = [*references(who, 4), *references(who, 4, seed=1)]
    shown, true = pictured(graphs, size), labels(graphs[0])
    known: dict[str, str] = {f: true[f] for f in ("class", "colour", "second colour", "pattern") if f in true}
    images, held_out = tuple(shown[:4]), tuple(shown[4:])
    cameras = [viewpoint(graph) for graph in graphs[:4]]
    views = tuple((math.degrees(around), math.degrees(up), far) for around, up, far in cameras)
    looks = describe(who)
    return who, Member(name, kind, "object", images=images, held_out=held_out, looks=looks, known=known, views=views)


def answers(who: Individual, prompts: Sequence[Prompt], seeds: Iterable[int], *, size: int = SIZE) -> list[Image.Image]:
    """True pictures of the toy as each prompt asks, one for each seed, prompt by prompt."""
    from limner.pocket.world import showing

    places = [(k, p, s) for k, p in enumerate(prompts) for s in seeds]
    graphs = [
        showing(who, seed=1000 * k + s, scene=p.scene, accessories=p.accessories, view=p.view) for k, p, s in places
    ]
    return pictured(graphs, size)


def gallery(kind: str, count: int = 32, *, but: Individual | None = None, size: int = SIZE) -> list[Image.Image]:
    """Pictures of other held-out toys of a class, one each."""
    others = _others(kind, count, size)
    return [picture for who, picture in others if but is None or (who.kind, who.seed) != (but.kind, but.seed)]


@functools.lru_cache(maxsize=8)
def _others(kind: str, count: int, size: int) -> tuple[tuple[Individual, Image.Image], ...]:
    """Toys of a class and a picture of each; kept, since every likeness of a bench is compared with the same."""
    from limner.pocket.world import CORE, SPLITS, individual, references

    start = SPLITS["held-out"].start + 5_000
    toys = [individual(kind, start + k, patterns=CORE.patterns) for k in range(count)]
    shown = pictured([references(toy, 1, seed=k)[0] for k, toy in enumerate(toys)], size)
    return tuple(zip(toys, shown, strict=True))


def pictured(graphs: list[SceneGraph], size: int = SIZE) -> list[Image.Image]:
    from PIL import Image

    from limner.pocket.world import draw

    return [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in draw(graphs, size=size).pixels]
