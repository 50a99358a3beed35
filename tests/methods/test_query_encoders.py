"""Querying Transformers: words that pictures and nouns become (BLIP-Diffusion), tokens for each layer
(CustomContrast)."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import limner
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Pass, Prediction, References
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update, begin_update, train
from limner.methods import methods
from limner.parts.encoders import QueryFormer, clip_places
from limner.parts.fusion import query_words
from limner.parts.fusion.layered_attention import TOKENS, WHOLE
from limner.parts.modifiers.states import tensors_of
from limner.parts.objectives.contrast import missed
from limner.parts.objectives.views import TEMPERATURE, appearance_contrast
from limner.parts.sources import pairs
from limner.parts.sources.captioned import captioned
from limner.pocket.corpus import toys
from tests.helpers import fast

NOBODY = Subject("<nobody>", "toy")
SHAPE = QueryFormer(queries=3, layers=2, width=16, heads=2, hidden=24, room=8)
UNSEEN = range(4000, 4048)
"""Pictures of 12 toys of the training split that come after all that encoders were trained on."""


def former() -> tuple[QueryFormer, dict[str, torch.Tensor]]:
    torch.manual_seed(0)  # the inputs are random, but the same each time
    return SHAPE, SHAPE.start(20, 12, stream(0, "former"))


def unseen(base: Any) -> References:
    pixels, _ = toys().drawn(UNSEEN, base.picture_size)
    nouns = tuple(toys().noun(k) for k in UNSEEN)
    return References(pixels[:, None].float() / 255, nouns=nouns, identity=torch.tensor([k // 4 for k in UNSEEN]))


# --------------------------------------------------------------------------------------------- the Querying Transformer


def test_what_queries_say_does_not_hang_on_the_order_of_places() -> None:
    shape, own = former()
    places = torch.randn(2, 7, 20)
    mixed = places[:, torch.randperm(7)]
    assert torch.allclose(shape(own, places), shape(own, mixed), atol=1e-5)
    assert not torch.allclose(shape(own, places), shape(own, torch.randn(2, 7, 20)), atol=1e-2)


def test_words_that_are_not_there_say_nothing() -> None:
    shape, own = former()
    places, words = torch.randn(1, 7, 20), torch.randn(1, 2, 12)
    padded = F.pad(words, (0, 0, 0, 3))
    assert torch.allclose(shape(own, places, words), shape(own, places, padded), atol=1e-5)
    assert not torch.allclose(shape(own, places, words), shape(own, places), atol=1e-2)


def test_without_words_it_is_the_transformer_of_blip_2() -> None:
    """transformers has BLIP-2's, which reads no words; a wholly independent implementation of the rest."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    shape, own = former()
    config = Blip2QFormerConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, cross_attention_frequency=1,
        encoder_hidden_size=20,
    )  # fmt: skip
    model: Any = Blip2QFormerModel(config).eval()
    values = {"layernorm.weight": own["norm.weight"], "layernorm.bias": own["norm.bias"]}
    for k in range(2):
        for theirs, ours in (("attention", "self"), ("crossattention", "cross")):
            parts = {f"attention.{p}": p for p in ("query", "key", "value")} | {
                "output.dense": "out",
                "output.LayerNorm": "norm",
            }
            for a, b in parts.items():
                for end in ("weight", "bias"):
                    values[f"encoder.layer.{k}.{theirs}.{a}.{end}"] = own[f"layers.{k}.{ours}.{b}.{end}"]
        for a, b in (
            ("intermediate_query.dense", "in"),
            ("output_query.dense", "out"),
            ("output_query.LayerNorm", "norm"),
        ):
            for end in ("weight", "bias"):
                values[f"encoder.layer.{k}.{a}.{end}"] = own[f"layers.{k}.of_queries.{b}.{end}"]
    lacking, strange = model.load_state_dict(values, strict=False)
    assert not strange
    assert not [key for key in lacking if "query" in key or "attention" in key]
    places = torch.randn(2, 7, 20)
    seen = F.layer_norm(places, (20,), eps=1e-12)
    with torch.no_grad():
        out = model(query_embeds=own["queries"].expand(2, -1, -1), encoder_hidden_states=seen).last_hidden_state
    assert torch.allclose(shape(own, places), out, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- BLIP-Diffusion


def blip(base: Any, subject: Subject, **more: Any) -> Adapter:
    recipe = methods()["blip_diffusion"](subject, **more)
    return Adapter(recipe, subject.handle, shipped("blip_diffusion", base), 1.0, 0)


@torch.no_grad()
def read(base: Any, adapter: Adapter, *said: str, branches: tuple[str, ...] = ("text",)) -> tuple[Pass, torch.Tensor]:
    """The run, and the keys of the first cross-attention layer turned back into what it read: [rows, L, heads * d]."""
    seen: list[torch.Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and call.site.index == 0:
            seen.append(call.key.transpose(1, 2).flatten(2))
        return call

    with attach(base, (adapter,)) as adapted:
        time = torch.full((len(said),), 500)
        run = adapted.run(time=time, prompts=tuple(map(adapted.expand_prompt, said)), branches=branches)
        run.operations += (note,)
        base.predict(torch.zeros(len(said), *base.latent_shape), time, adapted.text_states(said), context=run)
    return run, seen[0]


def test_another_noun_makes_other_words_of_the_same_pictures(base: Any, rex: Subject) -> None:
    """The property that sets it apart: queries are told what to look for."""
    first, again, other = (
        read(base, blip(base, Subject("<rex>", noun, rex.pictures)), "a <rex>")[0].activations["picture words"]
        for noun in ("dog", "dog", "car")
    )
    assert torch.equal(first, again)
    assert (other - first).norm() > 0.1 * first.norm()


def test_the_words_stand_before_the_noun_and_the_negative_branch_has_none(base: Any, rex: Subject) -> None:
    adapter, said = blip(base, rex), "a <rex> in the snow"
    run, keys = read(base, adapter, said, "", branches=("text", "negative"))
    put = torch.cat([run.activations["picture words"][0], base.word_vectors("dog")])
    assert len(run.activations["picture words"][0]) == 8
    first = next(site for site in base.sites if site.kind == "cross")
    with torch.no_grad(), attach(base, (adapter,)):  # the layer's own keys, with its low-rank change
        read_at = base.key_value(first)[0]
        expected = read_at(base.text_states(["a <q> in the snow", ""], words={"<q>": put}))
    assert torch.allclose(keys, expected, atol=1e-4)


def test_prompts_are_said_again_as_often_as_there_is_room(base: Any, rex: Subject) -> None:
    said = "a <rex> in the snow"
    once, often = (read(base, blip(base, rex, repeats=n), said) for n in (1, 20))
    put = torch.cat([often[0].activations["picture words"][0], base.word_vectors("dog")])
    words, whole = {"<q>": put}, "a <q> in the snow, a dog in the snow, a dog in the snow"
    assert (
        base.num_tokens(whole, words=words)
        <= base.max_tokens
        < base.num_tokens(f"{whole}, a dog in the snow", words=words)
    )
    assert not torch.equal(once[1], often[1])
    assert torch.equal(once[0].activations["picture words"], often[0].activations["picture words"])


def test_reference_and_target_share_the_subject_and_never_the_background(base: Any) -> None:
    draw = pairs(batch=3, target="same", ground="swapped", corpus=toys(8)).prepare(base)
    for step in range(3):
        batch = draw(step, streams(0, "pairs", 0, step))
        assert batch.references is not None
        assert batch.references.masks is not None
        shown, masks = batch.references.pixels[:, 0], batch.references.masks[:, 0]
        target = base.decode(batch.latents)
        inside = masks > 0.5
        for row in range(3):
            within, without = ((shown[row] - target[row]).abs() * part for part in (inside[row], ~inside[row]))
            assert within.sum() / inside[row].sum() / 3 < 0.08  # the autoencoder's own loss
            assert without.sum() / (~inside[row]).sum() / 3 > 0.08


def test_the_mean_over_pictures_is_of_words_not_of_what_is_seen(base: Any) -> None:
    mapper = query_words(SHAPE, 24)
    own = mapper.start(base, 20, stream(0, "words"))
    seen, nouns = torch.randn(1, 2, 5, 20), base.word_vectors("dog")[None]
    each = [mapper.words(own, seen[:, k : k + 1], nouns) for k in range(2)]
    assert torch.allclose(mapper.words(own, seen, nouns), (each[0] + each[1]) / 2, atol=1e-5)


def test_tuning_teaches_the_denoisers_change_and_keeps_the_queries(base: Any, rex: Subject) -> None:
    adapter = blip(base, rex, tuning=2)
    assert adapter.recipe.framework == "hybrid"
    *_, last = train(base, adapter, stages=adapter.recipe.tuning, seed=0)
    before, after = shipped("blip_diffusion", base), last.snapshot().tensors
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("blip_diffusion.") for name in moved)


def test_what_tuning_sees_is_what_painting_sees(base: Any, rex: Subject) -> None:
    adapter = blip(base, rex, tuning=1)
    (stage,) = adapter.recipe.tuning
    source = stage.loss[0].source
    batch = source.prepare(base)(0, streams(0, source.name, 0, 0))
    assert batch.references is not None
    assert batch.references.pixels.shape[1] == len(rex.pictures)
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        update.together = [update]
        kept = update.prediction.run
        assert kept is not None
        words = kept.activations["picture words"]
    run, _ = read(base, adapter, "a photo of <rex>")
    assert torch.allclose(words, run.activations["picture words"].expand_as(words), atol=1e-4)


# ------------------------------------------------------------------------------------ the first stage: picture and text


def first_stage(base: Any) -> tuple[Adapter, Any]:
    recipe = methods()["blip_diffusion"](NOBODY, batch=6)
    return Adapter(recipe, "<nobody>", {}, 1.0, 0), recipe.stages[0]


def test_pictures_and_captions_are_of_different_toys_and_name_their_looks(base: Any) -> None:
    batch = captioned(batch=6, corpus=toys(8)).prepare(base)(0, streams(0, "captioned", 0, 0))
    shown: Any = batch.references
    assert len(set(shown.identity.tolist())) == 6
    assert [captions[0] for captions in shown.captions] == list(batch.prompts)
    plain = {f"a {noun}" for noun in shown.nouns}
    assert any(not any(p in said for p in plain) for said in batch.prompts)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_the_first_stage_begins_at_chance_and_teaches_the_queries(base: Any) -> None:
    adapter, stage = first_stage(base)
    source = captioned(batch=6, corpus=toys(8))
    with attach(base, (adapter,)) as adapted:
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        own = tensors_of(adapted, cast(Any, adapter.recipe.modifiers[0]))
        for tensor in own.values():
            if isinstance(tensor, torch.nn.Parameter):
                tensor.requires_grad_(True)
        contrast, matching = (term.value(update) for term in stage.loss)
        (contrast + matching).backward()
        contrast, matching = contrast.detach(), matching.detach()
        assert float(matching) == pytest.approx(math.log(2), abs=1e-6)  # no logit says anything yet
        assert abs(float(contrast) - math.log(6)) < 1.5
        assert _gradient(own["queries"]).abs().max() > 0
        assert _gradient(own["match.weight"]).abs().max() > 0
        for tensor in own.values():
            tensor.requires_grad_(False)
            tensor.grad = None
        assert update._prediction is None  # no picture is denoised for it


def test_info_nce_is_the_written_out_sum() -> None:
    logits, right = torch.randn(3, 4), torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    share = logits.exp() / logits.exp().sum(1, keepdim=True)
    rows = [-(share[0, 0].log() + share[0, 3].log()) / 2, -share[1, 1].log()]
    assert missed(logits, right) == pytest.approx(float(sum(rows) / 2))


# ------------------------------------------------------------------------------------------------------- CustomContrast


def contrasted(base: Any, subject: Subject, **more: Any) -> Adapter:
    recipe = methods()["custom_contrast"](subject, **more)
    return Adapter(recipe, subject.handle, shipped("custom_contrast", base), 1.0, 0)


def tokens_of(base: Any, adapter: Adapter, shown: References) -> torch.Tensor:
    """[sites, rows, d], each of length 1: what every layer is told of each row."""
    part: Any = adapter.recipe.modifiers[0]
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        own = {key.removeprefix("custom_contrast."): t for key, t in adapted.live[part].tensors.items()}
        nouns = [base.word_vectors(noun) for noun in shown.nouns]
        made, _ = part.asked(base, own, part.look(base, shown), nouns)
    return F.normalize(made.flatten(2).transpose(0, 1), dim=-1)


def test_at_every_layer_two_views_of_a_toy_are_nearer_than_two_toys(base: Any) -> None:
    """The property that sets it apart, on toys that nothing was trained on; of one class too, where nouns cannot
    tell."""
    shown: Any = unseen(base)
    adapter = contrasted(base, NOBODY)
    trained, bare = (tokens_of(base, o, shown) for o in (adapter, Adapter(adapter.recipe, "<nobody>", {}, 1.0, 0)))
    one = shown.identity[:, None] == shown.identity
    twins = one & ~torch.eye(len(one), dtype=torch.bool)
    for layer, start in zip(trained, bare, strict=True):
        alike, before = layer @ layer.T, start @ start.T
        gap, was = (x[twins].mean() - x[~one].mean() for x in (alike, before))
        assert gap > 0.3
        assert gap > 2 * was
        nearest = alike.masked_fill(torch.eye(len(one), dtype=torch.bool), -2).argmax(1)
        assert (shown.identity[nearest] == shown.identity).float().mean() > 0.7


def test_without_its_contrasts_it_is_a_plain_adapter() -> None:
    (stage,) = methods()["custom_contrast"](NOBODY, semantic=0.0, appearance=0.0).stages
    assert [term.name for term in stage.loss] == ["denoising(pairs)"]
    (stage,) = methods()["custom_contrast"](NOBODY).stages
    assert len(stage.loss) == 3


def test_appearance_contrast_in_closed_form() -> None:
    """Two toys, two pictures each; tokens are equal for the same toy and orthogonal for different ones, so each picture
    has one equal among three others."""
    tokens = torch.eye(2).repeat_interleave(2, 0)[:, None].expand(4, 3, 2)  # [B, sites, d]
    run = Pass(activations={TOKENS: tokens, WHOLE: tokens[:, 0]})
    shown = References(torch.zeros(4, 1, 3, 2, 2), nouns=("dog",) * 4, identity=torch.tensor([7, 7, 9, 9]))
    step: Any = SimpleNamespace(prediction=Prediction(torch.zeros(4), run), batch=SimpleNamespace(references=shown))
    value = appearance_contrast(pairs()).value(step)
    high = math.exp(1 / TEMPERATURE)
    assert float(value) == pytest.approx(-math.log(high / (high + 2)), abs=1e-6)


def test_the_batch_has_two_pictures_of_each_toy_and_its_losses_teach_every_layer(base: Any) -> None:
    adapter = contrasted(base, NOBODY, batch=4)
    (stage,) = adapter.recipe.stages
    source = pairs(batch=4, named="<nobody>", alike=2, corpus=toys(4))
    with attach(base, (adapter,)) as adapted:
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        update.together = [update]
        own = {
            k: t
            for k, t in adapted.live[adapter.recipe.modifiers[0]].tensors.items()
            if isinstance(t, torch.nn.Parameter)
        }
        for tensor in own.values():
            tensor.requires_grad_(True)
        torch.stack([term.weight * term.value(update) for term in stage.loss]).sum().backward()
        still = [name for name, tensor in own.items() if tensor.grad is None or not tensor.grad.any()]
        for tensor in own.values():
            tensor.requires_grad_(False)
            tensor.grad = None
    assert not still
    assert update.batch.references is not None
    assert update.batch.references.identity is not None
    assert update.batch.references.identity.view(2, 2).diff().eq(0).all()


@torch.no_grad()
def weights_of(base: Any, adapter: Adapter, time: int) -> list[torch.Tensor]:
    """How much tokens count at each place of each layer [rows, N], for a row with the word and one without."""
    found: list[torch.Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.beside:
            _, _, weight = call.beside[-1]
            found.append(torch.as_tensor(weight)[:, 0, :, 0])
        return call

    with attach(base, (adapter,)) as adapted:
        said, times = ("a <rex> in the snow", "the snow"), torch.tensor([time, time])
        run = adapted.run(time=times, prompts=said)
        run.operations += (note,)
        x = torch.randn(2, *base.latent_shape, generator=stream(0, "x"))
        base.predict(x, times, adapted.text_states(said), context=run)
    return found


def test_location_holds_tokens_to_where_the_noun_is_read_ever_more(base: Any, rex: Subject) -> None:
    late, early = (weights_of(base, contrasted(base, rex, location=1.0), time) for time in (0, 999))
    assert len(late) == sum(site.kind == "cross" for site in base.sites)
    reads = [bool(weight[0].min() < 1) for weight in late]
    assert sum(reads) > len(reads) - 3  # two of the pocket base's layers look at the start of the text alone
    for read, weight, begin in zip(reads, late, early, strict=True):
        assert not read or weight[0].min() < 0.9  # less where the noun is read less than elsewhere
        assert weight[0].max() == 1
        assert torch.equal(weight[1], torch.ones_like(weight[1]))  # no word, nothing to hold to
        assert begin.min() > 0.99


def test_location_at_zero_is_everywhere_alike(base: Any, rex: Subject) -> None:
    for weight in weights_of(base, contrasted(base, rex, location=0.0), 0):
        assert torch.equal(weight, torch.ones_like(weight))


def test_the_encoder_looks_once_while_painting(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    concept = limner.learn(base, rex, method="custom_contrast", **fast(methods()["custom_contrast"]))
    looks, asked, call = [], [], QueryFormer.__call__

    def counted(self: QueryFormer, *about: Any) -> torch.Tensor:
        asked.append(1)
        return call(self, *about)

    monkeypatch.setattr(QueryFormer, "__call__", counted)
    monkeypatch.setattr("limner.parts.encoders.clip.clip_places", lambda *_: looks.append(1) or clip_places(*_))
    limner.paint(base, "<rex> in the snow", concepts=[concept], settings=limner.PaintSettings(steps=4))
    assert len(asked) == 1
    assert not looks


def test_what_ships_is_what_pretraining_learns(base: Any) -> None:
    for name in ("blip_diffusion", "custom_contrast"):
        recipe = methods()[name](NOBODY)
        with attach(base, (Adapter(recipe, "<nobody>"),)) as adapted:
            learns = {key for stage in recipe.pretraining for part in stage.train for key in part(adapted)}
        kept = shipped(name, base)
        assert kept.keys() == learns
        assert sum(tensor.numel() for tensor in kept.values()) < 650_000
        assert not [key for key in kept if "nobody" in key]
