"""Judges that are asked: any callable, and a vision-language model with DreamBench++'s two questions."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import InputError, LimnerError, MissingExtra

if TYPE_CHECKING:
    from PIL import Image

Ask: TypeAlias = "Callable[[str, Sequence[Image.Image]], str]"
"""Puts a question about some pictures to a model and returns its answer."""

PRESERVATION = (
    "The first picture shows a subject. The second was made to show the same subject, perhaps elsewhere or in another "
    "manner. Compare only the subject: its shape, colours, texture and, for a living being, its face. Leave the "
    "background aside. Answer with one line 'score: S' where S is 0 for another subject, 1 for a faint likeness, 2 for "
    "some, 3 for a good one with small differences, and 4 for one and the same; then say why in a sentence."
)
FOLLOWING = (
    'This picture was made for the words "{prompt}". Judge only how well it shows what they say: things, places, '
    "manner, doings, and how they belong together. Answer with one line 'score: S' where S is 0 when it has nothing to "
    "do with them, 1 when little is shown, 2 when half is, 3 when all but a detail is, and 4 when all is; then say why in a sentence."
)


def concept_preservation(
    ask: Ask, pictures: Sequence[Image.Image], reference: Image.Image, *, times: int = 3
) -> list[float]:
    """DreamBench++'s first score (arXiv:2406.16855): 0 to 4 for every picture, the mean of `times` askings.

    The questions are worded anew here; figures are comparable with each other, not with published ones.
    """
    return [_asked(ask, PRESERVATION, [reference, picture], times) for picture in pictures]


def prompt_following(
    ask: Ask, pictures: Sequence[Image.Image], prompts: Sequence[str], *, times: int = 3
) -> list[float]:
    """DreamBench++'s second score: 0 to 4 for every picture and its canonical prompt."""
    return [_asked(ask, FOLLOWING.format(prompt=p), [x], times) for x, p in zip(pictures, prompts, strict=True)]


def image_reward(pictures: Sequence[Image.Image], prompts: Sequence[str], *, model: Any = None) -> list[float]:
    """ImageReward (arXiv:2304.05977) of every picture and its canonical prompt, by the authors' own package.

    `model` is one that is loaded already; without, `ImageReward-v1.0` is. Raises `MissingExtra` when the package is not
    there: it pins old libraries, so limner does not ask for it.
    """
    if model is None:
        try:
            import ImageReward
        except ImportError as error:
            raise MissingExtra(
                "ImageReward is not installed: pip install image-reward, in an environment of its own"
            ) from error
        model = ImageReward.load("ImageReward-v1.0")
    return [float(model.score(prompt, picture)) for picture, prompt in zip(pictures, prompts, strict=True)]


def _asked(ask: Ask, question: str, pictures: Sequence[Image.Image], times: int) -> float:
    if times < 1:
        raise InputError(f"a judge must be asked once at least, not {times} times")
    return statistics.mean(_score(ask(question, pictures)) for _ in range(times))


def _score(answer: str) -> float:
    match = re.search(r"score\s*[:=]\s*\**\s*([0-4])(?!\d|\.\d)", answer, re.IGNORECASE)
    if match is None:
        raise LimnerError(f"the judge's answer holds no 'score: 0' to 'score: 4': {answer[:200]!r}")
    return float(match[1])
