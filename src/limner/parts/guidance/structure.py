"""Guidance by the structure of a picture, in a basis of self-attention keys (FreeControl, arXiv:2312.07536)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.core.streams import stream
from limner.errors import InputError
from limner.parts.attention.followed import noun_places
from limner.parts.attention.maps import keep_maps, kept_maps
from limner.parts.modifiers.reference import LATENTS
from limner.parts.modifiers.source_picture import check_inversion

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Pass, Site
    from limner.parts.modifiers.reference import reference_latents

KEYS, HIDDEN = "keys, ", "features, "
FOREGROUND = 0.3
"""Least attention to the noun of a position of the foreground, as a share of the largest (config/base.yaml)."""
SHOWN = 0.5
"""Least score of a position whose features count for the appearance (config/base.yaml)."""


class Target(NamedTuple):
    """The structure to reach at one step, in one layer."""

    mean: Tensor  # [C]: mean key of the seed pictures
    basis: Tensor  # [K, C]: principal components of their keys
    scores: Tensor  # [n or 1, N, K] in [0, 1]: the guide picture
    foreground: Tensor  # [n or 1, N] bool: where it shows the noun
    ceiling: Tensor  # [n or 1, 1, K]: its largest scores in the background


@dataclass
class _Free:
    """The unguided sample beside each picture, at the last step."""

    step: int
    latents: Tensor


def structure_guidance(
    reference: reference_latents,
    noun: str,
    *,
    strength: float = 800.0,
    background: float = 10.0,
    appearance: float = 0.05,
    components: int = 64,
    colours: int = 2,
    seeds: int = 20,
    until: float = 0.4,
    warmup: float = 0.05,
    inversion: str = "ddim",
) -> LatentOperation:
    """Structure guidance and appearance guidance (Sec. 3.3 of arXiv:2312.07536).

    Keys of self-attention in the first up block with it are projected on the principal components of keys of `seeds`
    pictures, which are sampled for the noun. The guide picture enters through its inversion alone: the condition
    that the reference reads, else the subject's first picture. The energy is `structure_energy` plus `appearance` times
    `appearance_energy` against an unguided sample from the same noise.

    The authors add n_t * strength * gradient to the predicted noise, with n_t the noise's share. Here latents move
    before the step by as much as this changes a DDIM step.

    reference: the part that stores the subject's picture
    noun: the class noun
    strength: factor of the energy's gradient
    background: weight of the energy in the background of the guide picture
    appearance: weight of the appearance's energy; 0 leaves it out
    components: principal components of the structure
    colours: principal components whose features give the appearance
    seeds: pictures sampled for the principal components
    until: share of the sampling steps, from the first, in which it acts
    warmup: share of the sampling steps in which the strength rises to its value
    inversion: "ddim" or "exact" (`engine.inversion`)
    """
    check_inversion(inversion)

    def operation(moment: Moment) -> Tensor:
        import torch

        x = moment.latents
        if moment.step >= until * moment.total or not strength:
            return x
        guided_steps = [step for step in range(moment.total) if step < until * moment.total]
        targets = _targets(moment, operation, reference, noun, components, seeds, guided_steps, inversion)[moment.step]
        free = _free_features(moment, operation) if appearance else None
        sites = key_sites(moment.adapted.base)
        with torch.enable_grad():
            part = x.detach().requires_grad_(True)
            run = _run(moment, part, moment.prompts, moment.states)
            energy = part.new_zeros(())
            for site, target in zip(sites, targets, strict=True):
                keys, hidden = run.activations[KEYS + site.name], run.activations[HIDDEN + site.name]
                energy = energy + structure_energy(scores_of(keys, target), target, background).sum()
                if free is not None:
                    theirs = appearance_of(scores_of(free[KEYS + site.name], target), free[HIDDEN + site.name], colours)
                    own = appearance_of(scores_of(keys, target), hidden, colours)
                    energy = energy + appearance * (own - theirs).square().flatten(1).mean(1).sum()
            (slope,) = torch.autograd.grad(energy / len(sites), part)
        rising = min(1.0, (moment.step + 1) / max(warmup * moment.total, 1e-9))
        return x - rising * strength * _share_of_step(moment) * slope

    operation.needs = (key_sites,) if strength else ()  # type: ignore[attr-defined]  # functions stay functions
    return operation


def structure_energy(scores: Tensor, target: Target, background: float) -> Tensor:
    """[B]: mean squared difference of scores from the guide picture's in its foreground, plus `background` times the
    mean square of how far scores exceed its largest ones in its background (Eq. 3 of arXiv:2312.07536).

    scores: [B, N, K] in [0, 1]
    target: the structure to reach
    background: weight of the background
    """
    inside = target.foreground[..., None].to(scores)  # [n or 1, N, 1]
    apart = ((scores - target.scores).square() * inside).mean(2).sum(1) / inside.sum((1, 2)).clamp_min(1)
    over = (scores - target.ceiling).relu().square() * (1 - inside)
    return apart + background * over.mean(2).sum(1) / (1 - inside).sum((1, 2)).clamp_min(1)


def appearance_of(scores: Tensor, hidden: Tensor, count: int) -> Tensor:
    """[B, count, C]: mean features of the positions with scores above SHOWN, weighted by the scores, for each of the
    first components (Eq. 5 of arXiv:2312.07536).

    scores: [B, N, K] in [0, 1]
    hidden: features [B, N, C]
    count: number of components
    """
    weights = (scores * (scores > SHOWN))[..., :count].mT  # [B, count, N]
    return weights @ hidden / weights.sum(2, keepdim=True).clamp_min(1e-6)


def scores_of(keys: Tensor, target: Target) -> Tensor:
    """[B, N, K] in [0, 1]: keys in the basis of a target, each component scaled to [0, 1] over the positions.

    keys: [B, N, C]
    target: has the basis
    """
    projected = (keys - target.mean) @ target.basis.mT
    low, high = projected.amin(1, keepdim=True), projected.amax(1, keepdim=True)
    return (projected - low) / (high - low).clamp_min(1e-6)


def principal(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean [C] and the first principal components [count, C] of keys.

    keys: [n, N, C]
    count: number of components, at most C
    """
    import torch

    flat = keys.flatten(0, 1).float()
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).mT @ (flat - mean))  # in rising order
    return mean.to(keys), vectors.mT.flip(0)[:count].to(keys)


def key_sites(base: Base) -> list[Site]:
    """The self-attention layers of the first up block that has any. Raises `InputError` where none has.

    base: the base
    """
    up = [site for site in base.sites if site.kind == "self" and site.block == "up"]
    first = [site for site in up if site.name.split(".")[:2] == up[0].name.split(".")[:2]]
    if not first:
        raise InputError(
            f"{base.name} ({base.family}) has no self-attention in its up path, whose keys structure guidance reads: use "
            "a base with a UNet"
        )
    return first


def keep_keys(sites: Sequence[Site]) -> AttentionOp:
    """Keep keys [rows, N, C] and input features [rows, N, C] of these layers.

    sites: the layers
    """

    def operation(call: AttentionCall) -> AttentionCall:
        if call.site in sites:
            call.run.activations[KEYS + call.site.name] = call.key.transpose(1, 2).flatten(2)
            call.run.activations[HIDDEN + call.site.name] = call.hidden
        return call

    return operation


def _run(moment: Moment, latents: Tensor, prompts: Sequence[str], states: Tensor, *more: AttentionOp) -> Pass:
    """The run of these latents at the moment's time, with keys kept."""
    adapted, time = moment.adapted, moment.time.expand(len(latents))
    shown = moment.conditions if len(latents) == len(moment.latents) else {}
    run = adapted.run(time=time, latents=latents, prompts=tuple(prompts), conditions=shown)
    run.operations += (keep_keys(key_sites(adapted.base)), *more)
    run.activations["output"] = adapted.base.predict(latents, time, states, context=run)
    return run


def _stepped(moment: Moment, x: Tensor, outputs: Tensor, step: int) -> Tensor:
    """Latents after a DDIM step."""
    base, times = moment.adapted.base, _times(moment)
    now = times[step].expand(len(x))
    clean, noise = base.x0(x, outputs, now), base.noise_of(x, outputs, now)
    return clean if step + 1 == len(times) else base.noised(clean, noise, times[step + 1].expand(len(x)))


def _times(moment: Moment) -> Tensor:
    base = moment.adapted.base
    times: Tensor = base.scheduler(steps=moment.total).timesteps.to(base.device)
    return times


def _share_of_step(moment: Moment) -> float:
    """The move of latents before a DDIM step that equals adding the noise's share to the predicted noise."""
    import torch

    base, times = moment.adapted.base, _times(moment)
    one = torch.ones(1, 1, 1, 1, device=base.device)

    def shares(step: int) -> tuple[float, float]:
        if step == len(times):
            return 1.0, 0.0
        at = times[step].reshape(1)
        return float(base.noised(one, 0 * one, at)), float(base.noised(0 * one, one, at))

    (picture, noise), (next_picture, next_noise) = shares(moment.step), shares(moment.step + 1)
    return noise * (noise - next_noise * picture / max(next_picture, 1e-6))


def _guided_output(
    moment: Moment, x: Tensor, prompts: Sequence[str], states: Tensor, against: Tensor
) -> tuple[Tensor, Pass]:
    """Prediction with the user's guidance, and the run of the prompts."""
    run = _run(moment, x, prompts, states)
    plain = _run(moment, x, ("",) * len(x), against)
    text, negative = run.activations["output"], plain.activations["output"]
    return negative + moment.guidance * (text - negative), run


def _free_features(moment: Moment, operation: object) -> dict[str, Tensor]:
    """Keys and features of the unguided samples at this step, which start from the noise of the first."""
    import torch

    cache: dict[Any, Any] = moment.adapted.cache
    free: _Free | None = cache.get(("free sample", operation))
    if free is None or free.step != moment.step or free.latents.shape != moment.latents.shape:
        free = _Free(moment.step, moment.latents.detach())
    assert moment.against is not None
    with torch.no_grad():
        output, run = _guided_output(moment, free.latents, moment.prompts, moment.states, moment.against)
        after = _stepped(moment, free.latents, output, moment.step)
    cache["free sample", operation] = _Free(moment.step + 1, after)
    return run.activations


def _targets(
    moment: Moment,
    operation: object,
    reference: reference_latents,
    noun: str,
    components: int,
    seeds: int,
    steps: Sequence[int],
    inversion: str = "ddim",
) -> dict[int, list[Target]]:
    """The target of each layer at each of the first steps, cached while the guide pictures stay the same."""
    import torch

    base, cache = moment.adapted.base, moment.adapted.cache
    picture = moment.conditions.get(reference.instead)
    source = moment.adapted.live[reference].tensors[LATENTS] if picture is None else picture
    known = cache.get(("structure", operation))
    if known is None or known[1] != moment.total or not torch.equal(known[0], source):
        with torch.no_grad():
            latents = (
                source if picture is None else base.encode(picture.expand(-1, 3, -1, -1).float())[0].to(base.dtype)
            )
            bases = _bases(moment, noun, components, seeds, steps)
            targets = _guide(moment, latents, noun, bases, steps, inversion)
        cache["structure", operation] = known = source, moment.total, targets
    by_step: dict[int, list[Target]] = known[2]
    return by_step


def _bases(
    moment: Moment, noun: str, components: int, seeds: int, steps: Sequence[int]
) -> dict[int, list[tuple[Tensor, Tensor]]]:
    """Step -> mean and principal components of each layer's keys, over pictures sampled for the noun."""
    import torch

    adapted, base, prompts = moment.adapted, moment.adapted.base, (f"a photo of a {noun}",) * seeds
    states, against = adapted.text_states(prompts), adapted.text_states(("",) * seeds)
    x = torch.randn(seeds, *base.latent_shape, generator=stream(0, "seed pictures")).to(base.device, base.dtype)
    x, bases = base.noised(0 * x, x, _times(moment)[:1].expand(seeds)), {}
    for step in steps:
        at = moment._replace(time=_times(moment)[step], step=step, conditions={})
        output, run = _guided_output(at, x, prompts, states, against)
        bases[step] = [principal(run.activations[KEYS + s.name], components) for s in key_sites(base)]
        x = _stepped(at, x, output, step)
    return bases


def _guide(
    moment: Moment,
    latents: Tensor,
    noun: str,
    bases: dict[int, list[tuple[Tensor, Tensor]]],
    steps: Sequence[int],
    inversion: str,
) -> dict[int, list[Target]]:
    """Step -> each layer's target, from the inverted guide pictures [n, C, h, w]."""
    import torch

    from limner.engine.sample import inverted

    adapted, base, prompt = moment.adapted, moment.adapted.base, f"a photo of a {noun}"
    ways = (inverted(base, one[None], prompt, moment.total, inversion=inversion) for one in latents)
    paths = torch.stack([torch.stack(way) for way in ways])
    states = adapted.text_states((prompt,) * len(latents))
    places, targets = noun_places(base, prompt, noun), {}
    for step in steps:
        at = moment._replace(time=_times(moment)[step], step=step, conditions={})
        run = _run(at, paths[:, step], (prompt,) * len(latents), states, keep_maps())
        attention = _attention(run, places)
        targets[step] = [
            _target(run.activations[KEYS + site.name], attention, *basis)
            for site, basis in zip(key_sites(base), bases[step], strict=True)
        ]
    return targets


def _attention(run: Pass, places: Sequence[int]) -> Tensor:
    """[n, 1, h, w] in [0, 1]: attention to the noun, the largest 1."""
    from limner.core.types import Prediction

    own = kept_maps(Prediction(run.activations["output"], run))[:, :, list(places)].mean(2)
    side = round(own.shape[1] ** 0.5)
    low, high = own.amin(1, keepdim=True), own.amax(1, keepdim=True)
    return ((own - low) / (high - low).clamp_min(1e-9)).unflatten(1, (1, side, side))


def _target(keys: Tensor, attention: Tensor, mean: Tensor, basis: Tensor) -> Target:
    import torch
    import torch.nn.functional as F

    side = round(keys.shape[1] ** 0.5)
    foreground = F.adaptive_avg_pool2d(attention, side).flatten(1) > FOREGROUND
    bare = Target(mean, basis, keys, foreground, keys)
    scores = scores_of(keys, bare)
    behind = scores.masked_fill(foreground[..., None], float("-inf")).amax(1, keepdim=True)
    return Target(mean, basis, scores, foreground, torch.where(behind.isfinite(), behind, torch.ones_like(behind)))
