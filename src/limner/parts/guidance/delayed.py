"""The subject enters late: the first steps of sampling read a prompt without it, which determines the layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def delayed(*, begin: int = 700, branch: str = "plain") -> Guidance:
    """Classifier-free guidance of `branch` at times above `begin`, and of the text from there on.

    This is delayed subject conditioning (Sec. 4.4 of arXiv:2305.10431) and PhotoMaker's start_merge_step
    (arXiv:2312.04461). Changes of weights act throughout; `PaintSettings.subject_from` has the untouched base before
    that time instead.

    begin: the last time, of 1000, that reads the subject; 700 is after 30 % of the way
    branch: a branch of the recipe, whose prompts are without the subject
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            reads = "text" if float(t[0]) <= begin else branch
            if w == 1:
                return denoise(x, t, branches=(reads,))
            negative, seen = denoise(x, t, branches=("negative", reads))
            return (negative + w * (seen - negative),)

        return guided

    return guidance
