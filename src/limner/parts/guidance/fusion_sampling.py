"""Fusion sampling: the subject's and the prompt's words first met, then told apart (ProFusion, arXiv:2305.13579)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.streams import stream
from limner.parts.objectives.rewards import levels

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.types import Denoiser, Guidance


def told_apart(*, subject: float = 3.0, text: float = 3.0, branch: str = "plain") -> Guidance:
    """negative + w1 (text - negative) + w2 (branch - negative), where "text" reads subject and prompt and `branch` the
    prompt with the class noun (refinement, Eq. 9). The user's scale over 4, the default of painting, multiplies both.

    At w2 0 this is classifier-free guidance by w1.
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        both, plain = subject * w / USUAL, text * w / USUAL

        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if not plain:
                negative, seen = denoise(x, t, branches=("negative", "text"))
                return (negative + both * (seen - negative),)
            negative, seen, words = denoise(x, t, branches=("negative", "text", branch))
            return (negative + both * (seen - negative) + plain * (words - negative),)

        return guided

    return guidance


USUAL = 4.0  # guidance of `PaintSettings` where nobody says another


def fusion(*, repeats: int = 1, scale: float = 3.0, eta: float = 1.0, words: float = 0.8) -> LatentOperation:
    """Before every step, `repeats` times, the latents are taken a part of the step down the guided noise and back up by
    fresh noise, at the same noise level: z - e s^2 sqrt(1 - a_t) / (1 - a_s) + n s sqrt((1 - a_t)(2 - 2 a_s - s^2)) /
    (1 - a_s), with a_t and a_s the signal's power now and one step on and s the deviation of DDIM's own noise (fusion,
    Eq. 7 and 8, Algorithm 1).

    Arguments:
        repeats: of the fusion, at every step; 0 leaves it out
        scale: guidance of the noise that is taken down
        eta: of s: 1 is DDPM's noise, 0 none, which leaves the latents as they are
        words: what the vectors of learned words are multiplied by here
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        base, now = moment.adapted.base, float(moment.time)
        after = now - base.num_train_times / moment.total
        if not repeats or not eta or after < 0:
            return moment.latents
        (signal, spread), (next_signal, next_spread) = (levels(base, round(time)) for time in (now, after))
        ratio = (signal / next_signal) ** 2
        s = eta * (next_spread**2 / spread**2 * (1 - ratio)) ** 0.5
        down = s**2 * spread / next_spread**2
        up = s * spread * max(2 * next_spread**2 - s**2, 0.0) ** 0.5 / next_spread**2
        x, states = moment.latents, _quieter(moment, words)
        for again in range(repeats):
            noise = torch.randn(x.shape[1:], generator=stream(0, "fusion", moment.step, again)).to(x)
            with torch.no_grad():
                x = x - down * _guided(moment, x, states, scale) + up * noise
        return x

    return operation


def _quieter(moment: Moment, scale: float) -> Tensor:
    """[B, L, D]: states of the prompts with learned words at a scale."""
    adapted = moment.adapted
    if scale == 1 or not adapted.words:
        return moment.states
    key = ("fusion", moment.prompts, scale)
    if key not in adapted.kept:
        words = {word: scale * vectors for word, vectors in adapted.words.items()}
        adapted.kept[key] = adapted.base.text_states(moment.prompts, words=words)
    found: Tensor = adapted.kept[key]
    return found


def _guided(moment: Moment, x: Tensor, states: Tensor, scale: float) -> Tensor:
    """[B, C, h, w]: the noise that is predicted of the prompts, guided away from the negative's."""
    import torch

    assert moment.against is not None
    adapted, base = moment.adapted, moment.adapted.base
    time, both = moment.time.expand(2 * len(x)), torch.cat([x, x])
    said = (("",) * len(x)) + moment.prompts
    run = adapted.run(time=time, latents=both, step=moment.step, prompts=said, branches=("negative", "text"))
    output = base.predict(both, time, torch.cat([moment.against, states]), context=run)
    negative, text = base.noise_of(both, output, time).chunk(2)
    return negative + scale * (text - negative)
