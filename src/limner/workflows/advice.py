"""The next request to try after a diagnosis, and the sentence about it. Nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from limner.bases.common.loading import facts_of
from limner.core.method import Setting, settings
from limner.errors import InputError, UnknownName
from limner.evaluation.diagnose import Diagnosis
from limner.library.settings import checked_settings, limits
from limner.methods import card, find, methods

from .choose_method import choose
from .form import tuned_by
from .requests import LearnRequest

MASKED = "persam"
"""The method for subjects whose background came along: its loss counts inside of the subject's masks alone."""
READS_MASKS = ("break_a_scene", "clic", "detex", "hifi_tuner", "infusion", "lu_prototypical", "perfusion", MASKED)
"""Methods for objects that learn inside of masks."""
PRIOR = 1.0
"""Weight of the loss on class images where a method that has one learned without (DreamBooth, Eq. 2)."""
STRENGTHS = 0.4, 1.5
"""Smallest and largest strength that is advised, as shares of a method's default."""


@dataclass(frozen=True)
class Advice:
    """The next request, and one sentence about the difference to the last one."""

    request: LearnRequest
    sentence: str


Change: TypeAlias = "Callable[[_Case], Advice | None]"


@dataclass(frozen=True)
class _Case:
    """A request with the method and all settings that it leads to."""

    request: LearnRequest
    method: str
    values: Mapping[str, Any]

    def changed(self, sentence: str, values: Mapping[str, Any], **more: Any) -> Advice:
        """The request with these settings changed."""
        chosen = {**self.request.settings, **values}
        return Advice(replace(self.request, method=self.method, settings=chosen, resume=False, **more), sentence)

    def scaled(self, factor: float, kind: str) -> dict[str, Any]:
        """The method's numbers of updates ("steps") or learning rates ("lr"), times a factor, within their limits."""
        names = [name for name in tuned_by(self.method) if name.endswith(kind) and self.values[name]]
        scaled: dict[str, Any] = {}
        for name in names:
            low, high = limits(name)
            value = min(max(self.values[name] * factor, low), high)
            scaled[name] = max(1, round(value)) if kind == "steps" else float(f"{value:.3g}")
        return {name: value for name, value in scaled.items() if value != self.values[name]}


def try_next(request: LearnRequest, diagnosis: Diagnosis | str, *, method: str = "") -> LearnRequest | None:
    """The request of `advise`; None where there is nothing to change."""
    advice = advise(request, diagnosis, method=method)
    return advice.request if advice else None


def advise(request: LearnRequest, diagnosis: Diagnosis | str, *, method: str = "") -> Advice | None:
    """Advise on the next request. Only settings that the method has are changed. None for a concept that is balanced,
    and where nothing is left to change.

    Args:
        request: the request that the concept was learned by.
        diagnosis: the concept's diagnosis, or its label.
        method: the method that it was learned by, where the request leaves the choice to its goal.

    Raises `UnknownName` for an unknown label.
    """
    label = diagnosis.label if isinstance(diagnosis, Diagnosis) else diagnosis
    if label not in CHANGES:
        raise UnknownName("diagnosis", label, CHANGES)
    about: dict[str, Any] = {"base": request.base.name, "goal": request.goal, "kind": request.kind}
    name = request.method or method or choose(**about).method
    values = checked_settings(find(name), request.settings, base=request.base.name)
    case = _Case(request, name, values)
    return next((advice for change in CHANGES[label] if (advice := change(case)) is not None), None)


def _prior(case: _Case) -> Advice | None:
    """Prior preservation on, where the method has it and it is off."""
    if case.values.get("prior_weight", 1.0):
        return None
    return case.changed(
        "Learn beside class images (prior preservation), which keep the model from forgetting the class.",
        {"prior_weight": PRIOR},
    )


def _steps(factor: float, why: str) -> Change:
    return _scale("steps", factor, f"Train for {'fewer' if factor < 1 else 'more'} updates", why)


def _rate(factor: float, why: str) -> Change:
    return _scale("lr", factor, f"Train with a {'lower' if factor < 1 else 'higher'} learning rate", why)


def _scale(kind: str, factor: float, advice: str, why: str) -> Change:
    """A change of the method's numbers of updates ("steps") or learning rates ("lr")."""

    def change(case: _Case) -> Advice | None:
        values = case.scaled(factor, kind)
        if not values:
            return None
        name = kind if kind in values else next(iter(values))
        return case.changed(f"{advice} ({values[name]:.7g} instead of {case.values[name]:.7g}): {why}.", values)

    return change


def _strength(factor: float, why: str) -> Change:
    """A change of the strength with which a method acts that does no updates for the subject, at most to `STRENGTHS`
    times its default."""

    def change(case: _Case) -> Advice | None:
        setting = strength_of(case.method)
        if setting is None or not case.values[setting.name]:
            return None
        least, most = (share * setting.default for share in STRENGTHS)
        low, high = limits(setting.name)
        before = float(case.values[setting.name])
        value = float(f"{min(max(before * factor, least, low), most, high):.3g}")
        if value == before or (value > before) != (factor > 1):
            return None
        word = "larger" if factor > 1 else "smaller"
        sentence = f"Learn with a {word} {setting.name} ({value:g} instead of {before:g}), the {setting.help}: {why}."
        return case.changed(sentence, {setting.name: value})

    return change


def strength_of(method: str) -> Setting | None:
    """The setting that says how strongly a method acts which does no updates for the subject; None where it has none,
    and for methods with updates."""
    if tuned_by(method):
        return None
    numbers = (setting for setting in settings(find(method)) if setting.type is float and setting.default > 0)
    return next((setting for setting in numbers if setting.help.startswith("strength")), None)


def _float32(case: _Case) -> Advice | None:
    """A learning rate divided by ten, in single precision."""
    values = case.scaled(0.1, "lr")
    if not values:
        return None
    base = replace(case.request.base, dtype="float32")
    name = "lr" if "lr" in values else next(iter(values))
    sentence = f"Train in float32 with a tenth of the learning rate ({values[name]:g}): the values broke in training."
    return case.changed(sentence, values, base=base)


def _masks(case: _Case) -> Advice | None:
    """Masks of the subject, by a method that learns inside of them."""
    request, known = case.request, facts_of(case.request.base.name)
    has_segmenter = known.results is not None  # a base with a bench has a segmenter for its subjects
    segment = request.segment if request.segment or has_segmenter else "rembg"
    if case.method in READS_MASKS and segment == request.segment:
        return None
    if case.method in READS_MASKS:
        return case.changed(
            "Cut the subject out of its photos by masks (rembg), so that backgrounds do not count.", {}, segment=segment
        )
    if request.kind not in ("object", "pet"):
        return None
    sentence = (
        f"Learn inside of the subject's masks alone, by {card(find(MASKED)).title}, so that backgrounds do not count."
    )
    return Advice(replace(request, method=MASKED, settings={}, segment=segment, resume=False), sentence)


def _better_method(case: _Case) -> Advice | None:
    """The method with the best results for this kind of subject, where another one was taken."""
    request = case.request
    try:
        best = choose(base=request.base.name, goal="best", kind=request.kind)
    except InputError:
        return None
    if best.method == case.method:
        return None
    title = card(methods()[best.method]).title
    sentence = f"Learn by {title} instead of {card(find(case.method)).title}: {best.why}."
    return Advice(replace(request, method=best.method, settings={}, goal="best", resume=False), sentence)


def _hold_out(case: _Case) -> Advice | None:
    """One reference image more for scoring."""
    if case.request.together or case.request.hold_out:
        return None
    sentence = "Hold out one picture from training, so that the likeness is judged by a picture that it has not seen."
    return Advice(replace(case.request, hold_out=1, resume=False), sentence)


CHANGES: Mapping[str, tuple[Change, ...]] = {
    "balanced": (),
    "overfit": (
        _prior,
        _steps(0.6, "it learned the photos too well to follow prompts"),
        _rate(0.5, "it overfits"),
        _strength(0.75, "the subject leaves prompts too little room"),
    ),
    "memorised": (
        _steps(0.35, "the pictures repeat the photos"),
        _rate(0.3, "the pictures repeat the photos"),
        _strength(0.7, "the pictures repeat the photos"),
    ),
    "leaky background": (
        _masks,
        _steps(0.6, "backgrounds are learned later than the subject"),
        _strength(0.75, "backgrounds come along with the subject"),
    ),
    "underfit": (
        _steps(2.0, "it did not learn enough of the subject"),
        _rate(2.0, "it did not learn enough of the subject"),
        _strength(1.25, "it shows too little of the subject"),
        _better_method,
    ),
    "mode collapse": (
        _rate(0.3, "every prompt gives the same picture"),
        _strength(0.7, "every prompt gives the same picture"),
        _better_method,
    ),
    "image collapse": (_float32, _strength(0.7, "the pictures are broken"), _better_method),
    "drift": (
        _prior,
        _rate(0.5, "the model drifted from what it could paint"),
        _strength(0.75, "the pictures show neither the subject nor the prompt"),
        _better_method,
    ),
    "undetermined": (_hold_out,),
}
"""Label of a diagnosis -> changes to try, the first that applies."""
