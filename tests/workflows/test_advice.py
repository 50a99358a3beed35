"""Each diagnosis leads to a request that can be run, by settings that the method has."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from limner.errors import UnknownName
from limner.evaluation.diagnose import Label, words_about
from limner.library.settings import checked_settings
from limner.methods import find, methods
from limner.workflows.advice import CHANGES, READS_MASKS, advise, strength_of, try_next
from limner.workflows.choose_method import choose
from limner.workflows.form import tuned_by
from limner.workflows.requests import BaseChoice, LearnRequest

LABELS = get_args(Label)


def request(method: str = "lora_dreambooth", **more: Any) -> LearnRequest:
    return LearnRequest(pictures=(Path("rex"),), noun="dog", name="rex", method=method, **more)


def test_every_diagnosis_has_changes() -> None:
    assert set(CHANGES) == set(LABELS)
    assert try_next(request(), "balanced") is None
    with pytest.raises(UnknownName, match="diagnosis"):
        try_next(request(), "tired")


def test_advice_for_every_method_is_a_request_that_differs_and_is_valid() -> None:
    for name in methods():
        for label in LABELS:
            before = request(name)
            advice = advise(before, label)
            if advice is None:
                continue
            assert advice.request != before
            assert advice.sentence.endswith(".")
            checked_settings(find(advice.request.method), advice.request.settings)
            assert LearnRequest.from_json(advice.request.to_json()) == advice.request


@pytest.mark.parametrize(
    ("label", "before", "changed"),
    [
        ("overfit", {"prior_weight": 0.0}, {"prior_weight": 1.0}),
        ("overfit", {"steps": 100}, {"steps": 60}),
        ("memorised", {"steps": 100}, {"steps": 35}),
        ("underfit", {"steps": 100}, {"steps": 200}),
        ("mode collapse", {"lr": 1e-3}, {"lr": 3e-4}),
        ("drift", {"lr": 1e-3}, {"lr": 5e-4}),
    ],
)
def test_a_diagnosis_changes_the_setting_that_helps(
    label: str, before: dict[str, Any], changed: dict[str, Any]
) -> None:
    after = try_next(request(settings=before), label)
    assert after is not None
    assert dict(after.settings) == {**before, **changed}


def test_advice_may_change_more_than_settings() -> None:
    collapsed = try_next(request(base=BaseChoice(dtype="float16"), settings={"lr": 1e-3}), "image collapse")
    assert collapsed is not None
    assert (collapsed.base.dtype, collapsed.settings["lr"]) == ("float32", 1e-4)
    leaky = try_next(request(), "leaky background")
    assert leaky is not None
    assert leaky.method in READS_MASKS
    assert leaky.segment is None  # the base finds the subject itself
    real = try_next(request(base=BaseChoice(name="org/real-base")), "leaky background")
    assert real is not None
    assert real.segment == "rembg"
    unsure = try_next(request(), "undetermined")
    assert unsure is not None
    assert unsure.hold_out == 1
    assert try_next(request(hold_out=1), "undetermined") is None


def test_a_method_without_updates_is_advised_another_strength_and_then_another_method() -> None:
    weak = try_next(request("ip_adapter"), "underfit")
    assert weak is not None
    assert (weak.method, dict(weak.settings)) == ("ip_adapter", {"scale": 1.25})
    strongest = try_next(request("ip_adapter", settings={"scale": 1.5}), "underfit")
    assert strongest is not None
    assert strongest.method == choose(base="pocket", goal="best").method
    copied = try_next(request("elite"), "memorised")
    assert copied is not None
    assert dict(copied.settings) == {"local": 0.56}
    assert strength_of("dreambooth") is None


@pytest.mark.parametrize("label", sorted(set(LABELS) - {"balanced", "undetermined"}))
def test_advice_for_methods_without_updates_speaks_of_no_training(label: str) -> None:
    for name in methods():
        advice = advise(request(name), label)
        if advice is not None and not tuned_by(name) and advice.request.method == name:
            assert not re.search("updates|learning rate|steps|float32", advice.sentence), (name, advice.sentence)
    finding, advice_words = words_about(label, has_updates=False)
    assert finding
    assert not re.search(r"steps|learning rate|[Tt]rain for", advice_words)


def test_a_choice_by_goal_is_resolved_to_the_method_that_was_taken() -> None:
    after = advise(request("", goal="balanced"), "underfit", method="dreambooth")
    assert after is not None
    assert after.request.method == "dreambooth"
    assert "160 instead of 80" in after.sentence


def test_the_methods_for_objects_that_read_masks_are_listed() -> None:
    modules = {name: sys.modules[find(name).__module__] for name in methods()}
    objects = {name: vars(module) for name, module in modules.items() if ".methods.object." in module.__name__}
    assert {name for name, names in objects.items() if {"subject_masks", "propagated_masks"} & set(names)} == set(
        READS_MASKS
    )
