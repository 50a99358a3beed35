"""Words pushed into their regions by gradient steps on the latents (Layout-Control, arXiv:2304.03373)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.parts.attention.maps import KEPT, keep_maps
from limner.parts.attention.regions import at_queries

from .separation import first_of_kind

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.types import Pass

KIND = "guides_layout"


def layout_guidance(
    *, scale: float = 30.0, threshold: float = 0.2, tries: int = 5, until: float = 0.2
) -> LatentOperation:
    """Backward guidance: in the first steps, latents move down the gradient of `missed` (Sec. 3.3 of arXiv:2304.03373).

    A step is z - sigma^2 * grad(scale * E) in the authors' latents of variance 1 + sigma^2; here, latents of the base's
    own noise level move by (noise's share)^2 times the gradient, which is the same move. Steps are repeated until E is
    at most the threshold. E counts in a run of the prompt's branch alone. Without regions nothing changes. Several
    concepts with this operation in one sampling act once, for all words with regions.

    scale: factor of the loss; 0 changes nothing
    threshold: value of E at which a sampling step's moves end, 0 to 1
    tries: moves in a sampling step, at most
    until: share of the sampling steps, from the first, in which it acts, from 0 to 1
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        x = moment.latents
        if moment.step >= until * moment.total or not scale or first_of_kind(moment.adapted, KIND) is not operation:
            return x
        rows = [row for row, places in enumerate(moment.handle_places) if places]
        share = noise_share(moment.adapted.base, moment.time)
        for _ in range(tries if rows else 0):
            part = x[rows].detach().requires_grad_(True)
            with torch.enable_grad():
                missing = missed(moment, part, rows)
                far = missing[missing > threshold]
                if not len(far):
                    break
                (slope,) = torch.autograd.grad(scale * far.sum(), part)
            x = x.clone()
            x[rows] -= share**2 * slope
        return x

    setattr(operation, KIND, True)
    return operation


def noise_share(base: Base, time: Tensor) -> float:
    """The noise's share of noised latents, sqrt(1 - alpha_bar).

    base: the base
    time: the time, a scalar
    """
    import torch

    one = torch.ones(1, 1, 1, 1, device=base.device)
    return float(base.noised(0 * one, one, time.reshape(1)))


def missed(moment: Moment, latents: Tensor, rows: Sequence[int]) -> Tensor:
    """[rows]: E, the mean of (1 - share of a word's attention inside its region)^2 over words, their tokens and layers
    (Eq. 4 of arXiv:2304.03373).

    moment: the sampling step
    latents: [rows, C, h, w]
    rows: their rows in the moment
    """
    import torch

    base, at = moment.adapted.base, list(rows)
    time, prompts = moment.time.expand(len(at)), tuple(moment.prompts[row] for row in at)
    conditions = {name: condition[at] for name, condition in moment.conditions.items()}
    run = moment.adapted.run(time=time, latents=latents, prompts=prompts, conditions=conditions)
    run.operations += (keep_maps(),)
    base.predict(latents, time, moment.states[at], context=run)
    maps = coarse_maps(base, run)
    return torch.stack([_missed(maps, k, moment.handle_places[row], moment.regions) for k, row in enumerate(at)])


def _missed(
    maps: Sequence[Tensor], row: int, places: Mapping[str, Sequence[int]], regions: Mapping[str, Tensor]
) -> Tensor:
    import torch

    losses = []
    for name, own in places.items():
        for layer in maps:
            attention = layer[row][:, list(own)]  # [N, tokens]
            inside = at_queries(regions[name].to(layer), len(attention))[:, None]
            losses.append((1 - (attention * inside).sum(0) / attention.sum(0).clamp_min(1e-8)).square().mean())
    return torch.stack(losses).mean()


def coarse_maps(base: Base, run: Pass) -> list[Tensor]:
    """[rows, N, M] of each cross-attention layer of the middle and of the up path at the resolution of its first one.

    In Stable Diffusion these are the middle and the first up block with attention, as the authors take. Raises
    `InputError` for a base without such layers.

    base: the base
    run: a run with `keep_maps`
    """
    maps_of = {site: run.activations.get(f"{KEPT}{site.name}") for site in base.sites if site.kind == "cross"}
    middle = [maps for site, maps in maps_of.items() if site.block == "mid" and maps is not None]
    up = [maps for site, maps in maps_of.items() if site.block == "up" and maps is not None]
    if not middle + up:
        raise InputError(
            f"{base.name} ({base.family}) has no cross-attention in the middle or up path, whose maps layout guidance "
            "needs: use a base with a UNet"
        )
    return middle + [maps for maps in up if maps.shape[1] == up[0].shape[1]]
