"""Checks of a method's settings, and of a subject's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from limner.bases.common.loading import facts_of
from limner.core.method import Card, settings
from limner.errors import InputError, UnknownName

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject


def checked_settings(
    function: Callable[..., Recipe], given: Mapping[str, Any], *, base: str = "pocket"
) -> dict[str, Any]:
    """All settings of a method: the given ones, and defaults for the others.

    function: the method
    given: name -> value
    base: name of the base; on a full-size one, the `full_size` values of the method's card replace the signature's
        defaults

    Raises `InputError` for an unknown name, and for a value of the wrong type or outside its limits.
    """
    known = {setting.name: setting for setting in settings(function)}
    chosen = {name: setting.default for name, setting in known.items()}
    about: Card | None = getattr(function, "card", None)
    if about is not None and facts_of(base).full_size:
        chosen |= about.full_size
    for name, value in given.items():
        if name not in known:
            raise UnknownName(f"setting of {function.__name__}", name, known)
        chosen[name] = check_setting(name, value, known[name].type)
    return chosen


LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1_000_000), "lr": (0, 10), "batch": (1, 4096), "rank": (1, 4096), "vectors": (1, 64),
    "num_class_pictures": (1, 100_000), "prior_weight": (0, 1000), "scale": (0, 10), "tokens": (1, 256),
    "blocks": (0, 1024), "search_from": (0, 1000), "candidates": (1, 256), "cycles": (1, 10_000), "demonstrations": (0, 1024), "dims": (1, 1024),
    "estimate": (1, 1024), "experts": (1, 4096), "factor": (1, 1024), "heads": (1, 256), "hidden": (1, 16_384), "released_heads": (0, 256),
    "layers": (1, 256), "negative_vectors": (1, 64), "neighbours": (0, 1024), "packed": (1, 64), "population": (4, 4096),
    "projector": (1, 16_384), "prompts": (1, 10_000), "queries": (1, 1024), "references": (1, 64), "mixed": (1, 64), "repeats": (1, 10_000), "stages": (1, 1024),
    "states": (1, 1024), "tuning": (0, 1_000_000), "units": (0, 1_000_000), "width": (1, 16_384), "window": (1, 1_000_000),
    "words": (0, 4096), "people": (1, 4096), "path": (1, 1000), "forgetting": (0, 1e12),
    "num_fisher_pictures": (1, 10_000), "ewc_weight": (0, 1e6), "guide_start": (0, 1), "guide_end": (0, 1),
    "samples": (2, 1024), "top": (1, 1024), "openness": (0, 1000), "auxiliary_weight": (0, 1000),
    "patches": (1, 64), "hyper_width": (1, 16_384), "scene_batch": (1, 4096), "reward_batch": (1, 4096),
    "ground_batch": (1, 4096), "global_tokens": (1, 256), "local_tokens": (1, 256), "first_tokens": (1, 64),
    "second_tokens": (1, 64), "third_tokens": (1, 64), "channels": (1, 16_384), "slots": (1, 256),
    "captions": (1, 1_000_000), "questions": (1, 1024), "loss_scale": (0, 1e6), "tries": (1, 1000),
    "forward_strength": (0, 1), "low_picture": (0, 4096), "middle_picture": (0, 4096),
    "high_picture": (0, 4096), "global_queries": (0, 1024), "local_queries": (1, 1024), "decoder_layers": (1, 256),
    "positives": (1, 56), "bias": (0, 1), "suppressed": (0, 1), "floor": (0, 1), "blocked": (0, 1),
    "attribute_words": (1, 4096), "object_words": (1, 4096), "top_words": (1, 4096),
    "pictures": (1, 1024), "chosen": (1, 1024), "crops": (1, 1024), "smoothing": (0, 0.99), "log_snr": (-50, 50),
    "epsilon": (1, 255), "step_size": (0.01, 255), "semantic_weight": (0, 1000),
    "deviation": (0.01, 50), "components": (1, 4096), "colours": (1, 4096), "unit": (1, 4096),
}  # fmt: skip
"""Name of a setting -> least and greatest value. Names that end in `_lr` or `_steps` have the limits of `lr` and
`steps`, but zero steps are allowed."""


MOST = 1e6
"""Greatest absolute value of a number without limits of its own."""


def limits(name: str) -> tuple[float, float]:
    """Least and greatest value of a numeric setting."""
    if name.endswith("_steps"):
        return 0, LIMITS["steps"][1]
    return LIMITS["lr"] if name.endswith("_lr") else LIMITS.get(name, (-MOST, MOST))


def check_setting(name: str, value: Any, kind: type) -> Any:
    """A setting's value, checked and converted to its type.

    name: the setting's name, which decides its limits
    value: the given value
    kind: the setting's type

    Raises `InputError` for a value of another type, and for a number that is outside its limits or not finite.
    """
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name} must be of type {kind.__name__}, not {str(value)[:100]!r}")
    low, high = limits(name)
    number: Any = value if kind in (int, float) else low
    positive = name == "lr" or name.endswith("_lr")
    if not low <= number <= high or (positive and number == 0 and kind is float):
        least = "above" if positive else "at least"
        raise InputError(f"{name} must be {least} {low:g} and at most {high:g}, not {str(value)[:100]}")
    return value


def check_word(subject: Subject, base: Base) -> None:
    """Raise `InputError` when the subject's name is a word that the base already knows.

    Only bases that know few words are checked: the vocabulary of a full-size text encoder holds most short names.
    """
    if base.capabilities.known_words is None:
        return
    known = base.vocabulary & base.capabilities.known_words() - set(base.rare_words)
    if subject.name in known:
        raise InputError(
            f"the name {subject.name!r} is a word that {base.name} knows; choose a name without a meaning, such as 'rex'"
        )
