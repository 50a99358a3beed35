"""People in pictures: who, dressed how, doing what and where; and the camera that frames them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .faces import Head, person
from .figures import HEAD_HEIGHT, HEAD_SIZE
from .garments import garment
from .graph import SPLITS, Camera, Face, Garment, Person, SceneGraph
from .people_accessories import TOGETHER
from .vocabulary import COLOURS, EXPRESSIONS, GAZES, GESTURES, HEAD_TURNS, WORN_BY_PEOPLE, World

FOV = 0.6
PAIRS = 0.2  # share of pictures of people that show two
APART = 0.92  # distance of two half-length figures from the middle between them, in head units
VISIBLE = {("close", 1): 2.15, ("close", 2): 2.70, ("medium", 1): 3.45, ("medium", 2): 4.50}
"""Height of the picture where people stand, in heights of the smallest face, by distance and number of people."""
_ABOVE = {("close", 1): 0.97, ("close", 2): 1.02, ("medium", 1): 1.06, ("medium", 2): 1.20}
"""How much of that is above the middle of the heads."""


def sample_people(seed: int, rng: np.random.Generator, *, world: World, split: str, **fixed: Any) -> SceneGraph:
    """The scene graph of a seed that shows one or two people of the split in a scene of the world.

    `fixed` sets fields of the graph; `people=` also takes the people away from chance.
    """
    distance = fixed.pop("distance", None) or ("close" if rng.random() < 0.5 else "medium")
    count = 2 if rng.random() < PAIRS else 1
    people = fixed.pop("people", None) or _people(rng, count, split, distance, world.patterns)
    graph = SceneGraph(
        seed,
        people=stand_together(people, distance),
        scene=world.scenes[int(rng.integers(len(world.scenes)))],
        daytime=_daytime(rng, world.daytimes),
        distance=distance,
        time=float(rng.random()),
    )
    return _framed(graph, fixed)


def portrait(face: Face, *, seed: int, **fixed: Any) -> SceneGraph:
    """A portrait of a given face, before a plain wall unless `fixed` says otherwise."""
    graph = SceneGraph(seed, people=(face,), scene="studio", distance="close")
    return _framed(graph, fixed)


def person_showing(
    who: Person,
    *,
    seed: int,
    scene: str,
    accessories: Sequence[tuple[str, str]] = (),
    expression: str = "neutral",
    gaze: str = "ahead",
    head: str = "ahead",
    action: str = "standing",
    garment: Garment | None = None,
    **fixed: Any,
) -> SceneGraph:
    """The truth of a prompt: this person, there, wearing (accessory, colour) pairs.

    A half-length figure where there is a gesture, else a portrait; `fixed` sets fields of the graph.
    """
    names, colours = tuple(name for name, _ in accessories), tuple(colour for _, colour in accessories)
    face = Face(
        who, expression, "glasses" in names, gaze=gaze, head=head, accessories=names, accessory_colours=colours,
        garment=garment, action=action,
    )  # fmt: skip
    distance = "close" if action == "standing" else "medium"
    return portrait(face, seed=seed, **{"scene": scene, "distance": distance, **fixed})


def stand_together(people: Sequence[Face], distance: str) -> tuple[Face, ...]:
    """The people next to each other, the first on the viewer's left; one alone stands where it stood."""
    if len(people) < 2:
        return tuple(people)
    widths = [Head(face).wide for face in people]
    apart = (APART if distance == "medium" else sum(widths) / 2 + 0.08) * HEAD_SIZE
    return tuple(
        replace(face, place=(side * apart, -0.08 if face.person.age == "child" else 0.0, depth))
        for face, side, depth in zip(people, (-1, 1), (0.0, -0.12), strict=True)
    )


def with_people_camera(graph: SceneGraph) -> SceneGraph:
    """The graph with a camera that frames its people: the face is a third of the picture's height or more in a
    portrait, a fifth or more in a half-length picture."""
    rng = np.random.default_rng((graph.seed, 31))
    key = (graph.distance, len(graph.people))
    height = min(Head(face).height * face.scale for face in graph.people) * HEAD_SIZE
    visible = height * VISIBLE[key] * rng.uniform(0.96, 1.03)
    away = visible / (2 * math.tan(FOV / 2))
    middle = _middle(graph.people)
    aside = rng.uniform(-0.05, 0.05) * visible if len(graph.people) == 1 else 0.0
    hatted = any("hat" in face.accessories or "crown" in face.accessories for face in graph.people)
    up = HEAD_HEIGHT + (_ABOVE[key] + (0.14 if hatted else 0.0)) * height - visible / 2
    target = (middle[0] + aside, middle[1] + up, middle[2])
    return replace(
        graph,
        camera=Camera(rng.uniform(-0.12, 0.12) / len(graph.people) ** 2, rng.uniform(-0.03, 0.08), away, target, FOV),
    )


def _middle(people: Sequence[Face]) -> tuple[float, float, float]:
    """The middle between the outer sides of the heads with their hair, as an offset from where one person stands."""
    full = {"curly": 0.20, "long": 0.16}
    half = [(Head(face).wide + full.get(face.person.hairstyle, 0.0)) * HEAD_SIZE * face.scale for face in people]
    low = min(face.place[0] - wide for face, wide in zip(people, half, strict=True))
    high = max(face.place[0] + wide for face, wide in zip(people, half, strict=True))
    _, y, z = np.mean([face.place for face in people], axis=0)
    return (low + high) / 2, float(y), float(z)


def _framed(graph: SceneGraph, fixed: dict[str, Any]) -> SceneGraph:
    """The graph with the fixed fields; its camera frames the people unless it is among them."""
    camera = fixed.get("camera")
    framed = with_people_camera(replace(graph, **fixed))
    return framed if camera is None else replace(framed, camera=camera)


def _people(
    rng: np.random.Generator, count: int, split: str, distance: str, patterns: Sequence[str]
) -> tuple[Face, ...]:
    return tuple(_face(rng, split, distance, patterns, most=2 if count == 1 else 1) for _ in range(count))


def _face(rng: np.random.Generator, split: str, distance: str, patterns: Sequence[str], *, most: int) -> Face:
    ids = SPLITS[split]
    who = person(int(rng.integers(ids.start, ids.stop)))
    accessories = _accessories(rng, who, most)
    head = _either(rng, HEAD_TURNS, 0.7)
    gaze = _either(rng, GAZES, 0.5) if head == "ahead" and "sunglasses" not in accessories else "ahead"
    return Face(
        who,
        _either(rng, EXPRESSIONS, 0.2),
        "glasses" in accessories,
        float(rng.uniform(-0.14, 0.14)),
        gaze,
        head,
        accessories,
        tuple(list(COLOURS)[int(rng.integers(len(COLOURS)))] for _ in accessories),
        garment(int(rng.integers(ids.start, ids.stop)), patterns=patterns),
        _either(rng, GESTURES, 0.35) if distance == "medium" else "standing",
    )


def _accessories(rng: np.random.Generator, who: Person, most: int) -> tuple[str, ...]:
    """Up to `most`, none in another's place, and none that hides a hairstyle."""
    count = min(int(rng.choice(3, p=(0.40, 0.40, 0.20))), most)
    hidden = ("hat",) if who.hairstyle in ("bun", "mohawk") else ()
    names: list[str] = []
    for k in rng.permutation(len(TOGETHER)):
        options = [name for name in TOGETHER[k] if name not in hidden]
        names.append(options[int(rng.integers(len(options)))])
    return tuple(sorted(names[:count], key=WORN_BY_PEOPLE.index))


def _either(rng: np.random.Generator, options: Sequence[str], first: float) -> str:
    """The first option with a share of its own, else one of the others."""
    if rng.random() < first:
        return options[0]
    return options[1 + int(rng.integers(len(options) - 1))]


def _daytime(rng: np.random.Generator, options: Sequence[str]) -> str:
    shares = np.array([3.0 if option == "noon" else 1.0 for option in options])
    return options[int(rng.choice(len(options), p=shares / shares.sum()))]
