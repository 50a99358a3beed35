"""Rendered pictures of a run, kept as strips of PNG: small, lossless, and anybody can look at them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.core.files import atomic_write
from limner.pocket.world import CORE, WHOLE, WORLDS, SceneGraph, World, draw_many, sample
from limner.pocket.world.faces import person
from limner.pocket.world.graph import SPLITS
from limner.pocket.world.portraits import sample_people, stand_together, with_people_camera
from limner.pocket.world.sampling import with_camera
from limner.pocket.world.toys import individual
from limner.pocket.world.vocabulary import JOINTED, STYLES, shown

from .run import Run

CHUNK = 256
SHADES = torch.tensor([0, 255, 128, 64], dtype=torch.uint8)
"""Shades of no toy, the first, the second and the third in strips of masks."""
NUM_DEV, NUM_PEOPLE, NUM_VIEWS = 1024, 4000, 4
FIRST_PAIR = 50_000_000  # after the seeds of all other pictures of a run
_TOYS = replace(WHOLE, faces=0.0)
STRATA = (
    ("core", CORE, 7),
    ("people", replace(WHOLE, faces=1.0), 3),
    ("several", replace(_TOYS, pairs=0.8, triples=0.2, styles=("render",)), 3),
    ("actions", replace(_TOYS, pairs=0.0, triples=0.0, classes=JOINTED, actions=shown("actions")[1:]), 2),
    ("styles", replace(WHOLE, styles=shown("styles")[1:]), 2),
    ("whole", WHOLE, 3),
)
"""Kinds of training pictures, and how many of every twenty are of each: seven of the core, which the base must do
best."""
_STRATUM = tuple(world for _, world, share in STRATA for _ in range(share))


@dataclass(frozen=True)
class Pictures:
    """Pictures of one purpose: pixels [N, 3, S, S] uint8, which toy is where [N, S, S] uint8 (0 none, then from 1), and
    their graphs."""

    pixels: Tensor
    toys: Tensor
    graphs: tuple[SceneGraph, ...]

    @property
    def masks(self) -> Tensor:
        """[N, S, S] bool: any toy or face."""
        return self.toys > 0


def graphs_of(run: Run, purpose: str) -> list[SceneGraph]:
    """The graphs of a purpose: "train" and "dev" pictures, "individuals", "people" and styles ("manners") each seen
    NUM_VIEWS times, "pairs" of toys, and "several": mostly two or three toys.

    Training and dev pictures are of the STRATA where the run's world is the whole one, so that a larger world does not
    crowd out what the base must do best; otherwise all are of that world.
    """
    base = run.seed * 100_000_000
    match purpose:
        case "train":
            return [sample(base + k, world=_world(run, k)) for k in range(run.pictures)]
        case "dev":
            return [sample(base + k, world=_world(run, k), split="dev") for k in range(NUM_DEV)]
        case "individuals":
            return [g for k in range(max(run.pictures // 16, 8)) for g in _views_of(run, k)]
        case "pairs":
            world = replace(WORLDS[run.world], faces=0.0, pairs=1.0, triples=0.0, styles=("render",))
            return [sample(base + FIRST_PAIR + k, world=world) for k in range(run.pictures // 2)]
        case "several":
            world = replace(_TOYS, pairs=0.65, triples=0.25, styles=("render",))
            return [sample(base + FIRST_PAIR + k, world=world) for k in range(run.pictures // 2)]
        case "manners":
            return [g for k in range(max(run.pictures // 16, 8)) for g in _painted_by(run, k)]
        case "people":
            return [g for k in range(min(NUM_PEOPLE, run.pictures)) for g in _portraits_of(k)]
        case _:
            raise ValueError(f"there are no pictures for {purpose!r}")


def _world(run: Run, k: int) -> World:
    """The world that picture k is drawn from: any twenty in a row hold every stratum's share."""
    return _STRATUM[7 * k % len(_STRATUM)] if run.world == WHOLE.name else WORLDS[run.world]


def pictures(run: Run, purpose: str, *, workers: int = 0) -> Pictures:
    """The pictures of a purpose, rendered now where they were not before."""
    graphs = rendered(run, purpose, workers=workers)
    parts = [_strip(run, purpose, k) for k in range(-(-len(graphs) // CHUNK))]
    return Pictures(torch.cat([p for p, _ in parts]), torch.cat([t for _, t in parts]), tuple(graphs))


def rendered(run: Run, purpose: str, *, workers: int = 0) -> list[SceneGraph]:
    """The graphs of a purpose, whose pictures now lie in the run as strips of CHUNK; those that were missing are
    rendered."""
    graphs = graphs_of(run, purpose)
    folder = run.path(f"pictures/{purpose}")
    missing = [k for k in range(-(-len(graphs) // CHUNK)) if not (folder / f"{k:04}.png").exists()]
    todo = [graph for k in missing for graph in graphs[k * CHUNK : (k + 1) * CHUNK]]
    # processes take longer to start than a few chunks to render
    processes = workers if len(missing) > 4 and run.device == "cpu" else 0
    for done, (k, drawn) in enumerate(
        zip(missing, draw_many(todo, size=run.size, chunk=CHUNK, workers=processes, device=run.device), strict=True)
    ):
        write_strip(folder / f"{k:04}.mask.png", SHADES[drawn.toy.cpu().long() + 1][:, None])
        write_strip(folder / f"{k:04}.png", drawn.pixels.cpu())
        print(f"render {purpose}  {done + 1}/{len(missing)}", file=sys.stderr, flush=True)
    return graphs


def strips(run: Run, purpose: str, *, workers: int = 0) -> Iterator[tuple[int, Pictures]]:
    """The pictures of a purpose CHUNK by CHUNK with the chunk's number, so that not all are in memory at once."""
    graphs = rendered(run, purpose, workers=workers)
    for k in range(-(-len(graphs) // CHUNK)):
        yield k, Pictures(*_strip(run, purpose, k), tuple(graphs[k * CHUNK : (k + 1) * CHUNK]))


def _strip(run: Run, purpose: str, k: int) -> tuple[Tensor, Tensor]:
    """Pixels [N, 3, S, S] and which toy is where [N, S, S] of one chunk."""
    folder = run.path(f"pictures/{purpose}")
    shades = read_strip(folder / f"{k:04}.mask.png", run.size)[:, 0]
    toys = sum((shades == shade) * number for number, shade in enumerate(SHADES))
    assert isinstance(toys, Tensor)
    return read_strip(folder / f"{k:04}.png", run.size), toys.to(torch.uint8)


def forget(run: Run, purpose: str) -> None:
    """Delete the pictures of a purpose that nothing needs any more; they can be rendered again."""
    shutil.rmtree(run.path(f"pictures/{purpose}"), ignore_errors=True)


def _views_of(run: Run, k: int) -> list[SceneGraph]:
    """One training individual in several pictures, with whatever else chance brings."""
    world = replace(CORE if k % 2 == 0 else WORLDS[run.world], faces=0.0, pairs=0.0, triples=0.0)
    rng = np.random.default_rng((run.seed, k, 77))
    kind = world.classes[int(rng.integers(len(world.classes)))]
    who = individual(kind, int(rng.integers(SPLITS["train"].stop)), patterns=world.patterns)
    views = []
    for view in range(NUM_VIEWS):
        drawn = sample(int(rng.integers(1 << 40)) + view, world=world, split="train")
        toy = drawn.toys[0]
        views.append(with_camera(replace(drawn, toys=(replace(toy, individual=who),), relation=None)))
    return views


def _painted_by(run: Run, k: int) -> list[SceneGraph]:
    """Pictures of whatever chance brings, all by one individual of the training split's styles; families take turns."""
    rng, family = np.random.default_rng((run.seed, k, 79)), STYLES[1 + k % (len(STYLES) - 1)]
    hand = int(rng.integers(SPLITS["train"].stop))
    return [sample(int(rng.integers(1 << 40)), world=WHOLE, style=family, style_seed=hand) for _ in range(NUM_VIEWS)]


def _portraits_of(k: int) -> list[SceneGraph]:
    """One training person in several pictures, dressed and doing whatever chance brings."""
    rng, portraits = np.random.default_rng((k, 78)), []
    for _ in range(NUM_VIEWS):
        graph = sample_people(int(rng.integers(1 << 30)), rng, world=WHOLE, split="train")
        first = replace(graph.people[0], person=person(k))
        portraits.append(with_people_camera(replace(graph, people=stand_together([first], graph.distance))))
    return portraits


def write_strip(path: Path, pixels: Tensor) -> None:
    """[N, C, S, S] uint8 -> a strip N pictures tall."""
    array = pixels.permute(0, 2, 3, 1).reshape(-1, pixels.shape[-1], pixels.shape[1]).numpy()
    image = Image.fromarray(array if pixels.shape[1] == 3 else array[..., 0])
    atomic_write(path, lambda p: image.save(p, format="PNG"), overwrite=True)


def read_strip(path: Path, size: int) -> Tensor:
    """[N, C, S, S] uint8 of a strip."""
    array = torch.from_numpy(np.array(Image.open(path, formats=("PNG", "JPEG"))))
    return (
        (array if array.ndim == 3 else array[..., None])
        .view(-1, size, size, array.shape[2] if array.ndim == 3 else 1)
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def rows(count: int, batch: int, step: int, *, seed: int, purpose: str) -> Tensor:
    """Which examples are in a batch: every one once in an epoch, in an order of that epoch. [batch]"""
    from limner.core.streams import stream

    start = step * batch
    parts: list[Tensor] = []
    while sum(len(part) for part in parts) < batch:
        epoch, offset = divmod(start, count)
        order = torch.randperm(count, generator=stream(seed, purpose, epoch))
        part = order[offset : offset + batch - sum(len(p) for p in parts)]
        parts.append(part)
        start += len(part)
    return torch.cat(parts)


def floats(pixels: Tensor) -> Tensor:
    """uint8 -> [0, 1]."""
    return pixels.float().div_(255)
