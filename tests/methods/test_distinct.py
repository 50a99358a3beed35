"""The distinct property of each method, as its paper promises it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import References
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.attention import adain
from tests.helpers import fast, learn_fast, same, state

QUICK = limner.PaintSettings(steps=3)


def changed_while_worn(base: Any, concept: limner.Concept) -> set[str]:
    before = state(base)
    with attach(base, [adapter_of(concept, base)]):
        after = state(base)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_textual_inversion_is_one_vector_and_leaves_other_prompts_alone(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "textual_inversion", rex, vectors=1)
    assert {name: tuple(t.shape) for name, t in concept.tensors.items()} == {
        "word.<rex>": (1, base.word_vectors("dog").shape[1])
    }
    assert not changed_while_worn(base, concept)
    adapted, bare = (limner.paint(base, "a red car", concepts=c, seed=1, settings=QUICK) for c in ([concept], []))
    assert adapted[0].image.tobytes() == bare[0].image.tobytes()


MIRRORED = (
    *("textual_inversion", "dreamartist", "neti", "prospect", "gradient_free_ti", "compositional_inversion"),
    *("break_a_scene", "perfusion", "infusion"),
)


@pytest.mark.parametrize("name", MIRRORED)
def test_methods_on_textual_inversions_data_mirror_half_of_the_pictures(base: Any, rex: Subject, name: str) -> None:
    draw = methods()[name](rex, batch=30).stages[0].loss[0].source.prepare(base)
    latents = draw(0, streams(0, 0)).latents
    own, mirrored = (base.encode(p)[0] for p in (rex.tensor(base.picture_size), rex.tensor(base.picture_size).flip(-1)))
    every = torch.cat([own, mirrored])
    nearest = torch.cdist(latents.flatten(1), every.flatten(1)).argmin(1)
    assert 5 < int((nearest >= len(own)).sum()) < 25


def test_a_word_of_several_vectors_takes_several_places(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "textual_inversion", rex, vectors=3)
    words = {"<rex>": concept.tensors["word.<rex>"]}
    assert len(words["<rex>"]) == 3
    assert base.num_tokens("a <rex> dog", words=words) == 2 + 3


def test_dreambooth_changes_the_denoiser_and_no_word(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "dreambooth", rex)
    assert all(name.startswith("denoiser.") for name in concept.tensors)
    assert changed_while_worn(base, concept) <= set(concept.tensors)
    assert len(changed_while_worn(base, concept)) > 0.9 * len(concept.tensors)


def test_dreambooth_learns_from_both_halves_and_the_class_half_is_the_untouched_base(base: Any, rex: Subject) -> None:
    recipe = methods()["dreambooth"](rex, **fast(methods()["dreambooth"]))
    own, prior = (term.source for term in recipe.stages[0].loss)
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        said = adapted.expand_prompt(own.prepare(base)(0, streams(0, 0, 0)).prompts[0])
    assert said.split()[-1] == "dog"
    assert said.split()[-2] in base.rare_words
    drawn = prior.prepare(base)
    batch = drawn(0, streams(0, 0, 0))
    assert set(batch.prompts) == {"a photo of a dog"}
    painted = limner.PaintSettings(batch=32)
    with torch.no_grad(), attach(base, []) as bare:
        for at in sample(bare, ["a photo of a dog"] * 2, seeds=range(2), settings=painted):
            latents = at.latents
    assert all(any(torch.allclose(row, want, atol=1e-5) for want in latents) for row in batch.latents)


def test_without_a_prior_weight_there_is_no_class_half(rex: Subject) -> None:
    for name in ("dreambooth", "lora_dreambooth", "custom_diffusion"):
        recipe = methods()[name](rex, prior_weight=0.0)
        assert [term.source.learns_from for term in recipe.stages[0].loss] == ["subject"]
        assert not recipe.notes


def test_lora_starts_as_the_base_and_is_small(base: Any, rex: Subject) -> None:
    recipe = methods()["lora_dreambooth"](rex, **fast(methods()["lora_dreambooth"]))
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        ups = [t for name, t in adapted.tensors.items() if name.endswith(".up")]
        assert all(not t.any() for t in ups)
        states, x, t = adapted.text_states(["a dog"]), torch.randn(1, *base.latent_shape), torch.tensor([500])
        dressed = base.predict(x, t, states, context=adapted.run(time=t))
    with attach(base, []) as bare:
        assert torch.equal(dressed, base.predict(x, t, states, context=bare.run(time=t)))
    small = learn_fast(base, "lora_dreambooth", rex, rank=4)
    assert small.num_bytes < 0.05 * learn_fast(base, "dreambooth", rex).num_bytes


def test_lora_changes_attention_and_locon_convolutions_as_well(base: Any, rex: Subject) -> None:
    """Without any setting, the first is the published DreamBooth-LoRA and the second LoCon (arXiv:2309.14859)."""

    def layers(name: str) -> set[str]:
        with attach(base, [Adapter(methods()[name](rex), rex.handle)]) as adapted:
            return {key.removeprefix("low_rank.").rsplit(".", 1)[0] for key in adapted.tensors}

    assert layers("lora_dreambooth") == set(base.projections("attention"))
    assert layers("lycoris_locon") == set(base.projections("everything")) > layers("lora_dreambooth")


def test_lora_adds_a_matrix_of_its_rank(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "lora_dreambooth", rex, rank=2, layers="attention")
    name = next(n.removesuffix(".up") for n in concept.tensors if n.endswith(".up"))
    change = concept.tensors[f"{name}.up"] @ concept.tensors[f"{name}.down"]
    assert torch.linalg.matrix_rank(change) <= 2
    assert change.abs().sum() > 0


def test_custom_diffusion_changes_keys_values_and_its_word_alone(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "custom_diffusion", rex)
    allowed = set(base.select("cross_attention_kv"))
    assert set(concept.tensors) == allowed | {"word.<rex>"}
    assert changed_while_worn(base, concept) == allowed


def test_custom_diffusion_shows_its_pictures_at_sizes_that_captions_name(
    base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ramp from 0.63 at the top to 1: grey is the canvas, which the loss leaves out, and an enlarged picture shows
    a part of the ramp."""
    ramp = np.tile(np.linspace(160, 255, 128).astype(np.uint8)[:, None, None], (1, 128, 3))
    subject = Subject.of([Image.fromarray(ramp)], noun="dog", handle="rex")
    draw = methods()["custom_diffusion"](subject, batch=32).stages[0].loss[0].source.prepare(base)
    encoded: list[torch.Tensor] = []

    def encode(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.append(pixels)
        return torch.zeros(len(pixels), *base.latent_shape), torch.zeros(len(pixels), *base.latent_shape)

    monkeypatch.setattr(base, "encode", encode)
    batches = [draw(step, streams(0, "photos", 0, step)) for step in range(8)]
    texts = [text for batch in batches for text in batch.prompts]
    masks = torch.cat([batch.mask for batch in batches if batch.mask is not None])
    counts = torch.nn.functional.interpolate(masks, (128, 128))[:, 0] > 0
    kinds = dict.fromkeys(("small", "large", "whole"), 0)
    for picture, where, text in zip(torch.cat(encoded)[:, 0], counts, texts, strict=True):
        shown = picture[picture > 0.56]
        rise = float(shown.max() - shown.min())
        if text.startswith(("very small photo", "a far away photo")):
            kinds["small"] += 1
            assert 1 / 9 - 0.01 < (picture > 0.56).float().mean() < 0.36 + 0.01
            assert where.any()
            assert picture[where].min() > 0.6
        else:
            large = text.startswith(("zoomed in photo", "close up photo"))
            kinds["large" if large else "whole"] += 1
            assert where.all()
            assert rise < 0.373 / 1.2 + 0.01 if large else rise > 0.36
            assert large or text == "photo of a <rex>"
    assert min(kinds.values()) > 0.15 * len(texts)


def test_ip_adapter_trains_projector_and_new_keys_alone(base: Any, rex: Subject) -> None:
    recipe = methods()["ip_adapter"](Subject("<nobody>", "toy"), batch=2, steps=2)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        chosen = recipe.stages[0].train[0](adapted)
    assert all(name.startswith("image.") for name in chosen)
    kinds = {name.rsplit(".", 1)[1] for name in chosen if ".attn" in name}
    assert kinds == {"key", "value"}
    assert not recipe.tuning


def test_ip_adapter_starts_from_the_text_keys_and_values(base: Any) -> None:
    recipe = methods()["ip_adapter"](Subject("<nobody>", "toy"))
    site = next(site for site in base.sites if site.kind == "cross")
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        assert torch.equal(adapted.tensors[f"image.{site.name}.key"], base.key_value(site)[0].weight)


def test_ip_adapter_sees_the_subject(base: Any, rex: Subject) -> None:
    """Another toy's pictures paint another picture; nothing is learned for either."""
    from limner.pocket.subjects import toy

    other = toy("dog", 2_000_099)
    pictures = [
        limner.paint(base, "<rex> on the beach", concepts=[learn_fast(base, "ip_adapter", s)], seed=1, settings=QUICK)[
            0
        ]
        for s in (rex, other)
    ]
    assert pictures[0].image.tobytes() != pictures[1].image.tobytes()


def test_ip_adapter_drops_a_picture_as_a_zero_embedding(base: Any, rex: Subject) -> None:
    recipe = methods()["ip_adapter"](rex)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, shipped("ip_adapter", base))]) as adapted:
        x, t = torch.randn(2, *base.latent_shape), torch.tensor([500, 500])
        states = adapted.text_states(["a dog", "a dog"])
        pixels = rex.tensor(base.picture_size)[:2]
        off = torch.tensor([True, True])
        runs = [adapted.run(time=t, references=References(p[:, None], dropped=off)) for p in (pixels, 1 - pixels)]
        first, second = (base.predict(x, t, states, context=run) for run in runs)
        seen = base.predict(x, t, states, context=adapted.run(time=t, references=References(pixels[:, None])))
    assert torch.equal(first, second)
    assert not torch.equal(first, seen)


def test_stylealigned_rows_depend_on_the_reference_and_not_on_siblings(base: Any, rex: Subject) -> None:
    from limner.pocket.subjects import toy

    concepts = [learn_fast(base, "stylealigned", subject) for subject in (rex, toy("dog", 2_000_099, count=1))]
    prompts = ["a red car in a <rex>", "a blue boat in a <rex>", "a teapot in a <rex>"]
    how = limner.PaintSettings(steps=3, batch=8)
    with torch.no_grad(), attach(base, [adapter_of(concepts[0], base)]) as adapted:
        *_, three = sample(adapted, prompts, seeds=[1, 2, 3], settings=how)
        *_, alone = sample(adapted, prompts[1:2], seeds=[2], settings=how)
    with torch.no_grad(), attach(base, [adapter_of(concepts[1], base)]) as adapted:
        *_, other = sample(adapted, prompts[1:2], seeds=[2], settings=how)
    with torch.no_grad(), attach(base, []) as bare:
        *_, plain = sample(bare, ["a blue boat in a dog"], seeds=[2], settings=how)
    assert torch.allclose(three.latents[1], alone.latents[0], atol=1e-4)
    for unlike in (other, plain):
        assert (alone.latents - unlike.latents).norm() > 0.02 * alone.latents.norm()


def test_adain_takes_on_the_reference_statistics() -> None:
    x, reference = torch.randn(2, 3, 50, 4) * 3 + 1, torch.randn(2, 3, 50, 4) * 0.5 - 2
    out = adain(x, reference)
    assert torch.allclose(out.mean(2), reference.mean(2), atol=1e-4)
    assert torch.allclose(out.std(2), reference.std(2), atol=1e-3)


def test_a_companion_that_attends_to_itself_twice_is_as_if_alone(base: Any, rex: Subject) -> None:
    """The reference row's attention over two copies of its own keys is its attention over one, whatever the shift."""
    from limner.bases.common.attention import attend
    from limner.core.types import AttentionCall, Pass
    from limner.parts.attention import shared_reference

    query, key, value = (torch.randn(2, 2, 5, 4) for _ in range(3))
    site = next(site for site in base.sites if site.kind == "self")

    def call(reference_stream: bool) -> AttentionCall:
        hidden = torch.zeros(2, 5, 8)
        run = Pass(reference_stream=reference_stream)
        return AttentionCall(site, torch.nn.Identity(), hidden, hidden, query, key, value, run)

    shared = attend(shared_reference(shift=1.3)(call(True)))
    assert torch.allclose(shared[0], attend(call(False))[0], atol=1e-5)
    assert not torch.allclose(shared[1], attend(call(False))[1], atol=1e-3)


@pytest.mark.parametrize("name", ["lora_dreambooth", "textual_inversion"])
def test_two_concepts_are_worn_at_once(base: Any, rex: Subject, name: str) -> None:
    from limner.pocket.subjects import toy

    tom = toy("cat", 2_000_031, name="tom")
    both = [learn_fast(base, name, rex), learn_fast(base, name, tom)]
    before = state(base)
    picture = limner.paint(base, "<rex> and <tom> in a meadow", concepts=both, seed=1, settings=QUICK)[0]
    alone = limner.paint(base, "<rex> and a cat in a meadow", concepts=both[:1], seed=1, settings=QUICK)[0]
    assert picture.image.tobytes() != alone.image.tobytes()
    assert same(state(base), before)


def test_teaching_resumes_in_the_middle_of_the_second_stage(base: Any, rex: Subject) -> None:
    from limner.core.recipe import Recipe, Stage
    from limner.parts.modifiers import low_rank, new_word
    from limner.parts.objectives import denoising
    from limner.parts.parameters import learned as tensors_of
    from limner.parts.parameters import words
    from limner.parts.sources import photos

    word, change = new_word(rex.handle, like="dog"), low_rank(2)
    loss = (denoising(photos(rex, batch=2)),)
    stages = (Stage((words(word),), loss, steps=2, lr=1e-2), Stage((tensors_of(change),), loss, steps=3, lr=1e-2))
    adapted = Adapter(Recipe(says=rex.handle, modifiers=(word, change), stages=stages), rex.handle)
    points = [p.snapshot() for p in train(base, adapted, stages=stages)]
    for point in points[:-1]:
        *_, last = (p.snapshot().tensors for p in train(base, adapted, stages=stages, start=point))
        assert same(last, points[-1].tensors)
