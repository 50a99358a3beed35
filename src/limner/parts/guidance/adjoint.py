"""Guidance down the gradient of a distance to the clean picture that several steps of the sampler's ODE estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from limner.core.streams import stream
from limner.errors import UnknownName
from limner.parts.encoders.clip import clip_global
from limner.parts.encoders.faces import face_embedding
from limner.parts.modifiers.reference import FEATURES, reference_features
from limner.parts.objectives.rewards import levels

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base

Map: TypeAlias = "Callable[[Tensor], Tensor]"

Distance: TypeAlias = "Callable[[Base, Tensor, Tensor], Tensor]"
"""Base, pictures [B, 3, H, W] in [0, 1], the reference's features [1, …] -> [B], with a gradient to the pictures."""


def feature_distance(base: Base, pixels: Tensor, wanted: Tensor) -> Tensor:
    """[B]: Euclidean distance of CLIP embeddings of pictures from a reference's, all scaled to length 1.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    wanted: embedding of the reference [1, D]
    """
    import torch.nn.functional as F

    seen = F.normalize(base.picture_features(pixels).float(), dim=-1)
    return (seen - F.normalize(wanted.float(), dim=-1)).norm(dim=-1)


def style_features(base: Base, pixels: Tensor) -> Tensor:
    """[B, D, D]: Gram matrices of CLIP's patch tokens at a sixth of its depth, over the number of tokens.

    This is the second of twelve layers, as in the authors' style_transfer.py.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    tokens = base.picture_states(pixels, (1 / 6,))[:, 1:].float()
    return tokens.mT @ tokens / tokens.shape[1]


def style_distance(base: Base, pixels: Tensor, wanted: Tensor) -> Tensor:
    """[B]: the norm of the difference between Gram matrices of pictures and a reference's.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    wanted: Gram matrix of the reference [1, D, D]
    """
    return (style_features(base, pixels) - wanted.float()).flatten(1).norm(dim=1)


def face_distance(base: Base, pixels: Tensor, wanted: Tensor) -> Tensor:
    """[B]: Euclidean distance of unit embeddings of faces from a reference's. A picture without a face has a constant
    one.

    base: the base, with a face recogniser
    pixels: [B, 3, H, W] in [0, 1]
    wanted: embedding of the reference [1, D]
    """
    import torch.nn.functional as F

    return (face_embedding(base, pixels).float() - F.normalize(wanted.float(), dim=-1)).norm(dim=-1)


DISTANCES: dict[str, tuple[Callable[[Base, Tensor], Tensor], Distance]] = {
    "object": (clip_global, feature_distance),
    "style": (style_features, style_distance),
    "face": (face_embedding, face_distance),
}
"""Features of a picture, and the distance of pictures from a reference with them, by the kind of subject."""


def distance_of(kind: str) -> tuple[Callable[[Base, Tensor], Tensor], Distance]:
    """Features and distance for a kind of subject. Raises `InputError` for a kind that has none.

    kind: "object", "style" or "face"
    """
    if kind not in DISTANCES:
        raise UnknownName("distance", kind, DISTANCES)
    return DISTANCES[kind]


def symplectic_adjoint_guidance(
    reference: reference_features,
    distance: Distance = feature_distance,
    *,
    estimate: int = 4,
    strength: float = 0.2,
    begin: float = 0.3,
    end: float = 0.7,
    repeats: int = 2,
) -> LatentOperation:
    """Steps of the latents down the gradient of a distance between the reference and the estimated clean picture.

    The estimate comes from several steps of the sampler's ODE. The gradient step is repeated, with a sampling step and
    its noise back in between (time travel, Algorithm 2 of arXiv:2312.12030). With one step of the ODE this is guidance
    by the usual estimate (FreeDoM).

    The step is strength * w * rms(text - negative) / rms(gradient) times the gradient, for every picture by itself (the
    authors take one root mean square of the whole batch), with w the user's guidance scale. It comes before the
    sampler's step, in the authors' code after it.

    reference: features of the reference image
    distance: base, pictures and the reference's features -> [B]
    estimate: steps of the ODE to the clean picture, 1 or more
    strength: step size
    begin: share of the sampling steps at which guidance begins
    end: share of the sampling steps at which guidance ends
    repeats: gradient steps in a sampling step
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        x = moment.latents
        if not begin * moment.total <= moment.step < end * moment.total:
            return x
        wanted = moment.adapted.live[reference].tensors[FEATURES]
        ways = onward(moment, estimate)
        for again in range(repeats):
            far = lambda clean: distance(moment.adapted.base, moment.adapted.base.decode(clean), wanted).sum()  # noqa: E731
            slope = adjoint_gradient(ways, x, far)
            with torch.no_grad():
                x = x - strength * moment.guidance * _rms(_correction(moment, x)) / _rms(slope).clamp_min(1e-12) * slope
                if again + 1 < repeats:
                    x = _there_and_back(moment, x, again)
        return x

    return operation


def adjoint_gradient(ways: Sequence[Map], x: Tensor, of: Map) -> Tensor:
    """The gradient at x of a scalar after several maps, by the symplectic adjoint (Theorem 1 of arXiv:2312.12030).

    States are kept and every map is computed again for its own backward pass, so that memory does not grow with their
    number. For steps of Euler's method, the adjoint's integrator run backwards meets the states of the forward pass.

    ways: the maps, in order
    x: [B, C, h, w]
    of: the scalar, as a function of the last map's result
    """
    import torch

    states = [x.detach()]
    with torch.no_grad():
        for way in ways:
            states.append(way(states[-1]))
    with torch.enable_grad():
        last = states.pop().requires_grad_(True)
        (slope,) = torch.autograd.grad(of(last), last)
        for way in reversed(ways):
            state = states.pop().requires_grad_(True)
            (slope,) = torch.autograd.grad(way(state), state, slope)
    return slope


def onward(moment: Moment, count: int) -> list[Map]:
    """Steps of the ODE from a moment's time to clean latents, in equal parts (DDIM, or Euler along a flow).

    moment: the sampling step
    count: number of parts
    """
    times = [float(moment.time) * (1 - k / count) for k in range(count)]
    return [_way(moment, now, after) for now, after in zip(times, [*times[1:], None], strict=True)]


def _way(moment: Moment, now: float, after: float | None) -> Map:
    def step(x: Tensor) -> Tensor:
        base, at = moment.adapted.base, _at(moment, now, len(x))
        negative, text = _predicted(moment, x, now)
        output = negative + moment.guidance * (text - negative)
        clean = base.x0(x, output, at)
        if after is None:
            return clean
        return base.noised(clean, base.noise_of(x, output, at), _at(moment, after, len(x)))

    return step


def _at(moment: Moment, time: float, rows: int) -> Tensor:
    """[rows]: a time in the base's units."""
    whole = moment.time.dtype.is_floating_point
    return moment.time.new_full((rows,), time if whole else round(time))


def _predicted(moment: Moment, x: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """Prediction of the adapted base for the negative and for the text."""
    import torch

    assert moment.against is not None
    at = _at(moment, time, 2 * len(x))
    prompts = (("",) * len(x)) + moment.prompts
    both = torch.cat([x, x])
    run = moment.adapted.run(time=at, latents=both, prompts=prompts, branches=("negative", "text"))
    states = torch.cat([moment.against, moment.states])
    negative, text = moment.adapted.base.predict(both, at, states, context=run).chunk(2)
    return negative, text


def _correction(moment: Moment, x: Tensor) -> Tensor:
    """[B, C, h, w]: the noise predicted for the text minus that for the negative."""
    base, at = moment.adapted.base, _at(moment, float(moment.time), len(x))
    negative, text = (base.noise_of(x, output, at) for output in _predicted(moment, x, float(moment.time)))
    return text - negative


def _rms(x: Tensor) -> Tensor:
    """[B, 1, 1, 1]"""
    return x.square().mean((1, 2, 3), keepdim=True).sqrt()


def _there_and_back(moment: Moment, x: Tensor, again: int) -> Tensor:
    """One step of the sampler's length towards clean latents, and as much noise as takes it back; the same for every
    row."""
    import torch

    base, now = moment.adapted.base, float(moment.time)
    before = max(now - base.num_train_times / moment.total, 0.0)
    x = _way(moment, now, before)(x)
    (signal, spread), (signal_before, spread_before) = (levels(base, round(time)) for time in (now, before))
    ratio = signal / signal_before
    more = max(0.0, spread**2 - (ratio * spread_before) ** 2) ** 0.5
    noise = torch.randn(x.shape[1:], generator=stream(0, "time travel", moment.step, again)).to(x)
    return ratio * x + more * noise
