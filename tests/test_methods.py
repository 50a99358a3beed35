"""The same questions to every method.

All questions to one method share what it learned once: `learned_once` of tests/conftest.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.method import settings
from limner.core.recipe import Recipe
from limner.core.regions import region_masks
from limner.core.subject import Subject
from limner.engine.attach import attach
from limner.engine.regions import Layout
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import card, methods
from limner.parts.attention import kept_to_regions

from .helpers import (
    MEANINGS,
    PAINTED,
    Learned,
    adapter,
    base_latents,
    begun_weights,
    deaf,
    has_trained_weights,
    learn_fast,
    meaning,
    paint_latents,
    person,
    same,
    state,
    untouched,
)

REPRESENTATIVE = ("textual_inversion", "lora_dreambooth", "custom_diffusion", "ip_adapter", "stylealigned")
"""A word, weights, both, pre-trained, training-free: `make test-quick` asks these alone."""
MECHANISMS = (
    *REPRESENTATIVE,
    # words: of layers and times, in a subspace without gradients, locked keys, prefixes, two at once
    *("neti", "gradient_free_ti", "perfusion", "catversion", "dreamartist"),
    # weights: whole ones, rotations, singular values, neurons, adapters between layers, of pairs
    *("dreambooth", "oft", "svdiff", "cones", "styledrop", "pair_customization"),
    # stages: one behind the other, early stops, maps of attention; pools and rewards have tests of their own
    *("break_a_scene", "dvar", "magictailor"),
    # encoders: features for words, gated layers, a reference network, predicted weights, first trained and then tuned
    *("fastcomposer", "instantbooth", "suti", "hyperdreambooth", "e4t", "face_diffuser"),
    # conditions and places: control branches, grounding, a further channel, collages
    *("instantid", "subject_diffusion", "anydoor"),
    # sampling alone: inverted sources, guidance, parallel streams; regions, relations
    *("freecontrol", "portrait_diffusion", "mix_of_show", "reversion"),
)
"""A method or more of each mechanism: `make test` asks these every contract, and the others those that cost little."""


def asked(names: list[str], *, sweep: bool = False, cheap: bool = False) -> pytest.MarkDecorator:
    """Ask each of these methods; all but the representative ones are marked, so that they can be left out.

    sweep: whether `make test` asks the five of REPRESENTATIVE alone: questions about what another one also runs
    cheap: whether `make test` asks every method, and not those of MECHANISMS alone
    """

    def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
        if name in REPRESENTATIVE:
            return ()
        in_test = cheap or (name in MECHANISMS and not sweep)
        return (pytest.mark.every_method,) if in_test else (pytest.mark.every_method, pytest.mark.sweep)

    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name), id=name) for name in names])


TUNED = [name for name, function in methods().items() if function(Subject("<rex>", "dog")).tuning]
UNTUNED = [name for name in methods() if name not in TUNED]
EVERY, EVERY_IN_A_SWEEP = asked(list(methods())), asked(list(methods()), sweep=True)
EVERY_AT_ONCE = asked(list(methods()), cheap=True)
EVERY_TUNED, EVERY_TUNED_IN_A_SWEEP = asked(TUNED), asked(TUNED, sweep=True)
EVERY_UNTUNED, EVERY_UNTUNED_IN_A_SWEEP = asked(UNTUNED), asked(UNTUNED, sweep=True)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person()


@pytest.fixture
def rex(request: pytest.FixtureRequest, base: Any, rex: Subject, ada: Subject) -> Subject:
    """The toy; under the same handle a person for methods of faces alone, and a captioned relation or action for
    methods of meanings alone. Weights that did not come with limner are there."""
    name = request.node.callspec.params["name"]
    begun_weights(name, base)
    return ada if for_faces(name) else meaning(name) if name in MEANINGS else rex


@cache
def others(*, faces: bool) -> tuple[Subject, Subject]:
    """Two more people, or toys."""
    from limner.pocket.subjects import toy

    return (person(2_000_079), person(2_000_005)) if faces else (toy("car", 2_000_021), toy("boat", 2_000_022))


@pytest.fixture
def another(request: pytest.FixtureRequest) -> Subject:
    """Another toy of the class, or another person for methods of faces alone."""
    from limner.pocket.subjects import toy

    return person(2_000_079) if for_faces(request.node.callspec.params["name"]) else toy("dog", 2_000_099, count=3)


def for_faces(name: str) -> bool:
    """Whether a method is for faces before anything else."""
    return card(methods()[name]).scope[0] == "face"


@EVERY
def test_the_base_comes_back_bit_for_bit(base: Any, learned_once: Callable[[str], Learned], name: str) -> None:
    learned = learned_once(name)
    assert learned.base_unchanged
    before = state(base)
    limner.paint(base, "<rex> on the beach", concepts=[learned.concept], settings=limner.PaintSettings(steps=1))
    assert same(state(base), before)
    assert untouched(base)


@EVERY_AT_ONCE
def test_the_base_comes_back_after_an_exception(base: Any, rex: Subject, name: str) -> None:
    before = state(base)
    with pytest.raises(ZeroDivisionError), attach(base, [adapter(base, name, rex)]):
        raise ZeroDivisionError
    assert same(state(base), before)
    assert untouched(base)


@EVERY_AT_ONCE
def test_its_card_names_the_conditions_that_it_reads(base: Any, rex: Subject, name: str) -> None:
    """The studio refuses other conditions before a picture is queued."""
    with attach(base, [adapter(base, name, rex)]) as adapted:
        assert set(card(methods()[name]).reads) == adapted.painting_reads | adapted.may_read


@EVERY_TUNED
def test_losses_are_finite_and_every_learning_tensor_moves(
    base: Any, rex: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    adapted, learned = adapter(base, name, rex), learned_once(name)
    with attach(base, [adapted]) as dressed:
        learning = {key for stage in adapted.recipe.tuning for selection in stage.train for key in selection(dressed)}
        assert same(dressed.tensors, learned.start)
    first = starting_values(base, learned)
    assert learned.concept.losses
    assert all(math.isfinite(loss) for loss in learned.concept.losses)
    assert learning <= first.keys()
    still = [key for key in learning if first[key].equal(learned.tensors[key])]
    silent = deaf(base)
    assert len(silent) < 2
    assert not [key for key in still if not any(name in key or _normed(name) in key for name in silent)]


def starting_values(base: Any, learned: Learned) -> dict[str, Tensor]:
    """The tensors before the first update: the adapter's own, and the base's weights where those learn."""
    return {
        key: learned.start[key]
        if key in learned.start
        else base.module(key.split(".")[0]).get_parameter(key.partition(".")[2])
        for key in learned.tensors
    }


def _normed(name: str) -> str:
    """The norm before an attention layer of this name."""
    return name.replace("attn", "norm") + "."


@EVERY_UNTUNED
def test_the_same_reference_images_make_the_same_concept(
    base: Any, rex: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    assert same(learned_once(name).concept.tensors, learn_fast(base, name, rex).tensors)


@EVERY_TUNED_IN_A_SWEEP
def test_another_seed_teaches_another_concept_and_abandoned_it_leaves_the_base_alone(
    base: Any, rex: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    before, adapted, learned = state(base), adapter(base, name, rex), learned_once(name)
    running = train(base, adapted, stages=adapted.recipe.tuning, seed=1)
    if same(learned.first.tensors, next(running).snapshot().tensors):  # no rate yet, for example
        *_, last = (progress.snapshot().tensors if progress.last else {} for progress in running)
        assert not same(learned.tensors, last)
    running.close()
    assert same(state(base), before)
    assert untouched(base)


@EVERY_TUNED
def test_resumed_equals_uninterrupted(
    base: Any, rex: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    """With the same seed, so that this is also: the same seed teaches the same concept."""
    adapted, learned = adapter(base, name, rex), learned_once(name)
    running = train(base, adapted, stages=adapted.recipe.tuning, seed=0, start=learned.first)
    *_, last = (progress.snapshot().tensors if progress.last else {} for progress in running)
    assert same(last, learned.tensors)


@EVERY
def test_saved_and_loaded_it_paints_the_same(
    base: Any, learned_once: Callable[[str], Learned], name: str, tmp_path: Path
) -> None:
    learned = learned_once(name)
    loaded = limner.Concept.load(learned.concept.save(tmp_path / "rex.safetensors"))
    assert paint_latents(base, loaded).equal(learned.latents)
    assert loaded.header == learned.concept.header


@EVERY
def test_at_scale_zero_it_is_the_base_reading_the_same_words(
    base: Any, rex: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    concept = learned_once(name).concept
    adapted = adapter_of(concept, base, scale=0.0)
    with attach(base, [adapted]) as dressed:
        prompt = dressed.expand_prompt(PAINTED)
    if rex.handle in prompt:
        prompt = prompt.replace(rex.handle, str(_starts_as(base, adapted.recipe)))
    for part in adapted.recipe.modifiers:  # a second word of the subject
        like, word = getattr(part, "like", None), getattr(part, "word", rex.handle)
        prompt = prompt.replace(word, like) if isinstance(like, str) else prompt
    assert paint_latents(base, concept, 0.0).equal(base_latents(base, prompt))


@EVERY_IN_A_SWEEP
def test_at_half_scale_it_lies_between(base: Any, learned_once: Callable[[str], Learned], name: str) -> None:
    """A picture at half the strength is nearer to both ends than the ends are to each other; or half a strength is
    refused. A change so large that its half paints the same is as far from one end as the other end is, and a little
    more; random weights, where none came with limner, lead further away."""
    learned = learned_once(name)
    half = paint_at_half_scale(base, learned.concept)
    if half is not None:
        off = paint_latents(base, learned.concept, 0.0)
        most = (1.1 if has_trained_weights(name, base) else 1.4) * (learned.latents - off).norm()
        assert 0 < (half - off).norm() < most
        assert 0 < (half - learned.latents).norm() < most


def _starts_as(base: Any, recipe: Recipe) -> str:
    word: Any = recipe.modifiers[0]
    given = getattr(word, "like", None) or word.noun
    like = given if isinstance(given, str) else given(base)
    # of no number, a vector for each token of the noun
    return " ".join([like] * (getattr(word, "num_vectors", 1) or 1))


def paint_at_half_scale(base: Any, concept: limner.Concept) -> Tensor | None:
    """Latents of a picture; None where the method says that it has no strength between 0 and 1."""
    try:
        return paint_latents(base, concept, 0.5)
    except InputError as error:
        if "it can be attached at scale 0 or 1, not 0.5" not in str(error):
            raise
        return None


@EVERY_IN_A_SWEEP
def test_three_subjects_in_one_prompt_are_painted_or_refused(base: Any, rex: Subject, name: str) -> None:
    """Three concepts of a method, without regions and with two: a picture, or an error that says why not."""
    more = others(faces=for_faces(name))
    if name in MEANINGS:
        more = (meaning(name, "bo"), meaning(name, "kit"))
    subjects = (rex, *(replace(s, handle=handle) for s, handle in zip(more, ("<bo>", "<kit>"), strict=True)))
    adapters = [replace(adapter(base, name, subject), noun=subject.noun) for subject in subjects]
    masks = region_masks(
        {"rex": "left third", "bo": "right third"}, handles=("<rex>", "<bo>"), size=base.latent_shape[1:]
    )
    once = limner.PaintSettings(steps=1)
    for layout in (None, Layout(masks, operations=(kept_to_regions(),))):
        refusal = ""
        try:
            with torch.no_grad(), attach(base, adapters) as adapted:
                *_, last = sample(adapted, ["<rex> and <bo> and <kit>"], seeds=[1], settings=once, layout=layout)
            assert bool(last.latents.isfinite().all())
        except InputError as error:
            refusal = str(error)
        assert not refusal or any(part in refusal for part in ("<bo>", "<rex> has a way", "two of these concepts"))
        assert ".beside." not in refusal
    assert untouched(base)


@EVERY_TUNED_IN_A_SWEEP
def test_what_was_learned_changes_the_picture(base: Any, learned_once: Callable[[str], Learned], name: str) -> None:
    """The same recipe with its tensors as they were before the first update paints another picture, beyond rounding."""
    learned = learned_once(name)
    start = starting_values(base, learned) | {
        key: tensor for key, tensor in learned.start.items() if key not in learned.tensors
    }
    tensors = {key: start[key].detach().clone() for key in learned.concept.tensors}
    untaught = paint_latents(base, replace(learned.concept, tensors=tensors))
    assert float((untaught - learned.latents).norm() / untaught.norm()) > VISIBLE


VISIBLE = 1e-3
"""Share of a picture's latents that three updates move at least; two ways to the same sums differ by 1e-6."""


@EVERY_UNTUNED_IN_A_SWEEP
def test_without_learning_the_reference_images_change_the_picture(
    base: Any, another: Subject, learned_once: Callable[[str], Learned], name: str
) -> None:
    """A method that learns nothing of a subject reads it: another one of the class paints another picture."""
    other = learn_fast(base, name, another)
    latents = learned_once(name).latents
    assert float((paint_latents(base, other) - latents).norm() / latents.norm()) > VISIBLE


@EVERY_AT_ONCE
def test_every_setting_has_type_default_and_help(name: str) -> None:
    function: Callable[..., Recipe] = methods()[name]
    for setting in settings(function):
        assert isinstance(setting.default, setting.type)
        assert setting.help
    about = card(function)
    assert about.year >= 2020
    assert about.scope


def test_the_methods_that_make_test_asks_are_there_and_varied() -> None:
    assert set(MECHANISMS) <= set(methods())
    assert len(set(MECHANISMS)) == len(MECHANISMS)
    recipes = [methods()[name](Subject("<rex>", "dog")) for name in MECHANISMS]
    every = [function(Subject("<rex>", "dog")) for function in methods().values()]
    assert {recipe.framework for recipe in recipes} == {recipe.framework for recipe in every}
    assert {card(methods()[name]).scope[0] for name in MECHANISMS} == {card(f).scope[0] for f in methods().values()}


def test_frameworks_follow_from_where_stages_learn() -> None:
    found = {name: function(Subject("<rex>", "dog")).framework for name, function in methods().items()}
    assert found["textual_inversion"] == found["dreambooth"] == "test-time fine-tuning"
    assert found["ip_adapter"] == "pre-trained adaptation"
    assert found["stylealigned"] == "training-free"


def test_a_method_is_better_than_the_base_by_its_margin_or_marked_experimental() -> None:
    """The page of every method states the lower end of F's interval in results/bench.json, or says that it is
    experimental."""
    from docs.standing import BENCH, MARGIN

    summary = json.loads(BENCH.read_text())["summary"]
    for name in methods():
        page = (BENCH.parent.parent / "docs" / "methods" / f"{name}.md").read_text()
        low = summary[name]["numbers"]["F"]["low"] if name in summary else -math.inf
        assert ("**Experimental**" in page) == (low < MARGIN), name
        assert (f"Better than the base alone: F is at least {low:.2f}" in page) == (low >= MARGIN), name


def test_only_an_interval_above_the_margin_counts_as_better() -> None:
    from docs.standing import verdict

    assert verdict({"low": 0.31, "mean": 0.4, "high": 0.5}).startswith("Better than the base alone: F is at least 0.31")
    for fidelity in (None, {"low": -0.1, "mean": 0.4, "high": 0.9}, {"low": 0.04, "mean": 0.05, "high": 0.06}):
        assert verdict(fidelity).startswith("**Experimental**")
