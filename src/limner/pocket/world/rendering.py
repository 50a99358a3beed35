"""Ray casting of many pictures at once, on CPU or GPU.

Rays meet only the solids whose projected bounds hold their pixel, so the work is a flat list of (ray, solid) pairs. A
first pass sends one ray through every pixel's centre; a second sends more through the pixels where something changes
(edges of solids, patterns and shadows), which anti-aliases at a fraction of full supersampling's cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cameras import camera_axes
from .scenes import GROUNDS, HORIZONS, ground_colour, sky_colour
from .shapes import KINDS, NUM_MARKS, SURFACES, Job, Solid
from .solids import MISS, ball, ball_normal, cone, cone_normal, cube, cube_normal
from .states import weathered
from .surfaces import marked, patterned, wooden
from .vocabulary import PATTERNS, STATES

EDGE = 0.035  # linear difference between neighbours from which a pixel is anti-aliased
OFFSETS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))  # rotated grid, in pixels
NEAR = 0.05
CHUNK = 16  # pictures rendered at once


@dataclass(frozen=True)
class Frames:
    """Rendered pictures and their truth. `toy` and `part` are -1 off the toys; `depth` is along the camera's axis."""

    pixels: Tensor  # [B, 3, H, W] sRGB in [0, 1]
    toy: Tensor  # [B, H, W] int8
    part: Tensor  # [B, H, W] int16
    depth: Tensor  # [B, H, W], inf at the sky
    normal: Tensor  # [B, 3, H, W] unit vectors in world coordinates, 0 at the sky


def render(jobs: Sequence[Job], *, size: int = 128, device: str = "cpu") -> Frames:
    """Render squares of `size` pixels. Pictures do not depend on what they are rendered with."""
    with torch.no_grad(), torch.autocast(device.split(":")[0], enabled=False):
        parts = [_render(jobs[k : k + CHUNK], size, device) for k in range(0, len(jobs), CHUNK)]
    return Frames(*(torch.cat([getattr(p, name) for p in parts]) for name in Frames.__dataclass_fields__))


def boxes(toy: Tensor, count: int = 3) -> Tensor:
    """[B, H, W] toy indices -> [B, count, 4]: x0, y0, x1, y1 in pixels (end exclusive), zeros for what is not seen."""
    bounds = torch.zeros(len(toy), count, 4, dtype=torch.int16)
    for row, k in ((r, k) for r in range(len(toy)) for k in range(count)):
        ys, xs = torch.nonzero(toy[row] == k, as_tuple=True)
        if len(xs):
            bounds[row, k] = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return bounds


# ------------------------------------------------------------------------------------------------------------ the stack


@dataclass(frozen=True)
class _Scene:
    """All jobs of a chunk as tensors: S solids in all, B pictures."""

    num: int
    size: int
    eye: Tensor  # [B, 3]
    axes: Tensor  # [B, 3, 3] rows: right, up, forward; right and up scaled by tan(fov / 2)
    light: dict[str, Tensor]  # lights of the scenery, [B, ...]
    picture: Tensor  # [S] which picture a solid is in
    kind: Tensor  # [S]
    inward: Tensor  # [S, 3, 3] world vector -> unit-shape vector
    center: Tensor  # [S, 3]
    corners: Tensor  # [S, 8, 3]
    about: dict[str, Tensor]  # other columns of solids, [S, ...]


def _stack(jobs: Sequence[Job], size: int, device: str) -> _Scene:
    solids = [s for job in jobs for s in (*job.solids, *job.scenery.solids)]
    picture = np.repeat(np.arange(len(jobs)), [len(job.solids) + len(job.scenery.solids) for job in jobs])
    rotation = np.stack([s.rotation for s in solids]) if solids else np.zeros((0, 3, 3))
    extent = np.stack([s.size for s in solids]) if solids else np.zeros((0, 3))
    center = np.stack([s.center for s in solids]) if solids else np.zeros((0, 3))
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    corners = center[:, None] + (signs[None] * extent[:, None]) @ rotation.transpose(0, 2, 1)
    cameras = [camera_axes(job.camera) for job in jobs]

    def tensor(array: object, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=dtype, device=device)

    return _Scene(
        num=len(jobs),
        size=size,
        eye=tensor([eye for eye, _ in cameras]),
        axes=tensor([axes for _, axes in cameras]),
        light=_light(jobs, tensor),
        picture=tensor(picture, torch.long),
        kind=tensor([_kind(s) for s in solids], torch.long),
        inward=tensor(rotation.transpose(0, 2, 1) / extent[:, :, None]),
        center=tensor(center),
        corners=tensor(corners),
        about=_columns(solids, tensor),
    )


def _kind(solid: Solid) -> int:
    return KINDS.index("cone" if solid.kind == "cylinder" else solid.kind)


def _columns(solids: Sequence[Solid], tensor: Callable[..., Tensor]) -> dict[str, Tensor]:
    marks = np.zeros((len(solids), NUM_MARKS, 7))
    for row, solid in enumerate(solids):
        if solid.marks is not None:
            marks[row, : len(solid.marks)] = solid.marks
    whole, real = torch.long, torch.float32
    columns = {
        "taper": ([1.0 if s.kind == "cylinder" else s.taper for s in solids], real),
        "colour": ([s.colour for s in solids], real),
        "pattern": ([PATTERNS.index(s.pattern) for s in solids], whole),
        "pattern_colour": ([s.pattern_colour for s in solids], real),
        "pattern_shape": ([s.pattern_shape for s in solids], real),
        "frame": ([s.frame for s in solids], real),
        "material": ([SURFACES.index(s.material) for s in solids], whole),
        "state": ([STATES.index(s.state) for s in solids], whole),
        "part": ([s.part for s in solids], whole),
        "toy": ([s.toy for s in solids], whole),
        "marks": (marks, real),
    }
    return {name: tensor(values, dtype) for name, (values, dtype) in columns.items()}


def _light(jobs: Sequence[Job], tensor: Callable[..., Tensor]) -> dict[str, Tensor]:
    names = ("sky_top", "sky_bottom", "ground", "ground_second", "backdrop", "sun", "sunlight", "ambient")
    light = {name: tensor([getattr(job.scenery, name) for job in jobs]) for name in names}
    light["ground_pattern"] = tensor([GROUNDS.index(j.scenery.ground_pattern) for j in jobs], torch.long)
    light["horizon"] = tensor([HORIZONS.index(j.scenery.horizon) for j in jobs], torch.long)
    light["haze"] = tensor([float(j.scenery.horizon not in ("wall", "bedroom wall")) for j in jobs])
    light["phase"] = tensor([(j.scenery.seed % 997) * 0.37 for j in jobs])
    return light


# ------------------------------------------------------------------------------------------------------- rays and pairs


@dataclass(frozen=True)
class _Rays:
    """N rays; direction has length 1 along the camera's axis, so t is depth."""

    picture: Tensor  # [N]
    direction: Tensor  # [N, 3]
    ray: Tensor  # [P] of each pair with a solid
    solid: Tensor  # [P]
    shadow_ray: Tensor  # [Q] of each pair whose solid may shade the ray's ground point
    shadow_solid: Tensor


def _render(jobs: Sequence[Job], size: int, device: str) -> Frames:
    scene = _stack(jobs, size, device)
    seen, shade = _bounds(scene, scene.corners), _shadow_bounds(scene)
    pairs, shadows = _pairs(scene, seen), _pairs(scene, shade)
    pixel = torch.arange(scene.num * size * size, device=device)
    rays = _rays(scene, pixel, (0.0, 0.0), pairs, shadows)
    colour, winner, depth, normal = _trace(scene, rays)
    colour = _antialiased(scene, colour, winner, pairs, shadows)
    shape = (scene.num, size, size)
    hit = winner >= 0
    safe = winner.clamp_min(0)

    def column(name: str, dtype: torch.dtype) -> Tensor:
        if not len(scene.kind):
            return torch.full(shape, -1, dtype=dtype, device=device)
        toys = hit & (scene.about["toy"][safe] >= 0)
        return torch.where(toys, scene.about[name][safe], -1).to(dtype).view(shape)

    return Frames(
        pixels=to_srgb(colour).view(*shape, 3).permute(0, 3, 1, 2).contiguous(),
        toy=column("toy", torch.int8),
        part=column("part", torch.int16),
        depth=depth.view(shape),
        normal=normal.view(*shape, 3).permute(0, 3, 1, 2).contiguous(),
    )


def _antialiased(
    scene: _Scene, colour: Tensor, winner: Tensor, pairs: tuple[Tensor, Tensor], shadows: tuple[Tensor, Tensor]
) -> Tensor:
    pixel = _edges(scene, colour, winner)
    index = torch.full((len(colour),), -1, dtype=torch.long, device=colour.device)
    index[pixel] = torch.arange(len(pixel), device=colour.device)
    few = [_only(index, chosen) for chosen in (pairs, shadows)]
    total = torch.zeros(len(pixel), 3, device=colour.device)
    for offset in OFFSETS:
        total += _trace(scene, _rays(scene, pixel, offset, *few))[0]
    return colour.index_copy(0, pixel, total / len(OFFSETS))


def _edges(scene: _Scene, colour: Tensor, winner: Tensor) -> Tensor:
    """Flat indices of pixels that differ from a neighbour."""
    shape = (scene.num, scene.size, scene.size)
    image, solid = colour.view(*shape, 3), winner.view(shape)
    edge = torch.zeros(shape, dtype=torch.bool, device=colour.device)
    across = ((image[:, :, 1:] - image[:, :, :-1]).abs().amax(-1) > EDGE) | (solid[:, :, 1:] != solid[:, :, :-1])
    down = ((image[:, 1:] - image[:, :-1]).abs().amax(-1) > EDGE) | (solid[:, 1:] != solid[:, :-1])
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return edge.view(-1).nonzero()[:, 0]


def _at(table: Tensor, rows: Tensor) -> Tensor:
    """`table[rows]` for row numbers [N], in a third of the time that indexing takes. Rows of several dimensions are
    flattened first: index_select is fast for matrices."""
    if table.ndim < 3:
        return table.index_select(0, rows)
    return table.flatten(1).index_select(0, rows).view(-1, *table.shape[1:])


def _only(index: Tensor, pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    place = _at(index, pairs[0])
    mask = place >= 0
    return place[mask], pairs[1][mask]


def _rays(
    scene: _Scene,
    pixel: Tensor,
    offset: tuple[float, float],
    pairs: tuple[Tensor, Tensor],
    shadows: tuple[Tensor, Tensor],
) -> _Rays:
    picture, inside = pixel // scene.size**2, pixel % scene.size**2
    x = (inside % scene.size + 0.5 + offset[0]) * (2 / scene.size) - 1
    y = 1 - (inside // scene.size + 0.5 + offset[1]) * (2 / scene.size)
    right, up, forward = _at(scene.axes, picture).unbind(1)
    return _Rays(picture, forward + x[:, None] * right + y[:, None] * up, *pairs, *shadows)


def _bounds(scene: _Scene, corners: Tensor) -> Tensor:
    """[S, 8, 3] points -> [S, 4]: x0, y0, x1, y1 in pixels (end exclusive) with a margin of one."""
    axes, eye = scene.axes[scene.picture], scene.eye[scene.picture]
    lens = axes[:, 0].norm(dim=-1, keepdim=True)
    right, up, forward = axes[:, 0] / lens, axes[:, 1] / lens, axes[:, 2]
    away = corners - eye[:, None]
    depth = torch.einsum("sci,si->sc", away, forward)
    x = torch.einsum("sci,si->sc", away, right) / (depth.clamp_min(NEAR) * lens)
    y = torch.einsum("sci,si->sc", away, up) / (depth.clamp_min(NEAR) * lens)
    columns, rows = (x + 1) * scene.size / 2, (1 - y) * scene.size / 2
    low = torch.stack([columns.amin(1), rows.amin(1)], 1).floor() - 1
    high = torch.stack([columns.amax(1), rows.amax(1)], 1).ceil() + 1
    behind = (depth < NEAR).any(1, keepdim=True)
    low = torch.where(behind, 0.0, low)
    high = torch.where(behind & (depth > NEAR).any(1, keepdim=True), float(scene.size), high)
    high = torch.where((depth < NEAR).all(1, keepdim=True), 0.0, high)
    return torch.cat([low, high], 1).clamp(0, scene.size).long()


def _shadow_bounds(scene: _Scene) -> Tensor:
    """Where on the picture the ground shadow of each solid can fall; empty under a low sun."""
    sun = scene.light["sun"][scene.picture][:, None]
    height = scene.corners[:, :, 1:2].clamp_min(0)
    fallen = scene.corners - sun * height / sun[:, :, 1:2].clamp_min(0.05)
    bounds = _bounds(scene, fallen)
    return torch.where(sun[:, 0, 1:2] > 0.05, bounds, torch.zeros_like(bounds))


def _pairs(scene: _Scene, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Every (pixel, solid) whose pixel lies in the solid's bounds, as two flat lists."""
    width, height = (bounds[:, 2:] - bounds[:, :2]).clamp_min(0).unbind(1)
    count = width * height
    solid = torch.repeat_interleave(torch.arange(len(count), device=bounds.device), count)
    begin = torch.cumsum(count, 0) - count
    offset = torch.arange(len(solid), device=bounds.device) - begin[solid]
    wide = width[solid]
    x, y = bounds[solid, 0] + offset % wide, bounds[solid, 1] + offset // wide
    return scene.picture[solid] * scene.size**2 + y * scene.size + x, solid


# -------------------------------------------------------------------------------------------------------------- tracing


def _trace(scene: _Scene, rays: _Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Linear colour [N, 3], the solid hit [N] (-1 for none), depth [N] and normal [N, 3] of every ray."""
    count = len(rays.picture)
    t = _meet(scene, rays)
    nearest = torch.full((count,), MISS, device=t.device).scatter_reduce(0, rays.ray, t, "amin")
    first = (t == _at(nearest, rays.ray)) & (t < MISS)
    winner = torch.full((count,), -1, dtype=torch.long, device=t.device)
    winner[rays.ray[first]] = rays.solid[first]
    eye = _at(scene.eye, rays.picture)
    falling = rays.direction[:, 1]
    ground = torch.where(falling < -1e-5, -eye[:, 1] / falling.clamp_max(-1e-5), MISS)
    on_ground = (ground < nearest).nonzero()[:, 0]
    in_sky = ((winner < 0) & (ground == MISS)).nonzero()[:, 0]
    on_solid = ((winner >= 0) & (nearest <= ground)).nonzero()[:, 0]
    colour, normal = torch.zeros(count, 3, device=t.device), torch.zeros(count, 3, device=t.device)
    colour[in_sky] = _sky(scene, rays.picture[in_sky], rays.direction[in_sky])
    colour[on_ground] = _ground(scene, rays, on_ground, ground[on_ground])
    normal[on_ground] = torch.tensor([0.0, 1.0, 0.0], device=t.device)
    lit, facing = _solids(scene, rays, on_solid, winner[on_solid], nearest[on_solid])
    colour[on_solid], normal[on_solid] = lit, facing
    winner[on_ground] = -1
    return colour, winner, torch.minimum(nearest, ground), normal


def _meet(scene: _Scene, rays: _Rays) -> Tensor:
    """t [P] of every pair, from the camera."""
    home = torch.einsum("sij,sj->si", scene.inward, scene.eye[scene.picture] - scene.center)
    direction = torch.einsum("pij,pj->pi", _at(scene.inward, rays.solid), _at(rays.direction, rays.ray))
    return _first_hit(scene, rays.solid, _at(home, rays.solid), direction)


def _first_hit(scene: _Scene, solid: Tensor, origin: Tensor, direction: Tensor) -> Tensor:
    """t [P] of rays already in unit-shape coordinates, each kind by its own formula."""
    t = torch.full((len(solid),), MISS, device=solid.device)
    kind = _at(scene.kind, solid)
    for code, meet in enumerate((ball, None, cube)):
        chosen = (kind == code).nonzero()[:, 0]
        o, d = _at(origin, chosen), _at(direction, chosen)
        t[chosen] = meet(o, d) if meet else cone(o, d, _at(scene.about["taper"], _at(solid, chosen)))
    return t


def _sky(scene: _Scene, picture: Tensor, direction: Tensor) -> Tensor:
    light = scene.light
    direction = direction / direction.norm(dim=-1, keepdim=True)
    named = (_at(light[name], picture) for name in ("sky_top", "sky_bottom", "backdrop", "phase"))
    return to_linear(sky_colour(_at(light["horizon"], picture), direction, *named))


def _ground(scene: _Scene, rays: _Rays, chosen: Tensor, t: Tensor) -> Tensor:
    light, picture = scene.light, _at(rays.picture, chosen)
    point = _at(scene.eye, picture) + t[:, None] * _at(rays.direction, chosen)
    named = (_at(light[name], picture) for name in ("ground", "ground_second", "phase"))
    albedo = to_linear(ground_colour(_at(light["ground_pattern"], picture), point[:, [0, 2]], *named))
    sun = _at(light["sun"], picture)
    open_sky = ~_shaded(scene, rays, chosen, point)
    sunlight, ambient = _at(light["sunlight"], picture), _at(light["ambient"], picture)
    lit = sunlight * (sun[:, 1:2].clamp_min(0) * open_sky[:, None]) + ambient
    haze = _at(light["haze"], picture)[:, None] * (1 - torch.exp(-((t / 30) ** 2)))[:, None]
    far = to_linear(_at(light["sky_bottom"], picture))
    return albedo * lit * (1 - haze) + far * haze


def _shaded(scene: _Scene, rays: _Rays, chosen: Tensor, point: Tensor) -> Tensor:
    """[M] bool: ground points of the chosen rays from which a solid hides the sun."""
    place = torch.full((len(rays.picture),), -1, dtype=torch.long, device=point.device)
    place[chosen] = torch.arange(len(chosen), device=point.device)
    at, solid = _only(place, (rays.shadow_ray, rays.shadow_solid))
    inward, sun = _at(scene.inward, solid), _at(scene.light["sun"], _at(scene.picture, solid))
    origin = torch.einsum("pij,pj->pi", inward, _at(point, at) + 1e-3 * sun - _at(scene.center, solid))
    direction = torch.einsum("pij,pj->pi", inward, sun)
    hit = _first_hit(scene, solid, origin, direction) < MISS
    shaded = torch.zeros(len(point), dtype=torch.bool, device=point.device)
    shaded[at[hit]] = True
    return shaded


def _solids(scene: _Scene, rays: _Rays, chosen: Tensor, solid: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Linear colour and world normal [M, 3] where the chosen rays hit their solids."""
    if not len(chosen):
        empty = torch.zeros(0, 3, device=t.device)
        return empty, empty
    picture, direction = _at(rays.picture, chosen), _at(rays.direction, chosen)
    point = _at(scene.eye, picture) + t[:, None] * direction
    normal = _normal(scene, solid, point)
    about = {name: _at(column, solid) for name, column in scene.about.items() if name not in ("part", "toy")}
    own = torch.einsum("pij,pj->pi", about["frame"][:, :, :3], point) + about["frame"][:, :, 3]
    albedo = patterned(about["pattern"], own, about["colour"], about["pattern_colour"], about["pattern_shape"])
    albedo = wooden(about["material"] == SURFACES.index("wood"), own, marked(albedo, own, about["marks"]))
    albedo, facing = weathered(about["state"], own, normal, albedo)
    return _lit(scene, picture, direction, facing, to_linear(albedo), about["material"]), normal


def _normal(scene: _Scene, solid: Tensor, point: Tensor) -> Tensor:
    inward = _at(scene.inward, solid)
    q = torch.einsum("pij,pj->pi", inward, point - _at(scene.center, solid))
    kind, taper = _at(scene.kind, solid), _at(scene.about["taper"], solid)
    gradient = torch.where((kind == 0)[:, None], ball_normal(q), cube_normal(q))
    gradient = torch.where((kind == 1)[:, None], cone_normal(q, taper), gradient)
    return torch.nn.functional.normalize(torch.einsum("pij,pi->pj", inward, gradient), dim=-1)


def _lit(scene: _Scene, picture: Tensor, direction: Tensor, normal: Tensor, albedo: Tensor, material: Tensor) -> Tensor:
    """Diffuse light, a highlight (Blinn-Phong), and what metal mirrors and glass lets through."""
    light = scene.light
    sun, sunlight, ambient = (_at(light[name], picture) for name in ("sun", "sunlight", "ambient"))
    view = -direction / direction.norm(dim=-1, keepdim=True)
    facing = (normal * sun).sum(-1, keepdim=True)
    diffuse = sunlight * (facing + 0.15).clamp_min(0) / 1.15 + ambient * (0.65 + 0.35 * normal[:, 1:2])
    half = torch.nn.functional.normalize(sun + view, dim=-1)
    gleam = (normal * half).sum(-1, keepdim=True).clamp_min(0) * (facing > 0)
    sharp = _by_material(material, (40.0, 60.0, 12.0, 90.0, 1.0, 1.0))
    strong = _by_material(material, (0.35, 0.8, 0.10, 1.0, 0.0, 0.0))
    colour = albedo * diffuse + strong * gleam**sharp * sunlight
    shiny = ((material == 1) | (material == 3)).nonzero()[:, 0]
    if len(shiny):
        colour[shiny] = _shiny(
            scene, picture[shiny], view[shiny], normal[shiny], albedo[shiny], colour[shiny], material[shiny]
        )
    return torch.where((material == 5)[:, None], albedo * 1.1, colour)


def _by_material(material: Tensor, values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, device=material.device)[material][:, None]


def _shiny(
    scene: _Scene, picture: Tensor, view: Tensor, normal: Tensor, albedo: Tensor, colour: Tensor, material: Tensor
) -> Tensor:
    """Metal mirrors its surroundings in its own colour; glass shows what is behind, more of a mirror at grazing
    angles."""
    cosine = (view * normal).sum(-1, keepdim=True).clamp(0, 1)
    mirror = _surroundings(scene, picture, 2 * cosine * normal - view)
    behind = _surroundings(scene, picture, -(view + 0.35 * normal))
    fresnel = 0.06 + 0.94 * (1 - cosine) ** 4
    metal = 0.4 * colour + 0.75 * (0.25 + 0.75 * albedo) * mirror
    glass = fresnel * mirror + (1 - fresnel) * (0.65 * behind * (0.3 + 0.7 * albedo) + 0.35 * colour)
    return torch.where((material == 1)[:, None], metal, glass)


def _surroundings(scene: _Scene, picture: Tensor, direction: Tensor) -> Tensor:
    sky = _sky(scene, picture, torch.cat([direction[:, :1], direction[:, 1:2].abs(), direction[:, 2:]], 1))
    ground = to_linear(scene.light["ground"][picture]) * 0.7
    return torch.where(direction[:, 1:2] >= 0, sky, ground)


def to_linear(colour: Tensor) -> Tensor:
    """sRGB -> linear light, with the exponent 2.2."""
    return colour.clamp_min(0) ** 2.2


def to_srgb(colour: Tensor) -> Tensor:
    """Linear light -> sRGB in [0, 1]; light above 0.8 is rolled off."""
    over = (colour - 0.8).clamp_min(0)
    rolled = torch.where(colour > 0.8, 0.8 + 0.2 * (1 - torch.exp(-over / 0.2)), colour)
    return rolled.clamp(0, 1) ** (1 / 2.2)
