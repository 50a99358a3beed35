"""Diagnosis of a concept: one word, one sentence, and one suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Label: TypeAlias = Literal[
    "balanced", "overfit", "memorised", "leaky background", "underfit",
    "mode collapse", "image collapse", "drift", "undetermined",
]  # fmt: skip

ADVICE: dict[Label, tuple[str, str]] = {
    "balanced": ("The pictures show the subject and follow the prompts.", "Keep these settings."),
    "overfit": (
        "The pictures show the subject, but follow prompts far less than those of the base alone.",
        "Train for fewer steps or with a lower learning rate, or add class images (prior preservation).",
    ),
    "memorised": (
        "The pictures repeat the training pictures.",
        "Train for far fewer steps, give more and more varied pictures, or train fewer parameters.",
    ),
    "leaky background": (
        "The training pictures' backgrounds come along with the subject.",
        "Give pictures with different backgrounds, or masks of the subject.",
    ),
    "underfit": (
        "The pictures follow the prompts, but show another individual of the class.",
        "Train for more steps or with a higher learning rate, or train more of the network.",
    ),
    "mode collapse": (
        "Every prompt gives the same picture.",
        "Lower the learning rate, and look at the losses for a jump.",
    ),
    "image collapse": (
        "The pictures are broken: noise, or no picture at all.",
        "Divide the learning rate by ten, and use float32. For a pre-trained method, the reference images differ too much "
        "from its training pictures: choose another method.",
    ),
    "drift": (
        "The pictures show neither the subject nor the prompt: the model has drifted.",
        "Lower the learning rate, train fewer parameters, or add class images.",
    ),
    "undetermined": (
        "The intervals are too wide for a diagnosis.",
        "Score more pictures: more prompts, more seeds, or held-out references.",
    ),
}


ADVICE_WITHOUT_UPDATES: dict[Label, str] = {
    "overfit": "Lower the method's strength, or paint the concept at a smaller scale.",
    "memorised": "Lower the method's strength, or give more and more varied reference images.",
    "underfit": "Raise the method's strength, give clearer or more reference images, or choose a method that trains on "
    "them.",
    "mode collapse": "Lower the method's strength, or choose another method.",
    "image collapse": "Lower the method's strength. The reference images may differ too much from the pictures that the "
    "method was pre-trained on: choose another method.",
    "drift": "Lower the method's strength, or choose another method.",
}
"""Label -> advice for a concept that was learned without an update (training-free methods, pre-trained encoders), where
it differs from that of ADVICE."""


def words_about(label: str, *, has_updates: bool = True) -> tuple[str, str]:
    """Finding and advice of a label; empty for one that does not exist, as in the file of a concept from elsewhere.
    `has_updates` says whether the concept was trained on its reference images."""
    finding, advice = {str(known): words for known, words in ADVICE.items()}.get(label, ("", ""))
    others = {} if has_updates else {str(known): words for known, words in ADVICE_WITHOUT_UPDATES.items()}
    return finding, others.get(label, advice)


def is_trained(cost: Mapping[str, Any]) -> bool:
    """Whether a concept with these costs was trained on its reference images: a concept that records no number of
    updates, such as an imported one, counts as trained."""
    return cost.get("steps") != 0


BROKEN = 0.78
"""Share of the base's quality below which pictures are noise. On the pocket base's bench the least of 201 likenesses
has 0.80; noise that an encoder made of photographs has 0.56 to 0.76."""


@dataclass(frozen=True)
class Range:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Signs:
    """Measurements of a concept that a diagnosis needs. None: not measured.

    `fidelity` and `alignment` are the anchored F and T. `sensitivity` is eta squared as a share of the base's,
    `variety` the diversity within a prompt as a share of the base's, `quality` as a share of the base's. `obeyed` is
    the share of pictures in which all is there that the prompt asks for, as a share of the base's: a mean can be high
    where the scene is right and everything else is missing.
    """

    fidelity: Range
    alignment: Range
    copy: float | None = None
    leak: float | None = None
    masked_gain: float | None = None  # F of the subject alone less F of the whole picture
    sensitivity: float | None = None
    variety: float | None = None
    quality: float | None = None
    obeyed: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    label: Label
    meaning: str
    advice: str
    because: tuple[str, ...]  # the figures that decided

    def __str__(self) -> str:
        return f"{self.label}: {self.meaning} {self.advice}"


def diagnose(signs: Signs, *, threshold: float = 0.5, has_updates: bool = True) -> Diagnosis:
    """The label that the intervals bear out; "undetermined" where an interval crosses the threshold that decides.
    `has_updates` says whether the concept was trained on its reference images, on which the advice depends."""
    because = [f"F {signs.fidelity.value:.2f}", f"T {signs.alignment.value:.2f}"]
    label = _label(signs, threshold, because)
    return Diagnosis(label, *words_about(label, has_updates=has_updates), tuple(because))


def _label(signs: Signs, threshold: float, because: list[str]) -> Label:
    if signs.quality is not None and signs.quality < BROKEN:  # encoders may find the subject even in broken pictures
        because.append(f"quality {signs.quality:.2f} of the base's")
        return "image collapse"
    like, follows = _side(signs.fidelity, threshold), _side(signs.alignment, threshold)
    if like is None or follows is None:
        because.append("an interval crosses the threshold")
        return "undetermined"
    if like and follows:
        if signs.obeyed is None or signs.obeyed >= threshold:
            return _leaky(signs, because) or "balanced"
        because.append(f"prompts wholly obeyed {signs.obeyed:.2f} of the base's")
    if like:
        if signs.copy is not None and signs.copy > 0.5:
            because.append(f"copy index {signs.copy:.2f}")
            return "memorised"
        return _leaky(signs, because) or "overfit"
    if follows:
        return "underfit"
    if signs.variety is not None and signs.sensitivity is not None and signs.variety < 0.2 and signs.sensitivity < 0.2:
        because += [f"variety {signs.variety:.2f}", f"prompt sensitivity {signs.sensitivity:.2f} of the base's"]
        return "mode collapse"
    return "drift"


def _leaky(signs: Signs, because: list[str]) -> Label | None:
    if signs.leak is None or signs.leak < 0.15 or (signs.masked_gain is not None and signs.masked_gain >= 0):
        return None
    because.append(f"background leak {signs.leak:.2f}")
    return "leaky background"


def _side(interval: Range, threshold: float) -> bool | None:
    if interval.low > threshold:
        return True
    return False if interval.high < threshold else None
