"""Fusion sampling: a subject's token is mixed into the latents first, then beside the rest of the prompt (ProFusion,
arXiv:2305.13579)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.streams import stream
from limner.parts.fusion.noise_aware import WORN_AT
from limner.parts.objectives.rewards import levels

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.types import Denoiser, Guidance


def fusion_stage(handle: str, *, repeats: int = 1, strength: float = 0.8, eta: float = 1.0) -> LatentOperation:
    """Before every step but the last, move latents part of the way to the next noise level and back, with fresh noise.

    The noise eps is predicted for the subject's prompt, with its token at `strength` (Algorithm 1 of arXiv:2305.13579):

        z <- z - eps s^2 sqrt(1 - a_t) / (1 - a_s) + s n sqrt((1 - a_t) (2 - 2 a_s - s^2)) / (1 - a_s)

    with a_t and a_s the squared signal levels of this step and the next, and s = eta times the standard deviation of
    DDIM's noise between them (Eq. 16 of arXiv:2010.02502).

    handle: the subject's token; rows without it stay as they are
    repeats: repetitions before a step; 0 leaves the stage out
    strength: factor of the token's vectors
    eta: factor of the noise's standard deviation, from 0
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        rows = [k for k, text in enumerate(moment.prompts) if handle in text]
        last = moment.step + 1 >= moment.total
        if not rows or last or not repeats:
            return moment.latents
        x = moment.latents.clone()
        for again in range(repeats):
            noise = torch.randn(x[rows].shape, generator=stream(0, "fusion", moment.step, again)).to(x)
            x[rows] = fused(moment, x[rows], rows, noise, handle, strength, eta)
        return x

    return operation


def fused(
    moment: Moment, x: Tensor, rows: list[int], noise: Tensor, handle: str, strength: float, eta: float
) -> Tensor:
    """Latents [rows, C, h, w] after one repetition of `fusion_stage`.

    moment: the sampling step
    x: latents [rows, C, h, w]
    rows: numbers of these rows among the step's prompts
    noise: standard normal noise [rows, C, h, w]
    handle: the subject's token
    strength: factor of the token's vectors
    eta: factor of the noise's standard deviation, from 0
    """
    base, now = moment.adapted.base, int(moment.time)
    before = max(now - base.num_train_times // moment.total, 0)
    (signal, _), (signal_before, _) = (levels(base, time) for time in (now, before))
    a_t, a_s = signal**2, signal_before**2
    sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
    eps = _predicted(moment, x, rows, handle, strength)
    more = max(0.0, (1 - a_t) * (2 - 2 * a_s - sigma**2)) ** 0.5
    return x - eps * sigma**2 * (1 - a_t) ** 0.5 / (1 - a_s) + sigma * noise * more / (1 - a_s)


def _predicted(moment: Moment, x: Tensor, rows: list[int], handle: str, strength: float) -> Tensor:
    """The noise that the adapted base predicts with the subject's token at a strength."""
    adapted, base = moment.adapted, moment.adapted.base
    time = moment.time.expand(len(rows))
    run = adapted.run(time=time, latents=x, prompts=tuple(moment.prompts[row] for row in rows), step=moment.step)
    run.cache[WORN_AT, handle] = strength
    return base.noise_of(x, base.predict(x, time, moment.states[rows], context=run), time)


def subject_and_words(subject: float, words: float, *, branch: str = "words") -> Guidance:
    """negative + subject (text - negative) + words (branch - negative): guidance with two strengths.

    One is for the whole prompt, one for its words without the subject (the refinement stage of fusion sampling). At the
    user's scale of 1 there is no guidance.

    subject: strength of the prompt with the subject
    words: strength of the branch
    branch: a branch that the recipe adds, with the prompt without the subject's token
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if w == 1:
                return denoise(x, t)
            negative, text, plain = denoise(x, t, branches=("negative", "text", branch))
            return (negative + subject * (text - negative) + words * (plain - negative),)

        return guided

    return guidance
