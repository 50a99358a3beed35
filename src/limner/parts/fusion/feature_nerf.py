"""A radiance field of features inside of transformer blocks (Custom Diffusion 360, arXiv:2404.12333)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Objective
from limner.core.types import Live, Pass
from limner.core.views import move_between
from limner.errors import InputError
from limner.parts.encoders.looks import shown_rows
from limner.parts.encoders.rays import along_rays, cameras, ray_points, seen_at
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject

PREFIX, VIEWS, FEATURES = "nerf.", "nerf.views", "features"
RENDERED = "rendered, "
"""Prefix of the names under which a run has what a block renders: colours and opacity [rows, 4, side, side]."""
PICTURE = "picture"
"""Name of the condition that has the target's pixels in training."""
CLEAN = 0.1
"""Time of the pass that reads the references' features, as a share of the base's times."""
WAVES = 4
"""Frequencies of the encoding of points."""


@dataclass(frozen=True)
class feature_nerf:
    """x <- W [x ; y] behind transformer blocks, with y rendered from features of posed reference images (Sec. 3.2 of
    arXiv:2404.12333).

    For every position a ray goes from the target's camera through the subject. At points on it, features of the nearest
    references are read where their cameras see the point; a perceptron makes density, colour and a feature of their
    mean, their variance and the point; y is the sum of these features along the ray. W is the identity on x and zero on
    y at first, so that nothing changes. In rows without the subject x stays as it is.

    The camera is at the first picture's viewpoint, moved by the viewpoint that the user asks for; in training, by the
    move of the row's references. A picture is not among its own references. Features of the references come from one
    pass of the base without adapters over nearly clean pictures, and are stored.

    subject: the subject, with a viewpoint of every picture
    word: the subject's word in prompts, as the base reads it
    blocks: number of blocks, spread over those of the middle and of the up path
    samples: points of a ray
    references: references that a ray reads, the nearest in angle
    width: width of the perceptron and of y
    fov: angle of view of the pictures, degrees
    """

    subject: Subject
    word: str
    blocks: int = 2
    samples: int = 8
    references: int = 3
    width: int = 32
    fov: float = 35.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        chosen = self.block_names(base)
        fixed = self._fixed(base, chosen, stored)
        live = Live(dict(fixed), takes_view=True)
        network = base.module("denoiser")
        with ExitStack() as stack:
            for name in chosen:
                wide = fixed[f"{PREFIX}{name}.{FEATURES}"].shape[1]
                own = taken(
                    prefixed(f"{PREFIX}{name}.", self._start(wide, generator)), stored, base, what="the radiance field"
                )
                live.tensors |= own
                if scale:
                    hook = self._hook(live, name, under(f"{PREFIX}{name}.", own), scale)
                    block = network.get_submodule(name.removeprefix("denoiser."))
                    stack.callback(block.register_forward_hook(hook).remove)
            yield live

    def block_names(self, base: Base) -> list[str]:
        """The names of the blocks behind which it acts."""
        sites = [f"denoiser.{site.name}" for site in base.sites if site.block != "down"]
        late = [name for name in base.transformer_blocks() if any(site.startswith(f"{name}.") for site in sites)]
        count = min(self.blocks, len(late))
        return [late[(2 * k + 1) * len(late) // (2 * count)] for k in range(count)]

    def _fixed(self, base: Base, chosen: list[str], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Viewpoints [R, 3] and, for each block, features [R, C, side, side] of the subject's pictures."""
        import torch

        names = [VIEWS, *(f"{PREFIX}{name}.{FEATURES}" for name in chosen)]
        if VIEWS in stored:
            return {name: stored[name].to(base.device, base.dtype) for name in names}
        size = base.picture_size
        pixels = torch.zeros(1, 3, size, size) if not self.subject.pictures else self.subject.tensor(size)
        views = self.subject.viewpoints() if self.subject.pictures else torch.tensor([[0.0, 0.0, 1.0]])
        fixed = {VIEWS: views.to(base.device, base.dtype)}
        with torch.no_grad(), ExitStack() as stack:
            for name in chosen:
                block = base.module("denoiser").get_submodule(name.removeprefix("denoiser."))
                stack.callback(block.register_forward_hook(_noting(fixed, f"{PREFIX}{name}.{FEATURES}")).remove)
            latents, _ = base.encode(pixels.to(base.device))
            time = torch.full((len(latents),), round(CLEAN * base.num_train_times), device=base.device)
            states = base.text_states([f"a photo of a {self.subject.noun}"] * len(latents), words={})
            base.predict(base.noised(latents, 0 * latents, time), time, states, context=Pass(time=time))
        return fixed

    def _start(self, wide: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        into = 2 * self.width + 3 * (1 + 2 * WAVES)

        def matrix(out: int, wide: int) -> Tensor:
            return torch.randn(out, wide, generator=generator) / wide**0.5

        return {
            "read": matrix(self.width, wide),
            "first": matrix(self.width, into),
            "first.bias": torch.zeros(self.width),
            "second": matrix(4 + self.width, self.width),  # density, colour, feature
            "second.bias": torch.zeros(4 + self.width),
            "onto": torch.cat([torch.eye(wide), torch.zeros(wide, self.width)], 1),
        }

    def _hook(self, live: Live, name: str, own: dict[str, Tensor], scale: float) -> Callable[..., Any]:
        import torch

        features = live.tensors[f"{PREFIX}{name}.{FEATURES}"]

        def after(_: nn.Module, __: Any, out: Tensor) -> Tensor | None:
            run = live.run
            # a pass that was not made for the adapted base has rows of its own
            if not live.on or run is None or run.latents is None or len(run.latents) != len(out):
                return None
            rows = self._rows(run, len(out))
            if not bool(rows.any()):
                return None
            side = round(out.shape[1] ** 0.5)
            views = self._viewpoints(live, run, len(out))[rows]
            feature, colour, opacity = self.rendered(own, features, live.tensors[VIEWS], views, side)
            whole = out.new_zeros(len(out), 4, side, side)
            shown = torch.cat([colour, opacity[..., None]], -1).mT.unflatten(2, (side, side))
            run.activations[RENDERED + name] = whole.index_put((rows.nonzero()[:, 0],), shown.to(whole))
            changed = torch.cat([out[rows], feature.to(out)], -1) @ own["onto"].T
            return out.index_put((rows.nonzero()[:, 0],), out[rows].lerp(changed, scale))

        return after

    def rendered(
        self, own: Mapping[str, Tensor], features: Tensor, known: Tensor, views: Tensor, side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features [n, N, width], colours [n, N, 3] and opacity [n, N] of pictures of side^2 = N positions.

        own: the block's parameters
        features: of the references [R, C, h, w]
        known: viewpoints of the references [R, 3]
        views: viewpoints to render [n, 3]
        side: positions along a side
        """
        import torch
        import torch.nn.functional as F

        fov, mean = math.radians(self.fov), known[:, 2].mean()
        camera, theirs = cameras(views, mean, fov), cameras(known, mean, fov)
        points, _, length = ray_points(camera, side, self.samples, fov)  # [n, N, S, 3]
        flat = points.flatten(1, 2)
        at = seen_at(flat, theirs, fov)  # [n, R, P, 2]
        read = torch.einsum("rchw,dc->rdhw", features, own["read"])
        each = [
            F.grid_sample(read, places, padding_mode="border", align_corners=False)[..., 0]
            for places in at[:, :, :, None]
        ]
        weights = self._weights(views, known)[:, :, None, None]  # [n, R, 1, 1]
        seen = torch.stack(each)  # [n, R, width, P]
        middle = (weights * seen).sum(1)
        spread = (weights * (seen - middle[:, None]).square()).sum(1)
        waves = [f(2.0**k * flat) for k in range(WAVES) for f in (torch.sin, torch.cos)]
        into = torch.cat([middle.mT, spread.mT, flat, *waves], -1)
        hidden = F.silu(F.linear(into, own["first"], own["first.bias"]))
        made = F.linear(hidden, own["second"], own["second.bias"]).unflatten(
            1, points.shape[1:3]
        )  # [n, N, S, 4 + width]
        inside = (points.norm(dim=-1) <= 1).to(made)
        density, colour, feature = made.split((1, 3, self.width), -1)
        rays, opacity = along_rays(
            F.softplus(density[..., 0]) * inside, torch.cat([colour.sigmoid(), feature], -1), length
        )
        return rays[..., 3:], rays[..., :3], opacity

    def _weights(self, views: Tensor, known: Tensor) -> Tensor:
        """[n, R]: weights of the references, which sum to 1: the nearest in angle, without the view itself."""
        import torch

        def towards(viewpoints: Tensor) -> Tensor:
            return cameras(viewpoints, viewpoints.new_ones(()), math.pi / 2).axes[:, 2]

        near = towards(views) @ towards(known).T  # [n, R], cosines
        own = (move_between(known[None], views[:, None]).abs() < 1e-3).all(-1)
        near = near.masked_fill(own & ~own.all(1, keepdim=True), float("-inf"))
        count = min(self.references, near.shape[1])
        least = near.topk(count, 1).values[:, -1:]
        return torch.softmax((4 * near).masked_fill(near < least, float("-inf")), 1)

    def _rows(self, run: Pass, count: int) -> Tensor:
        """[count] bool: rows that show the subject."""
        import torch

        shown = shown_rows(run, count)
        if run.random is None and run.prompts:
            shown = shown & torch.tensor([self.word in prompt for prompt in run.prompts])
        return shown

    def _viewpoints(self, live: Live, run: Pass, rows: int) -> Tensor:
        """[rows, 3]: the viewpoint of each row. Raises `InputError` for a training batch without moves."""
        import torch

        if run.references is None:
            moves = run.views.get(self.subject.handle, torch.zeros(3)).expand(rows, -1)
        elif run.references.moves is None:
            raise InputError(
                "this method learns from the camera's move between pictures, and these batches have none: take "
                "photos(moves=True)"
            )
        else:
            moves = run.references.moves[:, 0].nan_to_num(0.0)
        first = live.tensors[VIEWS][0]
        moves = moves.to(first)
        return torch.cat([first[:2] + moves[:, :2], first[2:] * moves[:, 2:].exp()], 1)


def _noting(into: dict[str, Tensor], name: str) -> Callable[..., None]:
    """A hook that stores a block's output as [rows, C, side, side]."""

    def after(_: nn.Module, __: Any, out: Tensor) -> None:
        side = round(out.shape[1] ** 0.5)
        into[name] = out.detach().mT.unflatten(2, (side, side)).contiguous()

    return after


def render_supervision(
    source: Source, *, colour: float = 5.0, foreground: float = 10.0, background: float = 10.0
) -> Objective:
    """Squared errors of rendered colours inside of the mask, and of rendered opacity inside and outside of it (Eq. 6 of
    arXiv:2404.12333), the mean over blocks.

    source: batches with masks, moves and the condition "picture"
    colour: weight of the colours
    foreground: weight of the opacity inside of the mask
    background: weight of the opacity outside of it
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        batch, run, rows = step.batch, step.prediction.run, step.prediction.rows
        if batch.mask is None or PICTURE not in batch.conditions:
            raise InputError(f"{source.name} gives no masks or no condition {PICTURE!r}, which this objective needs")
        assert run is not None
        assert batch.references is not None
        on = batch.references.on.to(batch.latents.device)
        if not bool(on.any()):
            return batch.latents.new_zeros(())
        losses = []
        for shown in (made[rows][on] for name, made in run.activations.items() if name.startswith(RENDERED)):
            pixels, inside = (
                F.interpolate(wanted[on].to(shown), shown.shape[2:], mode="area")
                for wanted in (batch.conditions[PICTURE], batch.mask)
            )
            far, opacity = (shown[:, :3] - inside * pixels).square() * inside, shown[:, 3:]
            front = ((1 - opacity).square() * inside).sum() / inside.sum().clamp_min(1)
            behind = (opacity.square() * (1 - inside)).sum() / (1 - inside).sum().clamp_min(1)
            losses.append(
                colour * far.sum() / (3 * inside.sum()).clamp_min(1) + foreground * front + background * behind
            )
        return torch.stack(losses).mean()

    return Objective(f"render supervision({source.name})", source, value)
