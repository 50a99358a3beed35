"""A multimodal language model as an encoder, and what makes each of the methods that read through one itself."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import limner
import limner.data.prepare
from limner.core.capabilities import NONE
from limner.core.pixels import to_images
from limner.core.recipe import Recipe
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.engine.train import Update, begin_update, train
from limner.errors import FileError, InputError, PromptError
from limner.methods import methods
from limner.parts.attention import followed_subject, keep_maps
from limner.parts.attention.followed import FOLLOWED, averaged, noun_places
from limner.parts.encoders.multimodal import PICTURE, Multimodal, multimodal, opened
from limner.parts.fusion import explain
from limner.parts.fusion.query_states import explained
from limner.parts.modifiers.states import changed_states, tensors_of
from limner.parts.objectives import refinement
from limner.pocket import corpus as toys
from limner.pocket.judges import WEIGHTS
from limner.pocket.subjects import toy
from tests.helpers import same, state

refining = import_module("limner.parts.objectives.refinement")

QUICK = PaintSettings(steps=3)
NOBODY = Subject("<nobody>", "toy")


@pytest.fixture(scope="module")
def reader(base: Any) -> Multimodal:
    return multimodal(base)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus that is drawn at once."""
    monkeypatch.setattr(toys, "INDIVIDUALS", 8)


def pixels_of(subject: Subject, count: int = 1) -> Tensor:
    return subject.tensor(128)[:count]


def adapter(base: Any, name: str, subject: Subject, **settings: Any) -> Adapter:
    recipe = methods()[name](subject, **settings)
    return Adapter(recipe, subject.handle, shipped(name, base))


# ---------------------------------------------------------------------------------------------------------- the encoder


def test_states_are_those_of_transformers_own_pass(reader: Multimodal, rex: Subject) -> None:
    pixels, text = pixels_of(rex), f"a photo of {PICTURE} on the beach"
    with torch.no_grad():
        states, mask = reader.states(reader.vectors([text], reader.seen(pixels)))
        ids = reader.tokenizer(text.replace(PICTURE, PICTURE * reader.places), add_special_tokens=False).input_ids
        whole = torch.tensor([[reader.tokenizer.bos_token_id, *ids]])
        normal = (pixels - reader.mean) / reader.std
        out = reader.model(input_ids=whole, pixel_values=normal, output_hidden_states=True)
    assert mask.all()
    torch.testing.assert_close(states, out.hidden_states[-1])
    torch.testing.assert_close(reader.logits(states), out.logits)


def test_it_reads_from_left_to_right_and_padding_is_not_read(reader: Multimodal, rex: Subject) -> None:
    seen = reader.seen(pixels_of(rex, 2)[[0, 1]])
    texts = [f"a photo of {PICTURE} in the snow", f"a photo of {PICTURE} in the snow , from the side"]
    with torch.no_grad():
        alone, _ = reader.states(reader.vectors(texts[:1], seen[:1]))
        both, mask = reader.states(reader.vectors(texts, seen[[0, 0]]))
        other, _ = reader.states(reader.vectors(texts[:1], seen[1:]))
    length = alone.shape[1]
    assert mask.sum(1).tolist() == [length, both.shape[1]]
    torch.testing.assert_close(both[0, :length], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[1, :length], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other[0, :4], alone[0, :4])  # before the picture
    assert (other[0, -1] - alone[0, -1]).abs().max() > 0.01  # and behind it


def test_the_likelihood_is_transformers_own_loss(reader: Multimodal) -> None:
    text, answer = "a photo of a dog :", "a red dog on the beach"
    loss, share = reader.likelihood([text], [answer], None)
    before = [reader.tokenizer.bos_token_id, *reader.ids(text)]
    behind = [*reader.ids(answer), reader.tokenizer.eos_token_id]
    labels = torch.tensor([[-100] * len(before) + behind])
    with torch.no_grad():
        out = reader.model(input_ids=torch.tensor([before + behind]), labels=labels)
    torch.testing.assert_close(loss, out.loss)
    assert 0 <= share <= 1


def test_low_rank_changes_begin_as_none_and_are_undone(reader: Multimodal) -> None:
    vectors, factors = reader.vectors(["a dog"], None), reader.factors(2, stream(0, "factors"))
    plain, _ = reader.states(vectors)
    with reader.changed(factors):
        torch.testing.assert_close(reader.states(vectors)[0], plain, atol=0, rtol=0)
    factors = {name: torch.ones_like(tensor) for name, tensor in factors.items()}
    with reader.changed(factors):
        assert not reader.states(vectors)[0].allclose(plain)
    torch.testing.assert_close(reader.states(vectors)[0], plain, atol=0, rtol=0)


def test_it_says_what_toys_are_that_it_never_saw(reader: Multimodal) -> None:
    from limner.pocket.world import CORE, describe, draw, individual, references

    who = [individual(CORE.classes[k % 8], 1_009_000 + k, patterns=CORE.patterns) for k in range(16)]
    pixels = draw([references(one, 1)[0] for one in who]).pixels.float() / 255
    said = reader.captions(pixels)
    words = [set(text.replace(",", "").split()) for text in said]
    assert sum(one.kind in text for one, text in zip(who, words, strict=True)) >= 10  # 2 by chance
    colours = [len(set(one.colours[:2]) & text) for one, text in zip(who, words, strict=True)]
    assert sum(colours) >= 12  # out of the first two of each; 5 by chance
    asked = [reader.asked("new picture", prompt=f"a {one.kind} on the beach", noun=one.kind) for one in who]
    told = reader.says(reader.vectors(asked, reader.seen(pixels)))
    assert all("beach" in text for text in told)
    assert sum(describe(one) in text for one, text in zip(who, told, strict=True)) >= 1  # one in 400 by chance
    recorded = json.loads((WEIGHTS / "multimodal" / "training.json").read_text())
    assert recorded["losses"][-1]["loss"] < 0.2 * recorded["losses"][0]["loss"]


def _tiny(kind: str, folder: Path, tokens: Any) -> None:
    """A LLaVA or BLIP-2 of random weights, as transformers writes it."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8}
    shared = {"vocab_size": len(tokens), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "llava":
        text = {"model_type": "llama", "intermediate_size": 32, **shared}
        config = LlavaConfig(
            vision_config={"model_type": "clip_vision_model", **vision}, text_config=text, image_token_index=597
        )
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    else:
        text = {"model_type": "opt", "ffn_dim": 32, "word_embed_proj_dim": 32, "max_position_embeddings": 128, **shared}
        former = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        former |= {"encoder_hidden_size": 32, "vocab_size": 30}
        about = Blip2Config(vision_config=vision, qformer_config=former, text_config=text, num_query_tokens=5)
        Blip2ForConditionalGeneration(about).save_pretrained(folder)
    tokens.chat_template = None
    tokens.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))


@pytest.mark.parametrize(("kind", "places"), [("llava", 16), ("blip-2", 5)])
def test_other_families_go_through_the_same_code(
    kind: str, places: int, tmp_path: Path, base: Any, rex: Subject
) -> None:
    from training.pocket.multimodal import tokenizer

    _tiny(kind, tmp_path, tokenizer())
    found = opened(str(tmp_path))
    assert (found.places, found.width, found.size) == (places, 32, 32)
    assert found.asked("caption").startswith(PICTURE)
    states, _ = found.states(found.vectors([f"a photo of {PICTURE}"], found.seen(pixels_of(rex))))
    assert states.shape == (1, 1 + 3 + places, 32)
    assert isinstance(found.captions(pixels_of(rex))[0], str)
    recipe = methods()["kosmos_g"](rex, model=str(tmp_path))
    fusion = recipe.modifiers[0]
    assert isinstance(fusion, changed_states)
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        features = tensors_of(adapted, fusion)["features"]
    assert features.shape == (1, 3, places, 32)


def test_a_base_of_ones_own_needs_a_model_of_ones_own(base: Any) -> None:
    mine = copy.copy(base)
    mine.capabilities = NONE
    with pytest.raises(InputError, match="name one by folder or hub id"):
        multimodal(mine)
    with pytest.raises(FileError, match="cannot be opened as a multimodal model"):
        opened(str(WEIGHTS / "dino"))


def test_learn_can_ask_it_for_captions(rex: Subject) -> None:
    told = limner.data.prepare.prepared(rex, caption="pocket")
    assert all("<rex>" in picture.caption for picture in told.pictures)


# ------------------------------------------------------------------------------------------------------------- Kosmos-G


def stage_of(base: Any, name: str, number: int, **settings: Any) -> Iterator[tuple[Any, Update]]:
    """The attached recipe of pre-training, and the first update of one of its stages."""
    recipe = methods()[name](NOBODY, batch=4, **settings)
    with attach(base, [Adapter(recipe, "<nobody>", shipped(name, base))]) as adapted:
        source = recipe.stages[number].loss[0].source
        update = begin_update(Update, adapted, source, source.prepare(base), 0, number, 0)
        update.together = [update]
        yield recipe, update


def gradients(adapted: Any, recipe: Recipe, value: Callable[[], Tensor]) -> dict[str, float]:
    """The size of each learning tensor's gradient; -1 where it has none."""
    learning = recipe.stages[0].train[0](adapted)
    for tensor in learning.values():
        tensor.requires_grad_(True)
    value().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return {name: -1.0 if t.grad is None else float(t.grad.abs().max()) for name, t in learning.items()}


def test_no_stage_of_kosmos_g_touches_the_denoiser(base: Any, few: None) -> None:
    before = state(base)
    recipe = methods()["kosmos_g"](NOBODY, align_steps=1, steps=1, batch=2)
    for progress in train(base, Adapter(recipe, "<nobody>"), stages=recipe.pretraining):
        assert same(state(base), before)
        assert not [name for name in progress.snapshot().tensors if name.startswith("denoiser")]


def test_each_stage_of_kosmos_g_teaches_its_own(base: Any, few: None) -> None:
    for number in (0, 1):
        for recipe, update in stage_of(base, "kosmos_g", number):
            term, *_ = recipe.stages[number].loss
            found = gradients(update.adapted, recipe, functools.partial(term.value, update))
            aligned, language = "states.kosmos_g.onto", "states.kosmos_g.language."
            assert found[aligned] > 0
            assert all((size > 0) == (number == 0) for name, size in found.items() if ".again." in name)
            assert any(size > 0 for name, size in found.items() if name.startswith(language)) == (number == 1)


@pytest.mark.parametrize("name", ["kosmos_g", "cafe"])
def test_of_texts_alone_both_make_what_the_text_tower_makes(base: Any, reader: Multimodal, name: str) -> None:
    """Each text's hidden states are nearest to the text encoder's for that text, at less than a quarter of the distance
    between those of two texts."""
    from limner.pocket.world import caption, sample

    texts = sorted({caption(sample(700_000_000 + k, split="dev")) for k in range(24)})
    recipe = methods()[name](NOBODY)
    (fusion,) = recipe.modifiers
    assert isinstance(fusion, changed_states)
    net: Any = _writer(fusion)
    asked = [net.text(reader, text, "<nobody>", "", shown=False) for text in texts]
    with torch.no_grad(), attach(base, [Adapter(recipe, "<nobody>", shipped(name, base))]) as adapted:
        made = net.states(tensors_of(adapted, fusion), reader, asked, None)
        wanted = base.text_states(texts, words={})
    apart = (made[:, None] - wanted[None]).square().mean((-1, -2))
    assert apart.argmin(1).tolist() == list(range(len(texts)))
    assert apart.diagonal().mean() < 0.25 * (wanted - wanted.mean(0)).square().mean()


def test_each_vector_is_counted_with_its_token(reader: Multimodal) -> None:
    text = f"a photo of {PICTURE} on the beach"
    seen = torch.zeros(1, reader.places, reader.width)
    counted = reader.counted([text, "a dog"])
    assert counted.shape == (2, len(reader.vectors([text], seen)[0]))
    assert counted[0].tolist() == [0, 1, 2, 3, *[4] * reader.places, 5, 6, 7]
    assert counted[1, :4].tolist() == [0, 1, 2, 0]


def test_states_of_all_layers_keep_what_was_read(reader: Multimodal) -> None:
    """Their mean is nearer to the token's own vector than the last layer's states are."""
    vectors = reader.vectors(["a photo of a red spotted dog on the beach"], None)
    near = []
    for every in (False, True):
        states, _ = reader.states(vectors, of_all_layers=every)
        near.append(F.cosine_similarity(states[0], vectors[0]).mean())
    assert near[1] > near[0] + 0.1


def _writer(fusion: Any) -> Any:
    """The writer inside of a change of states."""
    return next(cell.cell_contents for cell in fusion.making.__closure__ if hasattr(cell.cell_contents, "states"))


@pytest.mark.parametrize("name", ["kosmos_g", "cafe"])
def test_the_picture_is_read_and_the_text_towers_states_are_not(base: Any, rex: Subject, name: str) -> None:
    subjects = rex, toy("dog", 1_000_050, count=1)
    found = []
    for subject in subjects:
        with torch.no_grad(), attach(base, [adapter(base, name, subject)]) as adapted:
            run = adapted.run(time=torch.tensor([500]), prompts=("a photo of <rex> on the beach",), step=0)
            for seed in (0, 1):
                states = torch.randn(1, *base.states_shape, generator=stream(seed, "states"))
                run.cache.clear()
                base.predict(torch.zeros(1, *base.latent_shape), run.time, states, context=run)
                found.append(run.cache[id(adapted.adapters[0].recipe.modifiers[0])])
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)
    assert (found[0] - found[2]).abs().mean() > 0.01


def test_the_picture_stands_where_the_word_was(reader: Multimodal) -> None:
    net = _writer(methods()["kosmos_g"](NOBODY).modifiers[0])
    said = "a photo of <rex> on the beach"
    assert net.text(reader, said, "<rex>", "dog", shown=True) == f"a photo of {PICTURE} on the beach"
    assert net.text(reader, said, "<rex>", "dog", shown=False) == "a photo of a dog on the beach"
    assert net.text(reader, "", "<rex>", "dog", shown=True) == PICTURE


def test_kosmos_g_reads_each_subject_of_a_prompt_at_its_place(base: Any, reader: Multimodal, rex: Subject) -> None:
    """Beside the aligner on the whole text, with the pictures in the order of their handles put in by hand."""
    tom = replace(toy("cat", 1_000_050, count=2), handle="<tom>")
    adapters = [adapter(base, "kosmos_g", subject) for subject in (rex, tom)]
    fusions: list[Any] = [one.recipe.modifiers[0] for one in adapters]
    prompts = "<tom> and <rex> in a park", "a photo of <rex> and <tom>"
    with torch.no_grad(), attach(base, adapters) as adapted:
        at = torch.tensor([500, 500])
        run = adapted.run(time=at, prompts=prompts, step=0)
        states = adapted.text_states(prompts)
        base.predict(torch.zeros(2, *base.latent_shape), at, states, context=run)
        own = tensors_of(adapted, fusions[0])
        mine, theirs = (tensors_of(adapted, fusion)["features"][0] for fusion in fusions)  # three pictures, and two
        texts = [f"{PICTURE} and {PICTURE} in a park", f"a photo of {PICTURE} and {PICTURE}"]
        net = _writer(fusions[0])
        wanted = [
            net.states(own, reader, texts, [torch.stack([theirs[j], mine[k]]), torch.stack([mine[k], theirs[j]])])
            for k, j in enumerate((0, 1, 0))
        ]
    for fusion in fusions:
        torch.testing.assert_close(run.cache[id(fusion)], sum(wanted) / 3, atol=1e-5, rtol=1e-4)


def test_cafe_reads_one_subject_in_a_prompt(base: Any, rex: Subject) -> None:
    adapters = [adapter(base, "cafe", subject) for subject in (rex, replace(toy("cat", 1_000_050), handle="<tom>"))]
    with torch.no_grad(), attach(base, adapters) as adapted:
        at, prompts = torch.tensor([500]), ("<rex> and <tom>",)
        run = adapted.run(time=at, prompts=prompts, step=0)
        with pytest.raises(PromptError, match="each rewrite all that is read"):
            base.predict(torch.zeros(1, *base.latent_shape), at, adapted.text_states(prompts), context=run)


def test_texts_longer_than_the_aligner_s_places_are_aligned(base: Any, few: None) -> None:
    """Their further states share the last place, and only the first ones are reconstructed."""
    net = _writer(methods()["kosmos_g"](NOBODY).modifiers[0])
    wide = SimpleNamespace(states_shape=(77, 768), text_positions=77)
    assert len(net.start(wide, multimodal(base), stream(0, "start"))["places"]) == 154
    for recipe, update in stage_of(base, "kosmos_g", 0):
        tensors = update.adapted.live[recipe.modifiers[0]].tensors
        for name in ("places", "again.queries"):
            tensors[f"states.kosmos_g.{name}"] = tensors[f"states.kosmos_g.{name}"][:4]
        assert recipe.stages[0].loss[0].value(update).isfinite()


# ----------------------------------------------------------------------------------------------------------------- CAFE


def test_an_explanation_has_the_looks_where_the_word_was() -> None:
    assert explained("a photo of <rex> on the beach", "<rex>", "a red dog") == "a photo of a red dog, now on the beach"
    assert explained("a photo of <rex>", "<rex>", "a red dog") == "a photo of a red dog"


def test_it_explains_what_it_will_paint(base: Any) -> None:
    """On more than half of the held-out toys: the shipped weights lose the prompt on a third of them."""
    said = {}
    for number, noun in enumerate(("dog", "cat", "car", "teapot", "robot", "mug", "backpack", "boat")):
        subject = toy(noun, 2_000_012 + number, count=1)
        with attach(base, [adapter(base, "cafe", subject)]) as adapted:
            fusion: Any = adapted.adapters[0].recipe.modifiers[0]
            said[noun] = explain(
                adapted, fusion, _writer(fusion), f"a photo of {subject.handle} on the beach", noun=noun
            )
    assert sum("now on the beach" in text for text in said.values()) > 4
    assert sum(noun in text for noun, text in said.items()) > 4


def test_both_losses_reach_the_language_model_and_denoising_alone_the_queries(base: Any, few: None) -> None:
    found = {}
    for number in (0, -1):
        for recipe, update in stage_of(base, "cafe", 1):
            term = recipe.stages[1].loss[number]
            found[number] = gradients(update.adapted, recipe, functools.partial(term.value, update))
    assert found[0]["states.cafe.queries"] > 0
    assert found[-1]["states.cafe.queries"] == -1
    for sizes in found.values():
        assert any(size > 0 for name, size in sizes.items() if ".language." in name)


def test_the_second_round_learns_from_what_it_painted_itself(
    base: Any, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    monkeypatch.setattr(refining, "denoising_error", lambda step: batches.append(step.batch) or torch.zeros(()))
    for recipe, update in stage_of(base, "cafe", 2):
        fusion = functools.partial(_fusion_of, recipe)
        refinement(recipe.stages[2].loss[0].source, fusion, "<nobody>", steps=2).value(update)
        shown, live = cast(References, update.batch.references), shipped("cafe", base)
        subjects = refining._subjects(shown)
        seeds = torch.randint(1 << 30, (len(shown),), generator=update.random("seeds")).tolist()
        with torch.no_grad():
            alone = [
                _painted_alone(base, *about, live) for about in zip(subjects, update.batch.prompts, seeds, strict=True)
            ]
    (batch,) = batches
    torch.testing.assert_close(batch.latents, torch.cat(alone), atol=2e-3, rtol=1e-3)
    assert batch.weight.sum() == len(shown) // 2
    worth = refining.likeness(base, batch.latents, shown, batch.prompts, "<nobody>")
    assert worth[batch.weight > 0].min() >= worth[batch.weight == 0].max()


def _fusion_of(recipe: Recipe, subject: Subject) -> Any:
    return methods()["cafe"](subject).modifiers[0]


def _painted_alone(base: Any, subject: Subject, prompt: str, seed: int, live: Any) -> Tensor:
    """One row's picture, painted by itself."""
    recipe = methods()["cafe"](subject)
    said = (prompt or "a photo of <nobody>").replace("<nobody>", subject.handle)
    with attach(base, [Adapter(recipe, subject.handle, live)]) as adapted:
        *_, last = sample(adapted, [said], seeds=[seed], settings=PaintSettings(steps=2))
    return last.latents


def test_what_is_like_the_reference_and_the_words_is_kept(base: Any, few: None) -> None:
    for _, update in stage_of(base, "cafe", 2):
        shown = update.batch.references
        assert shown is not None
        true = base.encode(shown.first)[0]
        strange = torch.cat([true[:1], 2 * torch.randn(true[1:].shape, generator=stream(0, "noise"))])
        worth = refining.likeness(base, strange, shown, update.batch.prompts, "<nobody>")
        assert int(worth.argmax()) == 0


# ----------------------------------------------------------------------------------------------------------------- MoMA


def followed(
    base: Any, subject: Subject, prompts: list[str], settings: limner.PaintSettings = QUICK
) -> tuple[list[Any], list[Any]]:
    """For each sampling step, its knowledge of the step before, and its maps [rows, N, L] by site."""
    known: list[tuple[Pass, Any]] = []
    maps: list[Any] = []
    key = (FOLLOWED, subject.handle)

    def watch(call: Any) -> Any:
        if key in call.run.cache and (not known or known[-1][0] is not call.run):
            known.append((call.run, call.run.cache[key]))
            maps.append(call.run.activations)
        return call

    recipe = Recipe(subject.noun, (followed_subject(subject),))
    recipe = replace(recipe, painting=replace(recipe.painting, operations=(watch, keep_maps())))
    with torch.no_grad(), attach(base, [Adapter(recipe, subject.handle)]) as adapted:
        list(sample(adapted, prompts, seeds=range(len(prompts)), settings=settings))
    return [seen for _, seen in known], maps


def test_a_step_knows_where_the_step_before_painted_the_subject(base: Any, rex: Subject) -> None:
    prompts = ["a photo of a dog on the beach", "a red dog in the snow"]
    known, maps = followed(base, rex, prompts)
    assert known[0] is None
    assert len(known) == QUICK.steps
    for seen, before in zip(known[1:], maps, strict=False):
        assert seen.shape == (4, 1, 16, 16)  # both branches
        sites = [m[2:] for name, m in before.items() if name.startswith("maps, ")]  # the text's rows are the last
        own = []
        for m in sites:
            column = torch.stack(
                [m[row, :, reading] for row, reading in enumerate((5, 3))]
            )  # begin, a, photo, of, a, dog
            low, high = column.amin(1, keepdim=True), column.amax(1, keepdim=True)
            side = round(column.shape[1] ** 0.5)
            scaled = torch.where(high - low > 1e-9, (column - low) / (high - low), 1.0)  # a layer may not read the noun
            own.append(F.interpolate(scaled.view(2, 1, side, side), (16, 16), mode="bilinear"))
        mean = torch.stack(own).mean(0)
        mean = (mean - mean.amin((2, 3), True)) / (mean.amax((2, 3), True) - mean.amin((2, 3), True))
        wanted = torch.where(mean > 0.2, mean, 0.0)
        torch.testing.assert_close(seen, wanted.repeat(2, 1, 1, 1), atol=1e-4, rtol=1e-3)


def test_where_the_subject_is_outlasts_the_bounds_of_guidance(base: Any, rex: Subject) -> None:
    """Steps of one branch and of two are steps of one painting."""
    some = limner.PaintSettings(steps=4, guide_between=(0.25, 0.75))
    known, _ = followed(base, rex, ["a photo of a dog on the beach"], some)
    assert [seen is None for seen in known] == [True, False, False, False]
    assert [len(seen) for seen in known[1:]] == [2, 2, 1]


def test_maps_below_the_threshold_are_nothing() -> None:
    ramp = torch.arange(16.0)[None] / 15
    (found,) = averaged([ramp], 0.2)
    torch.testing.assert_close(found.flatten(), torch.where(ramp[0] > 0.2, ramp[0], 0.0))
    assert averaged([torch.ones(1, 16)], 0.2).eq(1).all()  # a prompt that does not name it


def test_a_noun_is_found_as_a_word(base: Any) -> None:
    assert noun_places(base, "a scarf on a car", "car") == [5]
    assert noun_places(base, "a scarf", "car") == []


def test_shut_gates_are_the_base_and_the_reference_is_looked_at_once_clean(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = methods()["moma"](rex)
    alone = replace(recipe, modifiers=recipe.modifiers[2:])
    times, predict = [], type(base).predict

    def counted(self: Any, noised: Any, time: Tensor, *more: Any, **about: Any) -> Any:
        times.append(time.tolist())
        return predict(self, noised, time, *more, **about)

    monkeypatch.setattr(type(base), "predict", counted)
    with torch.no_grad(), attach(base, [Adapter(alone, rex.handle)]) as adapted:
        *_, gated = sample(adapted, ["a dog in the snow"], seeds=[0], settings=QUICK)
    assert times.count([0, 0, 0]) == 1  # three pictures, at time 0
    assert len(times) == QUICK.steps + 1
    (bare,) = limner.paint(base, "a dog in the snow", settings=QUICK)
    apart = np.asarray(to_images(base.decode(gated.latents))[0]).astype(int) - np.asarray(bare.image)
    assert (
        abs(apart).max() <= 1
    )  # one step of 255: branches of weight zero are added, and rows decoded, in other groups


def test_self_attention_sees_no_reference_at_the_noisiest_times(base: Any, rex: Subject) -> None:
    worn_with = adapter(base, "moma", rex)
    recipe = replace(worn_with.recipe, modifiers=worn_with.recipe.modifiers[2:])
    stored = {k: v for k, v in worn_with.stored.items() if k.startswith("clean_reference")}
    stored = {k: torch.ones_like(v) if k.endswith("gate") else v for k, v in stored.items()}
    x, states = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), base.text_states(["a dog"], words={})
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, stored)]) as adapted:
        for time, seen in ((940, True), (960, False)):
            at = torch.tensor([time])
            with_it = base.predict(x, at, states, context=adapted.run(time=at, prompts=("a dog",), step=0))
            without = base.predict(x, at, states, context=Pass(time=at))
            assert with_it.equal(without) != seen


def test_both_branches_of_guidance_attend_to_the_reference(base: Any, rex: Subject) -> None:
    """Self-attention reads it in the negative branch as well; the vectors of the picture are for the text alone."""
    worn_with = adapter(base, "moma", rex)
    stored = {k: torch.ones_like(v) if k.endswith("gate") else v for k, v in worn_with.stored.items()}
    at, x = torch.tensor([500, 500]), torch.randn(2, *base.latent_shape, generator=stream(0, "x"))
    states, branches = base.text_states(["", "a dog"], words={}), ("negative", "text")
    found = []
    for parts in ((), worn_with.recipe.modifiers[2:], worn_with.recipe.modifiers[:2]):
        recipe = replace(worn_with.recipe, modifiers=parts)
        name = "clean_reference" if len(parts) == 1 else "image"
        own = {k: v for k, v in stored.items() if k.startswith(name) and parts}
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, own)]) as adapted:
            run = adapted.run(time=at, prompts=("", "a dog"), branches=branches, step=0)
            found.append(base.predict(x, at, states, context=run))
    plain, details, vectors = found
    assert (details - plain).abs().amax((1, 2, 3)).min() > 1e-3
    blank = replace(rex, pictures=tuple(replace(p, image=Image.new("RGB", (128, 128), "red")) for p in rex.pictures))
    other = Adapter(replace(worn_with.recipe, modifiers=methods()["moma"](blank).modifiers[:2]), rex.handle, own)
    with torch.no_grad(), attach(base, [other]) as adapted:
        run = adapted.run(time=at, prompts=("", "a dog"), branches=branches, step=0)
        again = base.predict(x, at, states, context=run)
    torch.testing.assert_close(again[0], vectors[0], atol=1e-5, rtol=1e-4)
    assert (again[1] - vectors[1]).abs().max() > 1e-3


def test_where_the_subject_is_not_nothing_is_added(base: Any, rex: Subject) -> None:
    """With the map of the step before all zero, both branches are shut; with no map, both are open."""
    with torch.no_grad(), attach(base, [adapter(base, "moma", rex)]) as adapted:
        x, at = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500])
        states = base.text_states(["a dog"], words={})
        plain = base.predict(x, at, states, context=Pass(time=at))
        for shut in (True, False):
            run = adapted.run(time=at, prompts=("a dog",), step=0)
            if shut:
                run.cache[FOLLOWED, rex.handle] = torch.zeros(1, 1, 16, 16)
            found = base.predict(x, at, states, context=run)
            assert bool((found - plain).abs().max() < 1e-5) == shut
