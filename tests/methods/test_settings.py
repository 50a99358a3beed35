"""Settings of methods on full-size bases: in the method's own file, with their source, and none left out."""

from __future__ import annotations

from typing import Any

import pytest

from limner.core.method import method, settings
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.library.settings import checked_settings
from limner.methods import card, methods, protections


@pytest.mark.parametrize("name", [*methods(), *protections()])
def test_every_setting_has_a_value_for_full_size_bases_or_is_marked_the_same(name: str) -> None:
    function = {**methods(), **protections()}[name]
    about = card(function)
    own = {setting.name: setting.default for setting in settings(function)}
    uncovered = set(own) - set(about.full_size) - set(about.same)
    assert not uncovered, f"{name}: in neither full_size nor same"
    assert about.full_size_source
    same = [key for key, value in about.full_size.items() if value == own[key]]
    assert not same, f"{name}: equal to the default, so they belong into same="
    expected = checked_settings(function, about.full_size)  # within the limits
    assert checked_settings(function, {}, base="stable-diffusion-v1-5") == expected == own | dict(about.full_size)
    assert checked_settings(function, {}, base="pocket") == own


WIDER = (
    *("re_imagen", "suti", "umm_diffusion", "instantbooth", "domain_agnostic", "kim_sod_cnn", "dreamtuner", "elite"),
    "e4t",
)
"""Methods whose networks, trained once, have widths of their own, which suit the features of a small base."""


@pytest.mark.parametrize("name", WIDER)
def test_networks_trained_once_are_wider_for_a_full_size_base(base: Any, name: str) -> None:
    function, numbers = methods()[name], []
    for other in ("pocket", "stable-diffusion-v1-5"):
        recipe = function(Subject("<nobody>", "toy"), **checked_settings(function, {}, base=other))
        with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
            learning = {key: t for part in recipe.pretraining[-1].train for key, t in part(adapted).items()}
            numbers.append(sum(t.numel() for t in learning.values()))
    assert numbers[1] > 1.5 * numbers[0]


def test_given_settings_come_before_both() -> None:
    found = checked_settings(methods()["dreambooth"], {"steps": 7}, base="other")
    assert (found["steps"], found["lr"]) == (7, 5e-6)


def recipe(subject: Subject, *, steps: int = 3) -> Recipe:
    """A recipe of nothing.

    Settings:
        steps: updates
    """
    return Recipe(says=subject.noun)


@pytest.mark.parametrize(
    ("full_size", "same", "source", "message"),
    [
        ({"lr": 1e-3}, (), "ours", "no setting 'lr'"),
        ({}, ("rank",), "ours", "no setting 'rank'"),
        ({"steps": 5}, ("steps",), "ours", "twice"),
        ({"steps": 5}, (), "", "no source="),
    ],
)
def test_a_card_that_cannot_be_right_is_refused(
    full_size: dict[str, float], same: tuple[str, ...], source: str, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        method(title="Nothing", scope=("object",), full_size=full_size, same=same, source=source)(recipe)


def test_a_method_of_your_own_needs_none() -> None:
    mine = method(title="Nothing", scope=("object",))(recipe)
    assert checked_settings(mine, {}, base="other") == {"steps": 3}
