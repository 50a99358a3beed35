"""Several adapters at once: each is known by its place, and adapters that exclude each other are refused with the
reason."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limner
from limner.core.concept import Concept
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.errors import FileError, InputError, PromptError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.guidance import between
from limner.parts.modifiers import low_rank, new_word
from limner.pocket.subjects import toy
from tests.helpers import same, state, untouched

HOW = PaintSettings(steps=2)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [toy(noun, 2_000_020 + k, name=f"rex{'abc'[k]}", count=1) for k, noun in enumerate(("dog", "car", "teapot"))]


def changed(base: Any, seed: int, handle: str, *, weights: str = "", scale: float = 1.0) -> Adapter:
    """A low-rank change that does something, equal to every other of its kind but for its tensors."""
    change, draw = low_rank(2, "cross_attention_kv"), torch.Generator().manual_seed(seed)
    with attach(base, (Adapter(Recipe("dog", (change,)), handle),)) as adapted:
        stored = {name: 0.3 * torch.randn(t.shape, generator=draw) for name, t in adapted.live[change].tensors.items()}
    shipped = frozenset(stored) if weights else frozenset()
    return Adapter(Recipe("dog", (change,), weights=weights or None), handle, stored, scale, shipped=shipped)


def seen(base: Any) -> torch.Tensor:
    """A base's prediction for fixed latents."""
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([500])
    with torch.no_grad():
        out: torch.Tensor = base.predict(x, time, base.text_states(["a dog"], words={}), context=Pass(time=time))
    return out


def test_two_equal_modifiers_are_two(base: Any) -> None:
    first, second = changed(base, 1, "<a>"), changed(base, 2, "<b>")
    assert first.recipe.modifiers == second.recipe.modifiers
    plain, alone = seen(base), []
    for adapter in (first, second):
        with attach(base, (adapter,)):
            alone.append(seen(base))
    before = state(base)
    with attach(base, (first, second)) as adapted:
        both = seen(base)
        assert len(adapted.live.values()) == 2
        for places, wanted in (((), plain), ((0,), alone[0]), ((1,), alone[1]), ((0, 1), both)):
            with adapted.only(*places):
                assert torch.equal(seen(base), wanted)
                with adapted.suspended():
                    assert torch.equal(seen(base), plain)
                    with adapted.only(0, 1):
                        assert torch.equal(seen(base), both)
                assert torch.equal(seen(base), wanted)
        assert torch.equal(seen(base), both)
        with pytest.raises(InputError, match="no adapter at place 2"), adapted.only(2):
            pass
    assert not torch.equal(both, alone[0])
    assert same(state(base), before)
    assert untouched(base)


def test_words_and_parameters_are_those_of_the_places(base: Any) -> None:
    name = next(name for name in base.select("cross_attention_kv"))
    value = base.select("cross_attention_kv")[name].detach().clone()
    adapters = [
        Adapter(Recipe(f"<{k}>", (new_word(f"<{k}>", "dog"),)), f"<{k}>", {name: value + 1 + n}, noun="dog")
        for n, k in enumerate("ab")
    ]
    with attach(base, adapters) as adapted:

        def now() -> torch.Tensor:
            found: torch.Tensor = base.select("cross_attention_kv")[name].detach().clone()
            return found

        assert torch.allclose(now(), value + 3, atol=1e-5)
        with adapted.only(1):
            assert list(adapted.words) == ["<b>"]
            assert adapted.expand_prompt("<a> and <b>") == "dog and <b>"
            assert torch.equal(now(), value + 2)
            with adapted.suspended():
                assert torch.equal(now(), value)
        assert torch.allclose(now(), value + 3, atol=1e-5)
        assert list(adapted.words) == ["<a>", "<b>"]
    assert torch.equal(base.select("cross_attention_kv")[name], value)


def test_before_subjects_are_worn_the_base_paints_alone(base: Any) -> None:
    how = PaintSettings(steps=4, subject_from=0.5)
    first = []
    for adapters in ((), (changed(base, 1, "<a>"), changed(base, 2, "<b>"))):
        with torch.no_grad(), attach(base, adapters) as adapted:
            first.append(next(sample(adapted, ["a dog"], seeds=[0], settings=how)).latents)
    assert torch.equal(*first)


def test_a_shared_pretrained_change_acts_once(base: Any) -> None:
    """Shared weights act at the largest strength; weights that a subject's training changed cannot be shared."""
    first = changed(base, 1, "<a>", weights="shared")
    second = replace(first, handle="<b>", recipe=replace(first.recipe))
    weak, tuned = replace(second, scale=0.5), replace(second, shipped=frozenset(), tuned=first.shipped)
    with attach(base, (first,)):
        wanted = seen(base)
    for adapters in ((first, second), (first, weak), (weak, first)):
        with attach(base, adapters) as adapted:
            adapted.check_together()
            assert torch.equal(seen(base), wanted)
            with adapted.only(1):
                assert [live.on for live in adapted.live.values()] == [False, True]
    with (
        attach(base, (first, tuned)) as adapted,
        pytest.raises(InputError, match="<a> and <b> were both trained from one"),
    ):
        adapted.check_together()


def test_a_change_that_three_share_acts_once(base: Any) -> None:
    """In the strongest of three, whichever place it has; and in the strongest of those that act."""
    first = changed(base, 1, "<a>", weights="shared")
    with attach(base, (first,)):
        wanted = seen(base)
    for strongest in range(3):
        three = tuple(
            replace(first, handle=f"<{k}>", scale=1.0 if n == strongest else 0.5) for n, k in enumerate("abc")
        )
        with attach(base, three) as adapted:
            adapted.check_together()
            assert torch.equal(seen(base), wanted)
            assert [live.on for live in adapted.live.values()] == [k == strongest for k in range(3)]
            with adapted.only(*(k for k in range(3) if k != strongest)):
                assert sum(live.on for live in adapted.live.values()) == 1
                assert not torch.equal(seen(base), wanted)


@pytest.mark.parametrize("name", ["re_imagen", "bootpig", "elite"])
def test_the_methods_share_theirs(base: Any, subjects: list[Subject], name: str) -> None:
    concepts = [limner.learn(base, subject, method=name) for subject in subjects[:2]]
    with attach(base, [adapter_of(concept, base) for concept in concepts]) as adapted:
        shared = [
            live.on
            for live in adapted.live.every()
            if live.tensors and live.tensors.keys() <= adapted.adapters[0].shipped
        ]
        assert sorted(shared) == [False, True]
    if name != "elite":
        with pytest.raises(InputError, match="each guide by themselves; only one such concept"):
            limner.paint(base, f"{concepts[0].handle} and {concepts[1].handle}", concepts=concepts, settings=HOW)
    assert untouched(base)


@pytest.mark.parametrize("name", ["instantbooth", "elite"])
def test_two_words_of_pictures_are_both_read(base: Any, subjects: list[Subject], name: str) -> None:
    """The pictures of both matter, and the order of attaching does not change a subject's place in the prompt."""
    a, b, c = (limner.learn(base, subject, method=name) for subject in subjects)
    other = replace(a, tensors=c.tensors)  # under the first's name, another subject's pictures
    prompt = f"{a.handle} and {b.handle} on the beach"
    shown = [limner.paint(base, prompt, concepts=pair, settings=HOW)[0] for pair in ((a, b), (other, b), (b, a))]
    assert shown[0].image.tobytes() != shown[1].image.tobytes()
    far = np.abs(np.asarray(shown[0].image, dtype=int) - np.asarray(shown[2].image, dtype=int))
    near = np.abs(np.asarray(shown[0].image, dtype=int) - np.asarray(shown[1].image, dtype=int))
    assert far.mean() < near.mean()
    assert untouched(base)


def test_a_learned_word_beside_a_word_of_pictures_is_read(base: Any, subjects: list[Subject]) -> None:
    pictures = limner.learn(base, subjects[0], method="umm_diffusion")
    word = limner.learn(base, subjects[1], method="textual_inversion", steps=1, batch=1)
    moved = replace(word, tensors={name: -t for name, t in word.tensors.items()})
    prompt = f"{pictures.handle} and {word.handle}"
    shown = [limner.paint(base, prompt, concepts=[pictures, w], settings=HOW)[0].image.tobytes() for w in (word, moved)]
    assert shown[0] != shown[1]


def test_words_that_vary_by_layer_compose(base: Any, subjects: list[Subject]) -> None:
    a, b = (limner.learn(base, subject, method="p_plus", steps=1, batch=1) for subject in subjects[:2])
    moved = replace(a, tensors={name: -t for name, t in a.tensors.items()})
    prompt = f"{a.handle} and {b.handle}"
    shown = [limner.paint(base, prompt, concepts=[x, b], settings=HOW)[0].image.tobytes() for x in (a, moved)]
    assert shown[0] != shown[1]


def test_what_rewrites_a_whole_prompt_has_it_alone(base: Any, subjects: list[Subject]) -> None:
    a, b = (limner.learn(base, subject, method="hiper", steps=1) for subject in subjects[:2])
    with pytest.raises(PromptError, match=f"{a.handle} and {b.handle} each rewrite all that is read"):
        limner.paint(base, f"{a.handle} and {b.handle}", concepts=[a, b], settings=HOW)
    assert limner.paint(base, [f"a {a.handle}", f"a {b.handle}"], concepts=[a, b], settings=HOW)
    assert untouched(base)


def test_what_has_no_strength_is_worn_whole_or_not_at_all(base: Any, subjects: list[Subject]) -> None:
    style, panel = (limner.learn(base, subjects[0], method=name) for name in ("stylealigned", "diptych_prompting"))
    shown = [
        limner.paint(base, "a red car", concepts=[style], scale=s, settings=HOW)[0].image.tobytes() for s in (0.5, 1)
    ]
    assert shown[0] != shown[1]
    with pytest.raises(InputError, match="can be attached at scale 0 or 1, not 0.5"):
        limner.paint(base, panel.handle, concepts=[panel], scale=0.5, settings=HOW)
    other = limner.learn(base, subjects[1], method="diptych_prompting")
    with pytest.raises(InputError, match="each change what is denoised"):
        limner.paint(base, panel.handle, concepts=[panel, other], settings=HOW)


def test_two_recipes_cannot_have_one_branch(base: Any) -> None:
    recipes = [Recipe("dog", painting=Painting(branches={"plain": plain})) for plain in (str, str.lower)]
    adapters = [Adapter(recipe, handle) for recipe, handle in zip(recipes, ("<a>", "<b>"), strict=True)]
    with attach(base, adapters) as adapted, pytest.raises(InputError, match="a branch 'plain' of their own"):
        adapted.check_together()


def test_recipes_share_an_equal_guidance_and_its_branch(base: Any) -> None:
    first, second = between("negative"), between("negative")
    same, other = (Painting(guidance=(part,), branches={"plain": str}) for part in (first, second))
    for painting, refused in ((same, False), (other, True)):
        recipes = [Recipe("dog", painting=same), Recipe("dog", painting=painting)]
        adapters = [Adapter(recipe, handle) for recipe, handle in zip(recipes, ("<a>", "<b>"), strict=True)]
        refusal = pytest.raises(InputError, match="each guide by themselves") if refused else nullcontext()
        with attach(base, adapters) as adapted, refusal:
            assert adapted.guidance == (first,)


def test_a_concept_knows_the_weights_it_stands_on(
    base: Any, subjects: list[Subject], monkeypatch: Any, tmp_path: Path
) -> None:
    concept = limner.learn(base, subjects[0], method="ip_adapter")
    assert len(concept.weights["ip_adapter"]) == 16
    assert Concept.load(concept.save(tmp_path / "rex.safetensors")).weights == concept.weights
    monkeypatch.setattr("limner.core.weights.mark", lambda *_: "anew")
    with pytest.raises(
        FileError, match="stands on pre-trained weights of ip_adapter with hash .*, and those here have anew"
    ):
        adapter_of(concept, base)
    assert adapter_of(replace(concept, weights={}), base)  # a concept from before they were recorded


def test_changes_of_one_weight_add_up(base: Any, subjects: list[Subject]) -> None:
    """Where two concepts change the same weight, neither hides the other."""
    recipe = methods()["lycoris_loha"](subjects[0])
    adapters = []
    for k in range(2):
        draw = torch.Generator().manual_seed(k)
        with attach(base, (Adapter(recipe, "<a>"),)) as adapted:
            stored = {n: 0.2 * torch.randn(t.shape, generator=draw) for n, t in adapted.tensors.items()}
        adapters.append(Adapter(recipe, f"<{k}>", stored))
    shown = []
    for order in ([adapters[0]], [adapters[1]], adapters, adapters[::-1]):
        with attach(base, order):
            shown.append(seen(base))
    assert torch.allclose(shown[2], shown[3], atol=1e-4)
    assert not torch.allclose(shown[2], shown[0], atol=1e-2)
    assert not torch.allclose(shown[2], shown[1], atol=1e-2)
    assert untouched(base)
