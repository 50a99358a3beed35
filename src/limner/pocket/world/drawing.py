"""Scene graphs to pictures with their truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.pocket import SIZE

from .cameras import camera_axes
from .faces import LANDMARKS
from .figures import figure_landmarks, figure_solids
from .graph import SceneGraph
from .motions import moved_camera
from .rendering import boxes, render
from .scenes import scenery
from .shapes import Job, Scenery, Solid
from .styles import style_of, stylise
from .toys import build

MOST_PEOPLE = 2


@dataclass(frozen=True)
class Drawn:
    """Pictures of scene graphs, and what is true of every pixel. Toys 0 and 1 of a picture of people are the first and
    the second person."""

    graphs: tuple[SceneGraph, ...]
    pixels: Tensor  # [B, 3, H, W] uint8
    toy: Tensor  # [B, H, W] int8: which toy, -1 none
    part: Tensor  # [B, H, W] int16: which part of it (toys.PARTS, or faces.PARTS of people), -1 none
    depth: Tensor  # [B, H, W] in world units along the camera's axis, inf at the sky
    normal: Tensor  # [B, 3, H, W]
    boxes: Tensor  # [B, 3, 4] pixels
    landmarks: Tensor  # [B, 2, len(LANDMARKS), 2] of both people, in pixels; nan where there is no face

    @property
    def masks(self) -> Tensor:
        """[B, H, W] bool: any toy or face."""
        return self.toy >= 0


def job(graph: SceneGraph) -> Job:
    """The solids and scenery to render for a graph."""
    around = scenery(graph.scene, daytime=graph.daytime, seed=graph.seed)
    camera = moved_camera(graph.camera, graph.camera_move, graph.time)
    return Job(_solids(graph), _lit_from_the_front(around) if graph.people else around, camera)


def _lit_from_the_front(around: Scenery) -> Scenery:
    """The scenery as people are photographed in it: the sun on the camera's side, and some light on every face."""
    sun = around.sun * np.array([1.0, 1.0, np.sign(around.sun[2]) or 1.0])
    return replace(around, sun=sun, ambient=np.maximum(around.ambient, 0.42 * around.ambient / around.ambient.max()))


def draw(graphs: Sequence[SceneGraph], *, size: int = SIZE, device: str = "cpu") -> Drawn:
    """Render graphs as squares of `size` pixels. The same graph gives the same picture, whatever it is drawn with."""
    frames = render([job(graph) for graph in graphs], size=size, device=device)
    styled = _with_halos(graphs, frames.pixels, frames.toy)
    rows = [k for k, graph in enumerate(graphs) if graph.style != "render"]
    if rows:
        chosen = [graphs[k] for k in rows]
        styled[rows] = stylise(
            styled[rows],
            [style_of(g.style, g.style_seed) for g in chosen],
            [g.seed for g in chosen],
            _outlines(frames.toy[rows], frames.part[rows]),
            frames.depth[rows],
        )
    landmarks = torch.from_numpy(np.stack([landmarks_of(graph, size) for graph in graphs])).float()
    pixels = (styled.clamp(0, 1) * 255).round().byte()
    return Drawn(
        tuple(graphs), pixels, frames.toy, frames.part, frames.depth, frames.normal, boxes(frames.toy), landmarks
    )


def draw_many(
    graphs: Iterable[SceneGraph], *, size: int = SIZE, chunk: int = 64, workers: int = 0, device: str = "cpu"
) -> Iterator[Drawn]:
    """Draw without end or in one pass, chunk by chunk, in order; over processes when `workers` is above zero, which
    draw on the CPU."""
    parts = _chunks(graphs, chunk)
    if workers <= 0:
        yield from (draw(part, size=size, device=device) for part in parts)
        return
    from torch.multiprocessing import get_context

    with get_context("spawn").Pool(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap(_Draw(size), parts)


@dataclass(frozen=True)
class _Draw:
    size: int

    def __call__(self, graphs: Sequence[SceneGraph]) -> Drawn:
        return draw(graphs, size=self.size)


def _chunks(graphs: Iterable[SceneGraph], size: int) -> Iterator[list[SceneGraph]]:
    part: list[SceneGraph] = []
    for graph in graphs:
        part.append(graph)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _with_halos(graphs: Sequence[SceneGraph], pixels: Tensor, toy: Tensor) -> Tensor:
    """Light around toys that glow: their own colours, blurred, over what is around them."""
    for row, graph in enumerate(graphs):
        glowing = [k for k, one in enumerate(graph.toys) if one.state == "glowing"]
        if glowing:
            on = torch.stack([toy[row] == k for k in glowing]).any(0).float()
            halo, radius = pixels[row] * on, max(1, pixels.shape[-1] // 16)
            for _ in range(2):
                halo = F.avg_pool2d(halo[None], 2 * radius + 1, 1, radius)[0]
            pixels[row] = 1 - (1 - pixels[row]) * (1 - (1.1 * halo * (1 - on)).clamp(0, 0.9))
    return pixels


def _solids(graph: SceneGraph) -> list[Solid]:
    if graph.people:
        return [
            solid
            for index, face in enumerate(graph.people)
            for solid in figure_solids(face, index=index, time=graph.time)
        ]
    return [
        replace(solid, toy=index)
        for index, toy in enumerate(graph.toys)
        for solid in build(toy, time=graph.time).solids
    ]


def landmarks_of(graph: SceneGraph, size: int) -> np.ndarray:
    """[2, len(LANDMARKS), 2] in pixels: where the landmarks of each person fall on a picture of that size; nan for
    nobody."""
    points = np.full((MOST_PEOPLE, len(LANDMARKS), 2), np.nan)
    eye, (right, up, forward) = camera_axes(graph.camera)
    lens = float(right @ right)  # right and up both carry tan(fov / 2)
    for row, face in enumerate(graph.people):
        away = figure_landmarks(face) - eye
        depth = away @ forward
        x, y = away @ right / lens / depth, away @ up / lens / depth
        points[row] = np.stack([(x + 1) * size / 2, (1 - y) * size / 2], axis=1)
    return points


def _outlines(toy: Tensor, part: Tensor) -> Tensor:
    """[B, H, W] in [0, 1]: where a toy or one of its parts ends."""
    code = (toy.float() * 64 + part.float())[:, None]
    padded = F.pad(code, (0, 1, 0, 1), mode="replicate")
    return ((padded[:, :, :-1, 1:] != code) | (padded[:, :, 1:, :-1] != code)).float()[:, 0]
