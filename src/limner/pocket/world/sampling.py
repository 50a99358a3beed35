"""From a seed to a scene graph, and the graphs that teaching needs: references of one toy, clips, turntables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .cameras import camera_axes
from .graph import SPLITS, Camera, Individual, SceneGraph, Toy
from .portraits import portrait, sample_people
from .relations import SIDEWAYS, in_a_row, place
from .toys import build, individual
from .vocabulary import COLOURS, CORE, JOINTED, World

__all__ = [
    "clip",
    "panorama",
    "portrait",
    "references",
    "sample",
    "showing",
    "turntable",
    "unseen",
    "viewpoint",
    "with_camera",
]

DISTANCE = {"close": 1.85, "medium": 2.35, "far": 4.2}
TURN = {
    "front": 0.0, "side": math.pi / 2, "back": math.pi, "top": 0.0, "front left": math.pi / 4, "left": math.pi / 2,
    "back left": 3 * math.pi / 4, "back right": -3 * math.pi / 4, "right": -math.pi / 2, "front right": -math.pi / 4,
}  # fmt: skip
"""How far a toy is turned (radians about y) so that the camera sees the view."""
FOV = 0.6
COMMON = {"render": 6.0, "plain": 60.0, "standing": 4.0, "plastic": 4.0, "noon": 3.0, "medium": 2.0, "front": 3.0}
"""Words that are drawn more often than the rest of their field; `render` this often for every style."""
_VIEWS = {"front": 3.0, **dict.fromkeys(("front left", "left", "back left", "back right", "right", "front right"), 0.5)}


def sample(seed: int, *, world: World = CORE, split: str = "train", **fixed: Any) -> SceneGraph:
    """The scene graph of a seed: what is in it is drawn from the world, whom it shows from the split.

    `fixed` sets fields of the graph; `toys=` also takes the number of toys away from chance.
    """
    graph = unseen(seed, world=world, split=split, **fixed)
    return graph if graph.people else with_camera(graph)


def unseen(seed: int, *, world: World = CORE, split: str = "train", **fixed: Any) -> SceneGraph:
    """The graph of `sample` before a camera is placed, which takes longer than all else: enough for a caption."""
    rng = np.random.default_rng((seed, sum(split.encode())))
    if not fixed.get("toys") and rng.random() < world.faces:
        graph = sample_people(seed, rng, world=world, split=split, **fixed)
        return replace(graph, **_style(rng, world, split, fixed))
    toys = fixed.pop("toys", None) or _toys(rng, world, split)
    several = len(toys) > 1
    views = [view for view in world.views if view != "top"] if several else world.views
    view = fixed.pop("view", None) or _choice(rng, views, weights=_VIEWS)
    relation = fixed.pop("relation", None)
    if len(toys) == 2:
        relation = relation or _choice(rng, world.relations or ("next to",))
        toys = place(relation, *toys)
        view = "front" if relation in SIDEWAYS else view
    elif several:
        toys = in_a_row(toys)
    graph = SceneGraph(
        seed,
        _turned(toys, view, rng),
        relation=relation,
        scene=_choice(rng, world.scenes),
        daytime=_choice(rng, world.daytimes, weights=COMMON),
        view=view,
        distance="medium" if several else _choice(rng, world.distances, weights=COMMON),
        **_style(rng, world, split, fixed),
        time=float(rng.random()),
    )
    return replace(graph, **fixed)


def _style(rng: np.random.Generator, world: World, split: str, fixed: dict[str, Any]) -> dict[str, Any]:
    """One of the world's styles, by an individual of its family that is of the split; the one that is fixed, if any."""
    style = _choice(rng, world.styles, weights={"render": COMMON["render"] * len(world.styles)})
    ids = SPLITS[split]
    seed = None if style == "render" else int(rng.integers(ids.start, ids.stop))
    if "style" in fixed:
        return {"style": fixed["style"], "style_seed": fixed.get("style_seed")}
    return {"style": style, "style_seed": seed}


def references(who: Individual, count: int = 4, *, seed: int = 0, world: World = CORE) -> list[SceneGraph]:
    """Pictures to learn a toy from: itself alone, without accessories, in different places and from different sides."""
    rng = np.random.default_rng((seed, who.seed, 5))
    scenes = rng.permutation(len(world.scenes))
    graphs = []
    for k in range(count):
        toy = Toy(who)
        view = world.views[k % len(world.views)] if k % 2 else "front"
        scene = world.scenes[scenes[k % len(scenes)]]
        at = int(rng.integers(1 << 30))
        graphs.append(
            sample(
                at,
                world=world,
                toys=(toy,),
                view=view,
                scene=scene,
                style="render",
                daytime="noon",
                distance=world.distances[0],
            )
        )
    return graphs


def showing(
    who: Individual,
    *,
    seed: int,
    scene: str,
    accessories: Sequence[tuple[str, str]] = (),
    view: str = "front",
    **fixed: Any,
) -> SceneGraph:
    """The truth of a prompt: this individual, there, wearing (accessory, colour) pairs."""
    names, colours = tuple(name for name, _ in accessories), tuple(colour for _, colour in accessories)
    own = {name: fixed.pop(name) for name in ("action", "material", "state", "motion") if name in fixed}
    toy = Toy(who, names, colours, **own)
    return sample(
        seed,
        toys=(toy,),
        scene=scene,
        view=view,
        **{"style": "render", "daytime": "noon", "distance": "medium", **fixed},
    )


def turntable(graph: SceneGraph, count: int) -> list[SceneGraph]:
    """The same picture from `count` places all around."""
    camera = graph.camera
    step = 2 * math.pi / count
    return [replace(graph, camera=replace(camera, azimuth=camera.azimuth + k * step)) for k in range(count)]


def viewpoint(graph: SceneGraph) -> tuple[float, float, float]:
    """Azimuth and elevation (radians) of the camera around the first toy, and its distance. The azimuth is 0 in front
    of the toy and rises towards its left."""
    camera, around = graph.camera, graph.camera.azimuth - graph.toys[0].turn
    return (around + math.pi) % (2 * math.pi) - math.pi, camera.elevation, camera.distance


def panorama(graph: SceneGraph, count: int) -> list[SceneGraph]:
    """The surroundings of the camera, in `count` views all around that meet at their edges."""
    camera = graph.camera
    eye, _ = camera_axes(camera)
    views = []
    for k in range(count):
        turn = camera.azimuth + 2 * math.pi * k / count
        target = eye - camera.distance * np.array([math.sin(turn), 0.0, math.cos(turn)])
        level = replace(camera, azimuth=turn, elevation=0.0, target=tuple(target), fov=2 * math.pi / count)
        views.append(replace(graph, camera=level))
    return views


def clip(graph: SceneGraph, count: int, *, cycles: float = 1.0) -> list[SceneGraph]:
    """The same picture at `count` times of its motion; a move of the camera begins with the first."""
    start = graph.time if graph.camera_move == "still" else 0.0
    return [replace(graph, time=start + cycles * k / count) for k in range(count)]


def with_camera(graph: SceneGraph) -> SceneGraph:
    """The graph with the camera that its view and distance ask for; seeded jitter within what the words still say."""
    rng = np.random.default_rng((graph.seed, 23))
    above = 1.05 if graph.view == "top" else rng.uniform(0.10, 0.30)
    azimuth = rng.uniform(-0.2, 0.2)
    away = DISTANCE[graph.distance] * rng.uniform(0.93, 1.07)
    if len(graph.toys) > 1:
        return replace(graph, camera=_around_all(graph.toys, azimuth / 2, above, away / DISTANCE[graph.distance]))
    tall = max((_top(toy) for toy in graph.toys), default=1.0)
    target = (float(rng.uniform(-0.1, 0.1)) * tall, tall * float(rng.uniform(0.48, 0.58)), 0.0)
    return replace(graph, camera=Camera(azimuth, above, away * tall, target, FOV))


def _around_all(toys: Sequence[Toy], azimuth: float, above: float, room: float) -> Camera:
    """The camera that just holds several toys; `room` around 1 moves it to or fro a little."""
    solids = [solid for toy in toys for solid in build(toy).solids]
    reach = np.array([np.abs(solid.rotation) @ solid.size for solid in solids])
    center = np.array([solid.center for solid in solids])
    low, high = (center - reach).min(0), (center + reach).max(0)
    wide, tall = high[0] - low[0], high[1] - low[1]
    away = max(wide, tall) * 1.02 * room / (2 * math.tan(FOV / 2)) + 0.5 * high[2]
    return Camera(azimuth, above, away, ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, 0.0), FOV)


def _top(toy: Toy) -> float:
    """How much of the picture the toy asks for: its height, or most of its length."""
    solids = build(replace(toy, turn=0.0)).solids
    reach = np.array([np.abs(solid.rotation) @ solid.size for solid in solids])
    center = np.array([solid.center for solid in solids])
    low, high = (center - reach)[:, 1].min(), (center + reach)[:, 1].max()
    height, long = high - 0.5 * max(low, 0.0), 1.3 * (np.abs(center) + reach)[:, [0, 2]].max()
    return float(np.clip(max(height, long + abs(toy.place[0])), 0.6, 2.4))


def _choice(rng: np.random.Generator, options: Sequence[str], *, weights: dict[str, float] | None = None) -> str:
    shares = np.array([(weights or {}).get(option, 1.0) for option in options])
    return options[int(rng.choice(len(options), p=shares / shares.sum()))]


def _toys(rng: np.random.Generator, world: World, split: str) -> tuple[Toy, ...]:
    chance = rng.random()
    count = 2 if chance < world.pairs else 3 if chance < world.pairs + world.triples else 1
    if count > 1:  # a balloon on its string would make all toys small
        world = replace(world, accessories=tuple(name for name in world.accessories if name != "balloon"))
    return tuple(_toy(rng, world, split) for _ in range(count))


def _toy(rng: np.random.Generator, world: World, split: str) -> Toy:
    kind = _choice(rng, world.classes)
    ids = SPLITS[split]
    who = individual(kind, int(rng.integers(ids.start, ids.stop)), patterns=world.patterns)
    count = int(rng.choice(3, p=(0.45, 0.45, 0.10)))
    chosen = rng.choice(len(world.accessories), min(count, len(world.accessories)), replace=False)
    names = [world.accessories[k] for k in sorted(chosen)]
    if "hat" in names and "crown" in names:
        names.remove("crown")
    colours = tuple(list(COLOURS)[int(rng.integers(len(COLOURS)))] for _ in names)
    action = _choice(rng, world.actions, weights=COMMON) if kind in JOINTED else "standing"
    material = _choice(rng, world.materials, weights=COMMON)
    state = _choice(rng, world.states, weights=COMMON) if len(world.states) > 1 else "plain"
    return Toy(who, tuple(names), colours, action, material, state=state)


def _turned(toys: Sequence[Toy], view: str, rng: np.random.Generator) -> tuple[Toy, ...]:
    """Turned so that the camera sees the view; to a side means either. Their relation's own turns are kept."""
    side = 1 if rng.random() < 0.5 else -1
    spread = 0.35 if view in ("front", "side", "back", "top") else 0.18
    turns = [TURN[view] * (side if view == "side" else 1) + rng.uniform(-spread, spread) for _ in toys]
    return tuple(replace(toy, turn=toy.turn + turn) for toy, turn in zip(toys, turns, strict=True))
