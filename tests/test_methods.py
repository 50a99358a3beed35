"""The same questions to every method."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.core.method import settings
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.checkpoint import run_to_end
from limner.engine.train import train
from limner.library.opening import adapter_of
from limner.methods import card, methods

from .helpers import begun_weights, deaf, fast, person, same, state, untouched

EVERY = pytest.mark.parametrize("name", list(methods()))
TUNED = [name for name, function in methods().items() if function(Subject("<rex>", "dog")).tuning]
QUICK = limner.PaintSettings(steps=3)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person()


@pytest.fixture
def rex(request: pytest.FixtureRequest, base: Any, rex: Subject, ada: Subject) -> Subject:
    """The toy, or a person under the same handle for methods of faces alone. Weights that did not come with limner are there."""
    name = request.node.callspec.params["name"]
    begun_weights(name, base)
    return ada if card(methods()[name]).scope[0] == "face" else rex


def adapter(base: Any, name: str, rex: Subject, **more: Any) -> Adapter:
    recipe = methods()[name](rex, **fast(methods()[name], **more))
    return Adapter(recipe, rex.handle, shipped(recipe.weights, base) if recipe.weights else {})


def learned(base: Any, name: str, rex: Subject, **more: Any) -> limner.Concept:
    return limner.learn(base, rex, method=name, **fast(methods()[name], **more))


@EVERY
def test_the_base_comes_back_bit_for_bit(base: Any, rex: Subject, name: str) -> None:
    before = state(base)
    concept = learned(base, name, rex)
    assert same(state(base), before)
    assert untouched(base)
    limner.paint(base, "<rex> on the beach", concepts=[concept], settings=QUICK)
    assert same(state(base), before)
    assert untouched(base)


@pytest.mark.parametrize("name", TUNED)
def test_the_base_comes_back_when_teaching_is_abandoned(base: Any, rex: Subject, name: str) -> None:
    before, adapted = state(base), adapter(base, name, rex)
    running = train(base, adapted, stages=adapted.recipe.tuning, seed=0)
    next(running)
    running.close()
    assert same(state(base), before)
    assert untouched(base)


@EVERY
def test_the_base_comes_back_after_an_exception(base: Any, rex: Subject, name: str) -> None:
    before = state(base)
    with pytest.raises(ZeroDivisionError), attach(base, [adapter(base, name, rex)]):
        raise ZeroDivisionError
    assert same(state(base), before)
    assert untouched(base)


@pytest.mark.parametrize("name", TUNED)
def test_losses_are_finite_and_every_learning_tensor_moves(base: Any, rex: Subject, name: str) -> None:
    adapted = adapter(base, name, rex)
    with attach(base, [adapted]) as dressed:
        first = {key: tensor.detach().clone() for key, tensor in dressed.tensors.items()}
        learning = {key for stage in adapted.recipe.tuning for selection in stage.train for key in selection(dressed)}
    for progress in train(base, adapted, stages=adapted.recipe.tuning, seed=0):
        assert math.isfinite(progress.loss)
        last = progress.snapshot().tensors
    first |= {
        key: base.module(key.split(".")[0]).get_parameter(key.partition(".")[2]) for key in last if key not in first
    }
    assert learning <= first.keys()
    still = [key for key in learning if first[key].equal(last[key])]
    silent = deaf(base)
    assert len(silent) < 2
    assert not [key for key in still if not any(name in key or _normed(name) in key for name in silent)]


def _normed(name: str) -> str:
    """The norm before an attention layer of this name."""
    return name.replace("attn", "norm") + "."


@EVERY
def test_the_same_seed_teaches_the_same_concept(base: Any, rex: Subject, name: str) -> None:
    first, second = learned(base, name, rex), learned(base, name, rex)
    assert same(first.tensors, second.tensors)
    assert first.losses == second.losses


@pytest.mark.parametrize("name", TUNED)
def test_another_seed_teaches_another_concept(base: Any, rex: Subject, name: str) -> None:
    other = limner.learn(base, rex, method=name, seed=1, **fast(methods()[name]))
    assert not same(learned(base, name, rex).tensors, other.tensors)


@pytest.mark.parametrize("name", TUNED)
def test_resumed_equals_uninterrupted(base: Any, rex: Subject, name: str) -> None:
    adapted = adapter(base, name, rex)
    stages = adapted.recipe.tuning
    whole, _ = run_to_end(base, adapted, stages, 0, header={})
    running = train(base, adapted, stages=stages, seed=0)
    point = next(running).snapshot()
    running.close()
    *_, last = ((p.snapshot().tensors) for p in train(base, adapted, stages=stages, seed=0, start=point))
    assert same(last, whole)


@EVERY
def test_saved_and_loaded_it_paints_the_same(base: Any, rex: Subject, name: str, tmp_path: Path) -> None:
    concept = learned(base, name, rex)
    loaded = limner.Concept.load(concept.save(tmp_path / "rex.safetensors"))
    first, second = (
        limner.paint(base, "<rex> in the snow", concepts=[c], seed=3, settings=QUICK) for c in (concept, loaded)
    )
    assert first[0].image.tobytes() == second[0].image.tobytes()
    assert loaded.header == concept.header


@EVERY
def test_worn_at_scale_zero_it_is_the_base_reading_the_same_words(base: Any, rex: Subject, name: str) -> None:
    concept = learned(base, name, rex)
    adapted = adapter_of(concept, base, scale=0.0)
    with attach(base, [adapted]) as dressed:
        said = dressed.expand_prompt("a photo of <rex> in the city")
    if rex.handle in said:
        said = said.replace(rex.handle, str(_starts_as(base, adapted.recipe)))
    off = limner.paint(base, "a photo of <rex> in the city", concepts=[concept], scale=0.0, seed=5, settings=QUICK)
    bare = limner.paint(base, said, seed=5, settings=QUICK)
    assert off[0].image.tobytes() == bare[0].image.tobytes()


def _starts_as(base: Any, recipe: Recipe) -> str:
    word: Any = recipe.modifiers[0]
    given = getattr(word, "like", None) or word.noun
    like = given if isinstance(given, str) else given(base)
    return " ".join([like] * getattr(word, "num_vectors", 1))


@EVERY
def test_wearing_it_changes_the_picture(base: Any, rex: Subject, name: str) -> None:
    concept = learned(base, name, rex, steps=6, lr=0.01)
    with_it = limner.paint(base, "<rex> in the city", concepts=[concept], seed=5, settings=QUICK)
    without = limner.paint(base, "<rex> in the city", concepts=[concept], scale=0.0, seed=5, settings=QUICK)
    assert with_it[0].image.tobytes() != without[0].image.tobytes()


@EVERY
def test_every_setting_has_type_default_and_help(name: str) -> None:
    function: Callable[..., Recipe] = methods()[name]
    for setting in settings(function):
        assert isinstance(setting.default, setting.type)
        assert setting.help
    about = card(function)
    assert about.year >= 2020
    assert about.scope


def test_frameworks_follow_from_where_stages_learn() -> None:
    found = {name: function(Subject("<rex>", "dog")).framework for name, function in methods().items()}
    assert found["textual_inversion"] == found["dreambooth"] == "test-time fine-tuning"
    assert found["ip_adapter"] == "pre-trained adaptation"
    assert found["stylealigned"] == "training-free"
