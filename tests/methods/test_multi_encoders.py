"""Encoders for several subjects: told which thing in a reference image is meant (SSR-Encoder), or where it is to stand
(MS-Diffusion), or putting all of them into one embedding (lambda-ECLIPSE)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from limner.core.regions import region_masks
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, Pass, References
from limner.engine.attach import Adapter, attach
from limner.errors import InputError
from limner.methods.multi.lambda_eclipse import lambda_eclipse
from limner.methods.multi.ms_diffusion import ms_diffusion
from limner.methods.multi.ssr_encoder import DEPTHS
from limner.parts.encoders import Resampler, clip_before_last, clip_depths, each_of
from limner.parts.fusion import grounded_states, predicted_embedding, selected_states, within_box
from limner.parts.fusion.grounded_states import touched
from limner.parts.fusion.predicted_embedding import FEATURES
from limner.parts.sources import pairs
from limner.parts.sources.pairs import side_by_side
from limner.parts.sources.placing import boxes_around
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy

LOOK = each_of(clip_depths(DEPTHS))


@pytest.fixture(scope="module")
def shared(base: Any) -> References:
    """References with two things of different classes, each row's subject on either side."""
    batch = pairs(batch=48, ground="shared", drop_image=0, corpus=toys(24)).prepare(base)(0, streams(0, 0))
    assert batch.references is not None
    return batch.references


def _own(base: Any, selected: selected_states) -> dict[str, Tensor]:
    own, _ = selected(base, {}, stream(0, "modifier"))
    return own


def test_the_subject_of_a_shared_reference_stands_on_one_side(shared: References) -> None:
    assert shared.masks is not None
    left, right = shared.masks[:, 0, 0].float().mean(1).chunk(2, -1)
    sides = torch.stack([left.sum(-1), right.sum(-1)], 1)
    assert bool((sides.amin(1) < 0.1 * sides.amax(1)).all())
    assert 0.2 < float((sides[:, 0] > sides[:, 1]).float().mean()) < 0.8


def test_half_size_subjects_keep_their_colour_and_the_ground_of_the_other() -> None:
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 32, 32) for c in ((1.0, 0, 0), (0, 0, 1.0)))
    whole = torch.ones(1, 1, 32, 32)
    middle = torch.zeros(1, 1, 32, 32)
    middle[..., 8:24, 8:24] = 1
    pixels, masks = side_by_side(blue, middle, red, middle, stream(0, "sides"))
    assert torch.allclose(masks.sum(), middle.sum() / 4, rtol=0.1)
    assert torch.allclose((pixels * masks).sum((2, 3)) / masks.sum(), torch.tensor([[1.0, 0, 0]]), atol=1e-3)
    assert torch.allclose(pixels * (1 - masks.ceil()), blue * (1 - masks.ceil()), atol=1e-3)
    assert masks.shape == whole.shape


def test_a_corpus_of_one_class_cannot_share_references(base: Any) -> None:
    class one_class(toys):
        def noun(self, picture: int) -> str:
            return "dog"

    draw = pairs(batch=2, ground="shared", corpus=one_class(24)).prepare(base)
    with pytest.raises(InputError, match="no other class than 'dog'"):
        draw(0, streams(0, 0))


def test_only_the_query_decides_what_is_selected(base: Any, rex: Subject, shared: References) -> None:
    """Queries and keys are fitted by least squares, patches of the subject to its noun's states: attention falls on the
    queried thing, and leaves it with the query."""
    selected = selected_states(rex, LOOK, width=64)
    own = {name: tensor.detach().clone() for name, tensor in _own(base, selected).items()}
    tokens = LOOK(base, shared)
    assert shared.masks is not None
    side = round(tokens.shape[2] - 1) ** 0.5
    inside = torch.nn.functional.adaptive_avg_pool2d(shared.masks[:, 0].float(), int(side)).flatten(1)
    query = base.text_states(list(shared.nouns), words={})
    asked = query.mean(1)
    asked = torch.nn.functional.layer_norm(asked - asked.mean(0), asked.shape[-1:])
    patches = torch.nn.functional.layer_norm(tokens[:, 0, 1:, 0], tokens.shape[-1:])
    seen = (patches * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
    fit = torch.linalg.lstsq(seen.T @ seen + 10 * torch.eye(seen.shape[1]), seen.T @ asked).solution  # [D, C]
    u, s, v = torch.linalg.svd(fit, full_matrices=False)
    own["selected.key"] = (u[:, :64] * s[:64].sqrt()).T
    own["selected.query"] = (v[:64].T * s[:64].sqrt()).T * 20
    found = selected.attention(own, tokens, query - query.mean(0)).mean((1, 2))[:, 1:]
    share = (found * (inside > 0.1)).sum(1) / found.sum(1)
    chance = (inside > 0.1).float().mean(1)
    assert float(share.mean()) > 3 * float(chance.mean())
    swapped = selected.attention(own, tokens, (query - query.mean(0)).roll(1, 0)).mean((1, 2))[:, 1:]
    others = (swapped * (inside > 0.1)).sum(1) / swapped.sum(1)
    assert float(share.mean()) > 1.3 * float(others.mean())


def test_changing_only_the_query_changes_the_states(base: Any, rex: Subject, shared: References) -> None:
    selected = selected_states(rex, LOOK)
    own, make = selected(base, {}, stream(0, "modifier"))
    first, second = shared.of([0, 0]), References(shared.pixels[[0, 0]], nouns=("dog", "car"))
    run = Pass(references=References(first.pixels, nouns=("dog", "dog")), random=streams(0, 0))
    same = make(own, run, 2)
    other = make(own, Pass(references=second, random=streams(0, 0)), 2)
    assert torch.equal(same[0], same[1])
    assert torch.equal(other[0], same[0])
    assert not torch.allclose(other[1], same[1], atol=1e-3)


def test_rows_without_references_have_states_of_zeros(base: Any, rex: Subject, shared: References) -> None:
    selected = selected_states(rex, LOOK)
    own, make = selected(base, {}, stream(0, "modifier"))
    gone = References(shared.pixels[:2], nouns=shared.nouns[:2], dropped=torch.tensor([True, False]))
    states = make(own, Pass(references=gone, random=streams(0, 0)), 2)
    assert not states[0].any()
    assert states[1].any()


# --------------------------------------------------------------------------------------------------------- MS-Diffusion


@pytest.fixture(scope="module")
def grounded(base: Any) -> Batch:
    return pairs(batch=6, ground="plain", boxes=True, drop_image=0, drop_both=0, corpus=toys(12)).prepare(base)(
        0, streams(0, 0)
    )


def test_boxes_are_those_of_the_target(base: Any) -> None:
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, 0, 4:12, 2:8] = 1
    boxes = boxes_around(masks)
    assert boxes[0].tolist() == [2 / 16, 4 / 16, 8 / 16, 12 / 16]
    assert bool(boxes[1].isnan().all())
    inside = touched(boxes, 8)[:, 0, :, 0].unflatten(1, (8, 8))
    assert torch.equal(inside[0].nonzero().amin(0), torch.tensor([2, 1]))
    assert torch.equal(inside[0].nonzero().amax(0), torch.tensor([5, 3]))
    assert bool(inside[1].all())


def test_nothing_of_the_subject_is_read_outside_of_its_box(base: Any, rex: Subject, grounded: Batch) -> None:
    """Each cross-attention layer gives other places exactly what it gives when the references are another subject's."""
    fusion = ms_diffusion(rex).modifiers[1]
    outputs: list[dict[str, Tensor]] = []
    for order in (range(6), [1, 2, 3, 4, 5, 0]):
        references = grounded.references
        assert references is not None
        shown = replace(references, pixels=references.pixels[list(order)])
        kept: dict[str, Tensor] = {}

        def keep(call: AttentionCall, kept: dict[str, Tensor] = kept) -> AttentionCall:
            if call.site.kind == "cross":
                (_, _, much) = call.beside[-1]
                key, value, _ = call.beside[-1]
                found = torch.nn.functional.scaled_dot_product_attention(call.query, key, value) * much
                kept[call.site.name] = found
            return call

        with fusion(base, stored={}, generator=stream(0, "modifier"), scale=1.0) as live:
            run = Pass(operations=(*live.operations, keep), references=shown, random=streams(0, 0), lives=(live,))
            states = base.text_states(list(grounded.prompts), words={})
            base.predict(grounded.latents, torch.full((6,), 500), states, context=run)
        outputs.append(kept)
    first, second = outputs
    assert grounded.references is not None
    assert grounded.references.boxes is not None
    for name, found in first.items():
        inside = touched(grounded.references.boxes, round(found.shape[2] ** 0.5)).bool()
        outside = ~inside.expand_as(found)
        assert not found[outside].any(), name
        assert not torch.allclose(found, second[name], atol=1e-6), name


def test_moving_the_region_moves_where_the_subject_is_read(base: Any, rex: Subject) -> None:
    gate, call = within_box(), SimpleNamespace(query=torch.zeros(1, 1, 64, 4))
    for box, columns in (((0, 0, 0.5, 1), range(4)), ((0.5, 0, 1, 1), range(4, 8))):
        region = region_masks({"rex": box}, handles=[rex.handle], size=(16, 16))
        call.run = Pass(regions=region, step=0)
        inside = gate(cast("AttentionCall", call), rex.handle)[0, 0, :, 0].unflatten(0, (8, 8))
        assert inside.any(0).nonzero().flatten().tolist() == list(columns)
    call.run = Pass(step=0)
    assert gate(cast("AttentionCall", call), rex.handle).item() == 1


def test_without_a_box_the_queries_are_the_learned_ones(base: Any, rex: Subject, grounded: Batch) -> None:
    part = grounded_states(rex, each_of(clip_before_last), 4, Resampler(1, 32, 4), drop_box=1.0)
    own, make = part(base, {}, stream(0, "modifier"))
    assert grounded.references is not None
    learning = Pass(references=grounded.references, random=streams(0, 0))
    bare = Pass(references=replace(grounded.references, boxes=None), random=streams(0, 0))
    assert torch.equal(make(own, learning, 6), make(own, bare, 6))
    always, _ = grounded_states(rex, each_of(clip_before_last), 4, Resampler(1, 32, 4), drop_box=0.0)(
        base, {}, stream(0, "modifier")
    )
    kept = replace(part, drop_box=0.0)(base, {}, stream(0, "modifier"))[1]
    assert not torch.allclose(kept(always, learning, 6), make(own, bare, 6), atol=1e-3)


def test_the_resampler_does_not_hang_on_the_order_of_patches() -> None:
    shape = Resampler(2, 32, 4)
    own = shape.start(20, 12, stream(0, "resampler"))
    patches, latents = torch.randn(2, 7, 20), torch.randn(2, 3, 32)
    found = shape(own, patches, latents)
    assert found.shape == (2, 3, 12)
    assert torch.allclose(found, shape(own, patches[:, torch.randperm(7)], latents), atol=1e-5)
    assert not torch.allclose(found, shape(own, torch.randn(2, 7, 20), latents), atol=1e-2)


# ------------------------------------------------------------------------------------------------------- lambda-ECLIPSE


def test_the_embedding_is_one_pass_of_the_prompt_with_the_pictures_at_their_nouns(base: Any) -> None:
    part = predicted_embedding(Subject("<rex>", "dog"), layers=2, width=32)
    with part(base, stored={}, generator=stream(0, "modifier"), scale=1.0) as live:
        dog, cat = torch.randn(2, 2, live.tensors[FEATURES].shape[-1])
        prompt = "a dog and a cat on the beach"
        first, again, swapped, other = (
            part.predict(base, live.tensors, [prompt], [shown])
            for shown in (
                {"dog": dog[0], "cat": cat[0]},
                {"dog": dog[0], "cat": cat[0]},
                {"dog": cat[0], "cat": dog[0]},
                {"dog": dog[0], "cat": cat[1]},
            )
        )
        elsewhere = part.predict(base, live.tensors, ["a dog and a cat in the snow"], [{"dog": dog[0], "cat": cat[0]}])
    assert torch.equal(first, again)
    assert not torch.allclose(first, swapped, atol=1e-3)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first, elsewhere, atol=1e-3)


def test_two_subjects_are_in_one_prediction_that_acts_once(base: Any, rex: Subject) -> None:
    """A second concept changes the one embedding that is read, and adds no branch of its own."""
    seen: list[tuple[int, Tensor]] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and len(seen) < 1:
            seen.append((len(call.beside), call.beside[0][0].detach().clone()))
        return call

    bo = toy("cat", 2_000_014, name="bo", count=2)
    latents, found = torch.randn(1, *base.latent_shape), []
    for subjects in ([rex], [rex, bo]):
        adapters = [Adapter(lambda_eclipse(s, layers=2, width=32), s.handle, noun=s.noun) for s in subjects]
        with attach(base, adapters) as adapted, torch.no_grad():
            time = torch.tensor([500])
            run = adapted.run(time=time, latents=latents, prompts=("a dog and a cat",), step=0)
            run.operations += (keep,)
            base.predict(latents, time, base.text_states(["a dog and a cat"], words={}), context=run)
        found.append(seen.pop())
    assert found[0][0] == found[1][0] == 1
    assert not torch.allclose(found[0][1], found[1][1], atol=1e-4)


def test_captions_without_pictures_are_learned_from(base: Any, rex: Subject) -> None:
    """A row without references counts, and its pictures do not: the network reads the caption alone."""
    recipe = lambda_eclipse(rex, layers=2, width=32)
    (term,) = recipe.pretraining[1].loss
    latents, losses = torch.zeros(2, *base.latent_shape), []
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for level in (0.2, 0.8):
            pixels = torch.full((2, 1, 3, base.picture_size, base.picture_size), level)
            for dropped in (True, False):
                references = References(
                    pixels, torch.ones_like(pixels[:, :, :1]), nouns=("dog", "dog"), dropped=torch.tensor([dropped] * 2)
                )
                batch = Batch(latents, ("a dog", "a dog on the beach"), references=references)
                losses.append(float(term.value(cast("Any", SimpleNamespace(batch=batch, adapted=adapted)))))
    assert losses[0] == losses[2] > 0
    assert losses[0] != losses[1] != losses[3]


def test_the_decoder_stays_as_it_is_while_the_network_learns(base: Any, rex: Subject) -> None:
    first, second = lambda_eclipse(rex, layers=2, width=32).pretraining
    with attach(base, [Adapter(lambda_eclipse(rex, layers=2, width=32), rex.handle)]) as adapted:
        (decoder,), (prior,) = ([selection(adapted) for selection in stage.train] for stage in (first, second))
    assert all(name.startswith("image.") for name in decoder)
    assert all(name.startswith("predictor.") for name in prior)
    assert {term.source.name for term in second.loss} == {"pairs"}
