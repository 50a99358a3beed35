"""The distinct property of each of these methods for objects."""

from __future__ import annotations

import copy
import sys
from typing import Any, cast

import pytest
import torch

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import References
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.objectives.naturalness import gap, haar_details, kurtosis
from tests.helpers import fast, learn_fast, same, state

QUICK = limner.PaintSettings(steps=3)


def spied(base: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Notes the states of every run of the denoiser from now on: (states, output)."""
    seen: list[Any] = []
    plain = base.predict

    def predict(noised: Any, time: Any, states: Any, *, context: Any) -> Any:
        output = plain(noised, time, states, context=context)
        seen.append((noised, time, states, context, output))
        return output

    monkeypatch.setattr(base, "predict", predict)
    return seen


def first_update(base: Any, name: str, rex: Subject, **settings: Any) -> Any:
    recipe = methods()[name](rex, **fast(methods()[name], **settings))
    return next(train(base, Adapter(recipe, rex.handle), stages=recipe.tuning))


# ---------------------------------------------------------------------------------------------------------- DreamArtist


def test_dreamartist_learns_both_words_and_never_reads_an_empty_prompt(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(base, monkeypatch)
    concept = learn_fast(base, "dreamartist", rex)
    assert set(concept.tensors) == {"word.<rex>", "word.<rex-negative>"}
    said = {prompt for _, _, _, context, _ in seen for prompt in context.prompts}
    assert all(said)
    assert {prompt.replace("<rex>", "<rex-negative>") for prompt in said} < said  # of each caption, its negative
    assert not torch.equal(concept.tensors["word.<rex-negative>"], base.word_vectors("dog").expand(3, -1))


def test_dreamartist_paints_against_its_negative_word_unless_told_otherwise(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    concept = learn_fast(base, "dreamartist", rex)
    seen = spied(base, monkeypatch)
    limner.paint(base, "<rex> in the snow", concepts=[concept], settings=QUICK)
    assert seen[0][3].prompts[0] == "<rex-negative>"
    seen.clear()
    limner.paint(
        base, "<rex> in the snow", concepts=[concept], settings=limner.PaintSettings(steps=1, negative="a cat")
    )
    assert seen[0][3].prompts[0] == "a cat"


def test_dreamartist_at_guidance_one_is_plain_denoising(base: Any, rex: Subject) -> None:
    one = first_update(base, "dreamartist", rex, guidance=1.0, vectors=1, pixel_weight=0.0)
    plain = first_update(base, "textual_inversion", rex, vectors=1)
    assert one.loss == pytest.approx(plain.loss, rel=1e-4)
    with_pixels = first_update(base, "dreamartist", rex, guidance=1.0, vectors=1)
    assert with_pixels.loss > one.loss


def noise_of(base: Any, noised: torch.Tensor, latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """The noise that made `noised` of `latents`."""
    nothing = torch.zeros_like(latents)
    return (noised - base.noised(latents, nothing, time)) / base.noised(nothing, nothing + 1, time)


def test_dreamartist_learns_through_the_guidance_of_both_words(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At guidance 3 the loss is the error of negative + 3 (positive - negative): Eq. 4 of arXiv:2211.11337, written out
    here."""
    seen = spied(base, monkeypatch)
    progress = first_update(base, "dreamartist", rex, guidance=3.0, negative_vectors=1, pixel_weight=0.0)
    outputs = {context.prompts[0]: (noised, time, output) for noised, time, _, context, output in seen}
    (caption,) = (prompt for prompt in outputs if "<rex-negative>" not in prompt)
    negative = outputs.pop(caption.replace("<rex>", "<rex-negative>"))[2].detach()
    ((noised, time, output),) = outputs.values()
    positive = output.detach()
    recipe = methods()["dreamartist"](rex, **fast(methods()["dreamartist"]))
    source = recipe.stages[0].loss[0].source
    latents = source.prepare(base)(0, streams(0, source.name, 0, 0)).latents
    noise = noise_of(base, noised, latents, time)
    wanted = (negative + 3.0 * (positive - negative) - base.target(latents, noise, time)).square().mean()
    assert not torch.allclose(positive, negative, atol=1e-3)
    assert progress.loss == pytest.approx(float(wanted), rel=1e-3)


# ----------------------------------------------------------------------------------------------------------- DisenBooth


def test_disenbooth_two_runs_see_the_same_noise_and_differ_by_the_picture(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(base, monkeypatch)
    progress = first_update(base, "disenbooth", rex)
    (noised, time, states, one, _), (again, later, others, two, _) = seen[:2]
    assert torch.equal(noised, again)
    assert torch.equal(time, later)
    assert torch.equal(states, others)
    assert one.references is not None
    assert two.references is None
    assert len(progress.losses) == 3


def test_disenbooth_adds_the_masked_features_themselves_beside_their_adapter(base: Any, rex: Subject) -> None:
    """A(sigmoid(m) E(x)) + sigmoid(m) E(x), with the mask at 0.5: with an adapter of zeros the features are left."""
    from limner.parts.encoders import clip_global

    recipe = methods()["disenbooth"](rex)
    pixels = rex.tensor(base.picture_size)[:1]
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for name, tensor in adapted.tensors.items():
            if name.endswith(".second"):
                tensor.zero_()
        prompts, t = (adapted.expand_prompt("a photo of <rex>"),), torch.tensor([500])
        run = adapted.run(time=t, prompts=prompts, references=References(pixels[:, None]))
        base.predict(torch.randn(1, *base.latent_shape), t, adapted.text_states(["a photo of <rex>"]), context=run)
        features = clip_global(base, pixels) / 2
        added = run.activations["image_added"]
    assert torch.allclose(added[:, : features.shape[1]], features, atol=1e-5)
    assert not added[:, features.shape[1] :].any()


def test_disenbooth_painting_does_not_depend_on_any_picture(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "disenbooth", rex)
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        x, t = torch.randn(1, *base.latent_shape), torch.tensor([500])
        states, said = adapted.text_states(["<rex>"]), (adapted.expand_prompt("<rex>"),)
        plain = base.predict(x, t, states, context=adapted.run(time=t, prompts=said))
        pictures = rex.tensor(base.picture_size)[:1]
        seen = base.predict(
            x, t, states, context=adapted.run(time=t, prompts=said, references=References(pictures[:, None]))
        )
        for tensor in (t for n, t in adapted.tensors.items() if n.startswith("states.")):
            tensor += 1.0
        again = base.predict(x, t, states, context=adapted.run(time=t, prompts=said))
    assert not torch.equal(plain, seen)
    assert torch.equal(plain, again)


# ---------------------------------------------------------------------------------------------------------------- HiPer


def test_hiper_gives_the_last_states_alone_to_the_subject(base: Any, rex: Subject) -> None:
    recipe = methods()["hiper"](rex, states=3)
    keys: dict[str, Any] = {}

    def note(call: Any) -> Any:
        if call.site.kind == "cross":
            keys.setdefault(call.site.name, []).append(call.key.clone())
        return call

    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        (block,) = adapted.tensors.values()
        assert torch.equal(block, adapted.text_states(["a photo of <rex>"])[0, -3:])
        block += torch.randn_like(block)
        x, t = torch.randn(1, *base.latent_shape), torch.tensor([500])
        for prompt in ("a <rex> on the beach", "a dog on the beach"):
            run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),))
            run.operations = (*run.operations, note)
            base.predict(x, t, adapted.text_states([prompt]), context=run)
    first, second = keys[next(iter(keys))]
    assert torch.equal(first[:, :, :-3], second[:, :, :-3])
    assert not torch.equal(first[:, :, -3:], second[:, :, -3:])
    assert block.shape == (3, base.word_vectors("dog").shape[1])


# -------------------------------------------------------------------------------------------------------------- DIFFNAT


def test_kurtosis_of_known_distributions() -> None:
    at = torch.Generator().manual_seed(0)
    normal, uniform = torch.randn(1, 1, 400, 400, generator=at), torch.rand(1, 1, 400, 400, generator=at)
    assert kurtosis(normal).item() == pytest.approx(3.0, abs=0.05)
    assert kurtosis(uniform).item() == pytest.approx(1.8, abs=0.05)


def test_the_kurtosis_gap_does_not_see_contrast_and_counts_27_bands() -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) ** 3
    assert gap(pixels).item() == pytest.approx(gap(0.5 * pixels).item(), rel=1e-4)
    assert gap(pixels) > 0
    assert sum(band.shape[1] for band in haar_details(pixels)) == 27
    same_noise = torch.randn(1, 1, 64, 64).repeat(1, 3, 1, 1)
    assert gap(same_noise) >= 0


def test_haar_details_keep_energy() -> None:
    pixels = torch.rand(1, 1, 16, 16)
    pixels = pixels - pixels.mean()
    whole = haar_details(pixels, levels=4)
    assert sum(float(band.square().sum()) for band in whole) == pytest.approx(pixels.square().sum().item(), rel=1e-4)


def test_diffnat_without_its_weight_is_dreambooth_to_the_bit(base: Any, rex: Subject) -> None:
    first = learn_fast(base, "diffnat", rex, kurtosis_weight=0.0)
    second = learn_fast(base, "dreambooth", rex)
    assert same(first.tensors, second.tensors)
    assert not same(first.tensors, learn_fast(base, "diffnat", rex, kurtosis_weight=1.0).tensors)


# -------------------------------------------------------------------------------------------------------- Unet-finetune


def test_adapters_read_after_attention_and_write_before_the_feed_forward(base: Any, rex: Subject) -> None:
    recipe = methods()["unet_finetune"](rex)
    before = state(base)
    (attention, feed_forward, wide), *_ = base.transformer_blocks().values()
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        seen: list[Any] = []
        handle = feed_forward.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        x, t = torch.randn(1, *base.latent_shape), torch.tensor([500])
        outs: list[Any] = []
        other = attention.register_forward_hook(lambda *a: outs.append(a[-1].clone()))
        base.predict(x, t, adapted.text_states(["a dog"]), context=adapted.run(time=t))
        name = next(n for n in adapted.tensors if n.endswith("up"))
        up, down = adapted.tensors[name], adapted.tensors[name.removesuffix("up") + "down"]
        up += 0.1 * torch.randn(up.shape, generator=torch.Generator().manual_seed(0))
        base.predict(x, t, adapted.text_states(["a dog"]), context=adapted.run(time=t))
        handle.remove()
        other.remove()
        assert same(state(base), before)
    assert torch.equal(outs[0], outs[1])
    change = torch.nn.functional.gelu(outs[0] @ down.T) @ up.T
    assert change.shape[-1] == wide
    assert torch.allclose(seen[1] - seen[0], change, atol=1e-4)


# --------------------------------------------------------------------------------------------------------------- PerSAM


def test_one_mask_is_carried_over_to_the_other_pictures(base: Any) -> None:
    from limner.parts.encoders import propagated_masks
    from limner.pocket.world import CORE, draw, individual, references

    drawn = draw(references(individual("car", 2_000_016, patterns=CORE.patterns), 4), size=base.picture_size)
    first = [drawn.masks[0].float()[None].expand(3, -1, -1), *(torch.ones(3, *drawn.masks[0].shape) for _ in range(3))]
    car = Subject.of(drawn.pixels, noun="car", handle="zip", masks=first)
    found = propagated_masks(base, car)
    size = found.shape[-2:]
    truth = torch.nn.functional.interpolate(drawn.masks.float()[:, None], size, mode="area") > 0.5
    assert torch.equal(found[0] > 0.5, truth[0])
    for mask, right in zip(found[1:] > 0.5, truth[1:], strict=True):
        assert (mask & right).sum() / (mask | right).sum() > 0.4


def test_persam_does_not_see_the_background(base: Any, rex: Subject) -> None:
    from limner.engine.train import Update

    recipe = methods()["persam"](rex, **fast(methods()["persam"]))
    term = recipe.stages[0].loss[0]
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        batch = term.source.prepare(base)(0, streams(0, 0))
        assert batch.mask is not None
        assert 0.05 < float(batch.mask.mean()) < 0.9
        time, noise = torch.tensor([300, 600]), torch.randn(batch.latents.shape)
        update = Update(adapted, batch, time, noise, streams(0, 0))
        update.together = [update]
        loss = term.value(update)
        off = torch.randn(noise.shape) * (batch.mask == 0)
        assert update._prediction is not None
        moved = update._prediction.output + off
        update._prediction = type(update._prediction)(moved)
        assert torch.allclose(term.value(update), loss)
        update._prediction = type(update._prediction)(moved + 0.1)
        assert not torch.allclose(term.value(update), loss)


# -------------------------------------------------------------------------------------------------------- Break-a-Scene


def test_break_a_scene_first_the_word_alone_learns(base: Any, rex: Subject) -> None:
    function = methods()["break_a_scene"]
    recipe = function(rex, **fast(function))
    points = [p.snapshot() for p in train(base, Adapter(recipe, rex.handle), stages=recipe.tuning)]
    first = points[:2]  # where the first stage ends, the second begins
    assert [(point.stage, point.step) for point in first] == [(0, 1), (1, 0)]
    assert all(set(point.tensors) == {"word.<rex>"} for point in first)
    names = set(points[-1].tensors)
    assert {"denoiser.", "text_enc", "word.<re"} == {"denoiser." if n.startswith("denoiser.") else n[:8] for n in names}
    assert not torch.equal(points[0].tensors["word.<rex>"], points[-1].tensors["word.<rex>"])


def test_break_a_scene_asks_that_its_word_is_read_on_the_mask(base: Any, rex: Subject) -> None:
    """Both stages: the term is the error of the word's attention map against the mask, and it moves the word."""
    from limner.engine.train import Update
    from limner.parts.modifiers import maps_of

    recipe = methods()["break_a_scene"](rex, attention_weight=0.5, **fast(methods()["break_a_scene"], prior_weight=0.0))
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        adapted.text_learns(True)
        vector = adapted.tensors["word.<rex>"].requires_grad_(True)
        for stage in recipe.stages:
            term = stage.loss[-1]
            batch = term.source.prepare(base)(0, streams(0, 0))
            update = Update(adapted, batch, torch.tensor([100, 200]), torch.randn(batch.latents.shape), streams(0, 0))
            update.together = [update]
            value = term.value(update)
            (slope,) = torch.autograd.grad(value, vector)
            kept, mask = update.prediction.run, batch.mask
            assert term.weight == 0.5
            assert kept is not None
            assert mask is not None
            maps = maps_of(kept.activations, cast(Any, recipe.modifiers[1])).detach()
            small = torch.nn.functional.interpolate(mask.float(), maps.shape[-2:], mode="area")[:, 0]
            assert 0.02 < float(small.mean()) < 0.98
            assert slope.abs().max() > 0
            better = vector.detach() - 0.05 * slope / slope.norm() * vector.detach().norm()
            before = vector.detach().clone()
            with torch.no_grad():
                vector.copy_(better)
                again = Update(adapted, batch, update.time, update.noise, streams(0, 0))
                again.together = [again]
                assert float(term.value(again)) < float(value)
                vector.copy_(before)
        vector.requires_grad_(False)


def test_attention_is_asked_of_the_word_where_it_is_said(base: Any, rex: Subject) -> None:
    from limner.core.recipe import Recipe
    from limner.engine.train import Update
    from limner.parts.encoders import subject_masks
    from limner.parts.modifiers import maps_of, new_word, watched_word
    from limner.parts.objectives import attention_on_mask
    from limner.parts.sources import photos

    word, watched = new_word("<rex>", like="dog"), watched_word("<rex>")
    source = photos(rex, batch=2, masks=subject_masks)
    with torch.no_grad(), attach(base, [Adapter(Recipe(says="<rex>", modifiers=(word, watched)), "<rex>")]) as adapted:
        batch = source.prepare(base)(0, streams(0, 0))
        noise, time = torch.randn(batch.latents.shape), torch.tensor([100, 200])
        update = Update(adapted, batch, time, noise, streams(0, 0))
        update.together = [update]
        loss = attention_on_mask(source, watched).value(update)
        kept = update.prediction.run
        assert kept is not None
        maps = maps_of(kept.activations, watched)
        other = update.prediction_for(["a red car"] * 2).run
        assert other is not None
        assert not maps_of(other.activations, watched).any()
    assert maps.shape == (2, 16, 16)
    assert (maps > 0).all()
    assert 0 < float(loss) < 1


# ----------------------------------------------------------------------------------------------------------------- DVAR


def test_the_frozen_loss_is_one_number_for_one_set_of_weights(base: Any, rex: Subject) -> None:
    from limner.parts.sources import photos
    from limner.parts.stops import frozen_batch, frozen_loss

    source = frozen_batch(base, photos(rex, batch=2))
    with attach(base, [Adapter(methods()["dvar"](rex), rex.handle)]) as adapted:
        adapted.text_learns(True)
        first, second = frozen_loss(adapted, source), frozen_loss(adapted, source)
        with torch.no_grad():
            adapted.tensors["word.<rex>"].normal_()
        assert first == second != frozen_loss(adapted, source)


def test_dvar_stops_early_and_equals_the_longer_run_there(base: Any, rex: Subject) -> None:
    settings: dict[str, Any] = {"batch": 2, "steps": 12}
    short = limner.learn(base, rex, method="dvar", window=4, ratio=0.9, **settings)
    assert 4 <= len(short.losses) < 12
    whole = limner.learn(base, rex, method="dvar", window=1000, **settings)
    assert len(whole.losses) == 12
    assert short.losses == whole.losses[: len(short.losses)]
    recipe = methods()["dvar"](rex, window=1000, **settings)
    for progress in train(base, Adapter(recipe, rex.handle), stages=recipe.tuning):
        if progress.done == len(short.losses):
            assert same(progress.snapshot().tensors, short.tensors)


def test_dvar_resumed_stops_where_it_would_have(base: Any, rex: Subject) -> None:
    recipe = methods()["dvar"](rex, window=4, ratio=0.9, batch=2, steps=12)
    adapted = Adapter(recipe, rex.handle)
    points = [(p.done, p.last, p.snapshot()) for p in train(base, adapted, stages=recipe.tuning)]
    assert [last for _, last, _ in points] == [False] * (len(points) - 1) + [True]
    resumed = list(train(base, adapted, stages=recipe.tuning, start=points[1][2]))
    assert resumed[-1].done == points[-1][0]
    assert resumed[-1].last


# --------------------------------------------------------------------------------------------------------- DisenDreamer


def test_disendreamer_adds_a_run_of_the_picture_alone(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(base, monkeypatch)
    progress = first_update(base, "disendreamer", rex)
    runs = {(context.prompts[0] == "", context.references is not None) for _, _, _, context, _ in seen}
    assert runs == {(False, True), (False, False), (True, True)}
    assert len(progress.losses) == 4
    without = learn_fast(base, "disendreamer", rex, alone_weight=0.0)
    assert same(without.tensors, learn_fast(base, "disenbooth", rex).tensors)


# --------------------------------------------------------------------------------------------------------- DreamBooth++


def test_packed_regions_do_not_see_one_another_and_their_loss_is_the_mean(base: Any, rex: Subject) -> None:
    from limner.engine.train import Update
    from limner.parts.objectives import denoising
    from limner.parts.sources import photos

    source = photos(rex, batch=3, packed=2)
    recipe = methods()["dreambooth_pp"](rex)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        batch = source.prepare(base)(0, streams(0, 0))
        assert batch.latents.shape[-1] == base.latent_shape[-1] // 2
        noise, time = torch.randn(batch.latents.shape), torch.tensor([100, 500, 900])

        def update(latents: torch.Tensor) -> Any:
            made = Update(adapted, type(batch)(latents, batch.prompts), time, noise, streams(0, 0))
            made.together = [made]
            return made

        whole = update(batch.latents)
        moved = batch.latents.clone()
        moved[0] += 1.0
        other = update(moved)
        assert torch.allclose(whole.prediction.output[1:], other.prediction.output[1:], atol=1e-5)
        errors = (whole.prediction.output - whole.target).square().mean((1, 2, 3))
        assert float(denoising(source).value(whole)) == pytest.approx(float(errors.mean()), rel=1e-5)


def test_dreambooth_pp_learns_from_small_pictures_beside_whole_ones_and_paints_no_class(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, seen = base.latent_shape[-1], spied(base, monkeypatch)
    plain = first_update(base, "dreambooth", rex, prior_weight=0.0)
    assert {noised.shape[-1] for noised, *_ in seen} == {side}
    seen.clear()
    progress = first_update(base, "dreambooth_pp", rex)
    assert {noised.shape[-1] for noised, *_ in seen} == {side, side // 2}
    assert {prompt for *_, context, _ in seen for prompt in context.prompts if rex.handle not in prompt}
    assert len(progress.losses) == 3
    assert progress.loss > plain.loss


def test_dreambooth_pp_starts_with_no_drift_and_counts_it_from_then_on(base: Any, rex: Subject) -> None:
    recipe = methods()["dreambooth_pp"](rex, **fast(methods()["dreambooth_pp"]))
    assert recipe.stages[0].learns_from == {"subject"}
    running = train(base, Adapter(recipe, rex.handle), stages=recipe.tuning)
    first, second = next(running).losses, next(running).losses
    running.close()
    assert first["distillation(photos)"] == pytest.approx(0.0, abs=1e-6)
    assert second["distillation(photos)"] > 1e-6


# ----------------------------------------------------------------------------------------------------------------- CoRe


def core_update(base: Any, rex: Subject, like: str) -> tuple[float, float, Any]:
    """Both regularisers with a word that is `like`, and their gradient."""
    from limner.core.recipe import Recipe
    from limner.engine.train import Update
    from limner.parts.modifiers import new_word
    from limner.parts.objectives import context_maps, context_states
    from limner.parts.sources import photos

    word, source = new_word("<rex>", like=like, keep_length=True), photos(rex, batch=2)
    with attach(base, [Adapter(Recipe(says="<rex>", modifiers=(word,)), "<rex>")]) as adapted:
        adapted.text_learns(True)
        vector = adapted.tensors["word.<rex>"].requires_grad_(True)
        batch = source.prepare(base)(0, streams(0, 0))
        update = Update(adapted, batch, torch.tensor([100, 600]), torch.randn(batch.latents.shape), streams(0, 0))
        states = context_states(source, word="<rex>", noun="dog").value(update)
        maps = context_maps(source, word="<rex>", noun="dog").value(update)
        (gradient,) = torch.autograd.grad(states + maps, vector)
        vector.requires_grad_(False)
        return float(states.detach()), float(maps.detach()), gradient


def test_core_asks_nothing_of_a_word_that_is_the_class_noun(base: Any, rex: Subject) -> None:
    states, maps, _ = core_update(base, rex, "dog")
    assert states == pytest.approx(0, abs=1e-5)
    assert maps == pytest.approx(0, abs=1e-7)
    states, maps, gradient = core_update(base, rex, "teapot")
    assert states > 1e-4
    assert maps > 1e-7
    assert gradient.abs().sum() > 0


def test_core_the_word_is_read_in_the_length_of_the_noun(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "core", rex, word_lr=0.5)
    length = base.word_vectors("dog").norm()
    assert not torch.allclose(concept.tensors["word.<rex>"].norm(), length, rtol=1e-2)
    with attach(base, [adapter_of(concept, base)]) as adapted:
        assert torch.allclose(adapted.words["<rex>"].norm(), length, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------ Perfusion


def keys_and_values(base: Any, adapted: Any, prompt: str) -> tuple[dict[str, Any], Any]:
    """Keys and values of every cross-attention layer in one pass, and the hidden states of the text."""
    seen: dict[str, Any] = {}

    def note(call: Any) -> Any:
        if call.site.kind == "cross":
            seen[call.site.name] = (call.key.clone(), call.value.clone(), call)
        return call

    t, states = torch.tensor([500]), adapted.text_states([prompt])
    run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),))
    run.operations = (*run.operations, note)
    base.predict(torch.zeros(1, *base.latent_shape), t, states, context=run)
    return seen, states


def test_perfusion_locks_the_key_and_leaves_far_words_alone(base: Any, rex: Subject) -> None:
    from limner.parts.modifiers import noun_state

    recipe = methods()["perfusion"](rex, temperature=0.01)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        states = adapted.text_states(["a photo of <rex>"])
        place = base.word_places("a photo of <rex>", "<rex>", words=adapted.words)[0]
        adapted.tensors["rank_one.<rex>.direction"].copy_(states[0, place])
        for name, tensor in adapted.tensors.items():
            if name.startswith("rank_one.<rex>.") and not name.endswith(("direction", "toward")):
                tensor += 1.0
        seen, _ = keys_and_values(base, adapted, "a photo of <rex>")
        edit: Any = recipe.modifiers[1]
        direction = adapted.tensors["rank_one.<rex>.direction"]
        toward = torch.linalg.solve(limner.parts.modifiers.second_moment(base), direction)
        adapted.tensors["rank_one.<rex>.toward"].copy_(toward)
        along, gate = edit.gates(states, direction, toward)
        assert float(along[0, place]) == pytest.approx(1.0, abs=1e-3)
        assert float(gate[0, place]) > 0.99
        site = next(site for site in base.sites if site.kind == "cross")
        key, value, call = seen[site.name]
        locked = call.heads(base.key_value(site)[0](noun_state(base, "dog"))[None, None])
        assert torch.allclose(key[:, :, place], locked[:, :, 0], atol=1e-2)
        learned_value = call.heads(adapted.tensors[f"rank_one.<rex>.{site.name}"][None, None])
        assert torch.allclose(value[:, :, place], learned_value[:, :, 0], atol=2e-2)
        plain = call.heads(base.key_value(site)[1](states))
        change = (value - plain).norm(dim=-1).mean(1)[0]
        assert float(gate[0, 0]) < 1e-3
        assert abs(float(along[0, 0])) < 0.1
        assert change[0] < 0.15 * change[place]


def test_perfusion_takes_its_second_moment_over_the_texts_of_the_base(base: Any, rex: Subject) -> None:
    """The direction is C^-1 i with C over so many texts of the base's corpus; everyday captions where it has none."""
    from limner.core.capabilities import NONE
    from limner.parts.sources.everyday import texts_for

    recipe = methods()["perfusion"](rex, captions=40)
    texts = [base.corpus.text(number) for number in range(40)]
    assert all(base.num_tokens(text, words={}) <= base.max_tokens for text in texts)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        flat = base.text_states(texts, words={}).flatten(0, 1)
        moment = flat.T @ flat / len(flat)
        moment += 0.003 * moment.diagonal().mean() * torch.eye(len(moment))
        direction, toward = (adapted.tensors[f"rank_one.<rex>.{name}"] for name in ("direction", "toward"))
        torch.testing.assert_close(moment @ toward, direction, atol=1e-3, rtol=1e-3)
    mine = copy.copy(base)
    mine.capabilities = NONE
    captions = texts_for(mine, 200)
    assert len(set(captions)) > 190
    assert not set(captions) & set(texts)


def test_perfusion_learns_values_and_the_word_and_no_key(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "perfusion", rex)
    cross = [site.name for site in base.sites if site.kind == "cross"]
    about = {"word.<rex>", "rank_one.<rex>.direction", "rank_one.<rex>.toward"}
    assert set(concept.tensors) == about | {f"rank_one.<rex>.{s}" for s in cross}
    assert concept.num_bytes < 100_000
    adapted, bare = (limner.paint(base, "a red car", concepts=c, seed=1, settings=QUICK) for c in ([concept], []))
    assert adapted[0].image.tobytes() == bare[0].image.tobytes()


# ---------------------------------------------------------------------------------------------- Compositional Inversion


def test_an_anchored_word_says_what_is_nearer_to_what_the_base_knows(base: Any, rex: Subject) -> None:
    about: dict[str, Any] = {"steps": 15, "lr": 0.03, "batch": 2}
    wanted, away = base.text_states(["a photo of dog"], words={}), {}
    concepts = {
        weight: limner.learn(base, rex, method="compositional_inversion", anchor_weight=weight, **about)
        for weight in (0.0, 0.95)
    }
    for weight, concept in concepts.items():
        said = base.text_states(["a photo of <rex>"], words={"<rex>": concept.tensors["word.<rex>"]})
        away[weight] = float((said - wanted).square().mean())
    assert away[0.95] < 0.6 * away[0.0]
    plain = limner.learn(base, rex, method="textual_inversion", vectors=1, **about)
    assert same(plain.tensors, concepts[0.0].tensors)


def test_a_box_draws_the_words_attention_in_and_lets_go_of_the_late_steps(base: Any, rex: Subject) -> None:
    from limner.core.adapted import Moment
    from limner.parts.attention.boxes import _inside, box_of, drawn_into, region_of

    box = box_of("0,0,0.5,1")
    assert box is not None
    assert box == (0, 0, 0.5, 1)
    recipe = methods()["textual_inversion"](rex)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        x = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        prompts = ("a photo of <rex>", "a red car")
        states = adapted.text_states(list(prompts))
        early, late = (Moment(adapted, x, torch.tensor(900), step, 10, prompts, states) for step in (0, 5))
        moved = drawn_into("<rex>", box, enough=0.0)(early)
        assert torch.equal(moved[1], x[1])
        assert torch.equal(drawn_into("<rex>", box)(late), x)
        assert torch.equal(drawn_into("<rex>", box, enough=1.0)(early), x)
        before, after = (_inside(early, latents[:1], [0], "<rex>", region_of(box, x)) for latents in (x, moved))
        assert float(after) > float(before)


def test_compositional_inversion_guides_its_word_into_the_region_of_a_picture(base: Any, rex: Subject) -> None:
    """The region that the user gives in painting comes before the box; without either nothing is moved."""
    from limner.core.adapted import Moment
    from limner.parts.attention.boxes import _inside, box_of, region_of

    (left, right) = (box for box in map(box_of, ("0,0,0.5,1", "0.5,0,1,1")) if box)
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    prompts, at = ("a photo of <rex>",), torch.tensor(900)
    found: dict[str, float] = {}
    given: dict[str, tuple[str, dict[str, torch.Tensor]]] = {
        "nothing": ("", {}),
        "box": ("0,0,0.5,1", {}),
        "region": ("0,0,0.5,1", {"<rex>": region_of(right, x)}),
    }
    for name, (box, regions) in given.items():
        recipe = methods()["compositional_inversion"](rex, box=box)
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
            moment = Moment(adapted, x, at, 0, 10, prompts, adapted.text_states(prompts), regions=regions)
            moved = x
            for _ in range(4):
                moved = recipe.painting.latents[0](moment._replace(latents=moved))
            found[name] = float(_inside(moment, moved, [0], "<rex>", region_of(left, x)))
    assert found["region"] < found["nothing"] < found["box"]


@pytest.mark.parametrize("text", ["1,2", "a,b,c,d", "0.5,0,0.2,1", "0,0,2,1"])
def test_a_box_that_is_none_is_refused(text: str) -> None:
    from limner.errors import InputError
    from limner.parts.attention import box_of

    with pytest.raises(InputError, match="box"):
        box_of(text)


# ---------------------------------------------------------------------------------------------------- DreamDistribution


def _note_keys(seen: list[Any]) -> Any:
    """An operation that notes the keys of every call."""
    return lambda call: (seen.append(call.key.clone()), call)[1]


def test_dreamdistribution_varies_by_seed_and_not_without_spread(base: Any, rex: Subject) -> None:
    read: dict[float, list[Any]] = {}
    for spread in (1.0, 0.0):
        with (
            torch.no_grad(),
            attach(base, [Adapter(methods()["dreamdistribution"](rex, spread=spread), "<rex>")]) as adapted,
        ):
            for seed in (1, 2):
                seen: list[Any] = []
                run = adapted.run(time=torch.tensor([500]), prompts=("a photo of <rex>",), seeds=(seed,))
                run.operations = (*run.operations, _note_keys(seen))
                states = adapted.text_states(["a photo of <rex>"])
                base.predict(torch.zeros(1, *base.latent_shape), torch.tensor([500]), states, context=run)
                read.setdefault(spread, []).append(seen)
    cross = [site.kind for site in base.sites].index("cross")
    assert not torch.equal(read[1.0][0][cross], read[1.0][1][cross])
    assert all(torch.equal(a, b) for a, b in zip(*read[0.0], strict=True))


def test_dreamdistribution_every_prompt_learns_at_every_step(base: Any, rex: Subject) -> None:
    recipe = methods()["dreamdistribution"](rex, steps=1, batch=2, prompts=5)
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        start = adapted.tensors["states.<rex>.contexts"].detach().clone()
    (progress,) = train(base, Adapter(recipe, rex.handle), stages=recipe.tuning)
    moved = progress.snapshot().tensors["states.<rex>.contexts"] - start
    assert moved.shape == (5, 4, base.word_vectors("dog").shape[1])
    assert (moved.flatten(1).abs().sum(1) > 0).all()
    assert 0 < progress.losses["prompts apart(photos)"] <= 1e-3


# ----------------------------------------------------------------------------------------------------- Data Perspective


def class_prompts(base: Any, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts of all class images of a recipe, none of which is painted."""
    from limner.parts.sources import class_pictures

    asked: list[str] = []

    def painted(_: Any, prompts: Any, count: int) -> torch.Tensor:
        asked.extend(prompts)
        return torch.zeros(count, *base.latent_shape)

    monkeypatch.setattr(sys.modules[class_pictures.__module__], "painted", painted)
    recipe.stages[0].loss[1].source.prepare(base)
    return asked


def test_a_class_image_has_the_subjects_caption_without_its_rare_word(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = methods()["he_data_perspective"](rex, batch=32)
    own = recipe.stages[0].loss[0].source.prepare(base)(0, streams(0, 0)).prompts
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        expanded = [adapted.expand_prompt(prompt) for prompt in own]
    (rare,) = {word for prompt in expanded for word in prompt.split() if word in base.rare_words}
    prior = class_prompts(base, recipe, monkeypatch)
    assert {prompt.replace(f"{rare} ", "") for prompt in expanded} <= set(prior)
    assert len(set(prior)) > 24
    plain = class_prompts(base, methods()["dreambooth"](rex), monkeypatch)
    assert not set(plain) & set(prior)


def test_without_a_captioner_clip_names_the_background(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.core.capabilities import NONE

    at = torch.Generator().manual_seed(0)
    answers = torch.nn.functional.normalize(torch.randn(99, 8, generator=at), dim=-1)
    monkeypatch.setattr(base, "capabilities", NONE)
    texts: list[str] = []

    def features(prompts: Any, *, words: Any) -> torch.Tensor:
        texts[:] = prompts
        return answers[: len(texts)]

    monkeypatch.setattr(base, "text_features", features)
    monkeypatch.setattr(base, "picture_features", lambda pixels: answers[[2, 0, 5]] * 3)
    recipe = methods()["he_data_perspective"](rex, batch=3)
    own = set(recipe.stages[0].loss[0].source.prepare(base)(0, streams(0, 0)).prompts)
    assert own == {texts[k].replace("a dog", "<rex>") for k in (2, 0, 5)}
    assert len(own) == 3


def test_a_base_that_cannot_caption_asks_for_captions(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.core.capabilities import NONE
    from limner.errors import InputError

    def none(*_: Any, **__: Any) -> None:
        raise InputError("no CLIP")

    monkeypatch.setattr(base, "capabilities", NONE)
    monkeypatch.setattr(base, "picture_features", none)
    with pytest.raises(InputError, match="captions of your own"):
        methods()["he_data_perspective"](rex).stages[0].loss[0].source.prepare(base)
    captioned = Subject.of([p.image for p in rex.pictures], noun="dog", handle="rex", captions=["<rex> at home"] * 3)
    own = methods()["he_data_perspective"](captioned, batch=1).stages[0].loss[0].source.prepare(base)
    assert own(0, streams(0, 0)).prompts == ("<rex> at home",)


def test_a_caption_of_the_users_own_stays(base: Any, rex: Subject) -> None:
    from dataclasses import replace

    first = replace(rex.pictures[0], caption="my <rex> asleep")
    mine = replace(rex, pictures=(first, *rex.pictures[1:]))
    recipe = methods()["he_data_perspective"](mine, prior_weight=0.0, batch=3)
    said = recipe.stages[0].loss[0].source.prepare(base)(0, streams(0, 0)).prompts
    assert "my <rex> asleep" in said
    assert len(set(said)) > 1


# ----------------------------------------------------------------------------------------------------------- CatVersion


def test_catversion_changes_no_word_and_no_weight_and_only_the_last_text_layers(base: Any, rex: Subject) -> None:
    """By default the last quarter of the layers: 3 of the 12 of the authors' text encoder."""
    concept = learn_fast(base, "catversion", rex)
    layers, before = base.text_attention(), state(base)
    changed = max(1, len(layers) // 4)
    assert changed < len(layers)
    last = range(len(layers) - changed, len(layers))
    assert set(concept.tensors) == {f"prefix.{layer}.{part}" for layer in last for part in ("key", "value")}

    def outputs(adapters: list[Any], prompt: str) -> list[Any]:
        """Outputs of every layer of the text encoder, and its hidden states."""
        seen: list[Any] = []
        with torch.no_grad(), attach(base, adapters) as adapted:
            handles = [x.layer.register_forward_hook(lambda *a: seen.append(a[-1][0].clone())) for x in layers]
            states = adapted.text_states([prompt])
            for handle in handles:
                handle.remove()
            assert same(state(base), before)
        return [*seen[: len(layers)], states]

    bare, adapted = outputs([], "a dog"), outputs([adapter_of(concept, base)], "a <rex>")
    equal = [torch.equal(a, b) for a, b in zip(bare, adapted, strict=True)]
    assert equal == [True] * (len(layers) - changed) + [False] * (changed + 1)
    assert torch.equal(outputs([], "a dog")[-1], bare[-1])


def test_a_prefix_that_nobody_looks_at_changes_nothing(base: Any) -> None:
    layer = base.text_attention()[-1]
    shape = (layer.heads, layer.width)
    with torch.no_grad():
        plain = base.text_states(["a dog in the snow"], words={})
        hidden = torch.randn(2, 7, layer.heads * layer.width)
        far = torch.full(shape, -1e4) * layer.layer.q_proj(hidden)[0, 0].sign().view(shape)
        stock = layer.layer(hidden, attention_mask=torch.full((7, 7), float("-inf")).triu(1)[None, None])[0]
        ours = layer._attended(hidden, far, torch.ones(shape))
        with layer.with_prefix(torch.zeros(shape), torch.zeros(shape), 1.0, lambda: False):
            off = base.text_states(["a dog in the snow"], words={})
    assert torch.allclose(ours[0, :1], stock[0, :1], atol=1e-4)
    assert torch.equal(off, plain)


# --------------------------------------------------------------------------------------------------------------- COMCAT


def test_comcat_changes_products_by_its_rank_and_no_weight(base: Any, rex: Subject) -> None:
    from limner.bases.common.attention import attend
    from limner.core.types import AttentionCall, Pass

    recipe, before = methods()["comcat"](rex, rank=2), state(base)
    site = next(site for site in base.sites if site.kind == "cross")
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for tensor in adapted.tensors.values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
        heads, wide, context = base.attention_widths(site)
        hidden, states = torch.randn(1, 9, wide), torch.randn(1, 5, context)
        parts = [torch.randn(1, heads, n, wide // heads) for n in (9, 5, 5)]
        query, key, value = parts
        call = AttentionCall(site, torch.nn.Identity(), hidden, states, query, key, value, Pass())
        changed = adapted.operations[0](call)
        scale = (wide // heads) ** 0.5
        logits = changed.query @ changed.key.mT / changed.query.shape[-1] ** 0.5 * scale
        update = logits - query @ key.mT
        assert all(int(torch.linalg.matrix_rank(one, atol=1e-3)) == 2 for one in update[0])
        assert torch.allclose(changed.value[..., : wide // heads], value)
        out = attend(changed)
        assert out.shape[-1] == wide // heads + 2
        assert changed.beyond[0](out[..., wide // heads :]).shape == (1, 9, wide)
        assert same(state(base), before)


def test_changes_of_two_comcat_adapters_add_up(base: Any, rex: Subject) -> None:
    """Logits and outputs of two are the base's and the sum of what each adds."""
    from limner.bases.common.attention import attend
    from limner.core.types import AttentionCall, Pass

    site = next(site for site in base.sites if site.kind == "cross")
    heads, wide, context = base.attention_widths(site)
    draw = torch.Generator().manual_seed(0)
    hidden, states = torch.randn(1, 9, wide, generator=draw), torch.randn(1, 5, context, generator=draw)
    query, key, value = (torch.randn(1, heads, n, wide // heads, generator=draw) for n in (9, 5, 5))
    adapters = [Adapter(methods()["comcat"](rex, rank=rank), handle) for rank, handle in ((2, "<a>"), (3, "<b>"))]
    with torch.no_grad(), attach(base, adapters) as adapted:
        for live in adapted.live.values():
            for tensor in live.tensors.values():
                tensor += 0.1 * torch.randn(tensor.shape, generator=draw)
        logits, calls = [], []
        for operations in ((), adapted.operations[:1], adapted.operations[1:], adapted.operations):
            call = AttentionCall(site, torch.nn.Identity(), hidden, states, query, key, value, Pass())
            for operation in operations:
                call = operation(call)
            calls.append(call)
            logits.append(call.query @ call.key.mT / call.query.shape[-1] ** 0.5)
        assert torch.allclose(logits[3], logits[1] + logits[2] - logits[0], atol=1e-5)
        out = attend(calls[3])[..., wide // heads :]
        values = [(logits[3].softmax(-1) @ call.value)[..., wide // heads :] for call in calls[1:3]]
        for k, call in enumerate(calls[1:3]):
            assert torch.allclose(calls[3].beyond[k](out), call.beyond[0](values[k]), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- MATTE


def test_matte_says_each_attribute_in_its_layers_and_its_time(base: Any, rex: Subject) -> None:
    """Layers by the positions that they have in a run: the most are fine, and read no attribute; the next are
    moderate."""
    from limner.core.types import Pass
    from limner.parts.modifiers.varying_words import ATTRIBUTES, SCOPES, scoped

    positions: list[int] = []

    def note(call: Any) -> Any:
        if call.site.kind == "cross":
            positions.append(call.query.shape[2])
        return call

    t = torch.tensor([500])
    base.predict(torch.zeros(1, *base.latent_shape), t, base.text_states([""], words={}), context=Pass((note,), time=t))
    finest, next_, *_ = sorted(set(positions), reverse=True)
    kinds = ["fine" if n == finest else "moderate" if n == next_ else "coarse" for n in positions]
    assert set(kinds) == {"fine", "moderate", "coarse"}
    plain = base.word_vectors("dog")
    varied = scoped()(base, plain, len(kinds), torch.Generator())
    own = {name: torch.full_like(plain[0], k + 1.0) for k, name in enumerate(ATTRIBUTES)}
    for site, kind in enumerate(kinds):
        for time, third in ((10, 0), (500, 1), (990, 2)):
            said = varied.vectors(own, site, varied.moment(time), None)
            read = [name for name, scope in SCOPES.items() if scope == (kind, third)]
            assert torch.equal(said, own[read[0]][None] if read else plain)
    fine = [site for site, kind in enumerate(kinds) if kind == "fine"]
    assert all(torch.equal(varied.vectors(own, site, third, None), plain) for site in fine for third in range(3))
    for name in ("colour", "style"):  # where they are read, the coarse layers read the noun or another attribute
        third = SCOPES[name][1]
        assert torch.equal(varied.vectors(own, kinds.index("moderate"), third, None), own[name][None])
    silent = scoped(("colour",))(base, plain, len(kinds), torch.Generator())
    assert torch.equal(silent.vectors(own, kinds.index("coarse"), 1, None), plain)


def test_layers_of_stable_diffusion_are_fine_moderate_and_coarse() -> None:
    from limner.core.types import Site
    from limner.parts.modifiers.varying_words import scales

    blocks: list[tuple[str, Any, int]] = [(f"down_blocks.{k}", "down", 2) for k in range(3)]
    blocks += [("mid_block", "mid", 1), *((f"up_blocks.{k}", "up", 3) for k in (1, 2, 3))]
    names = [(f"{block}.attentions.{k}.attn2", way) for block, way, count in blocks for k in range(count)]
    found = scales([Site(name, "cross", way, k) for k, (name, way) in enumerate(names)])
    assert found == ["fine"] * 2 + ["moderate"] * 2 + ["coarse"] * 6 + ["moderate"] * 3 + ["fine"] * 3
    assert scales([Site("mid_block.attentions.0.attn2", "cross", "mid", 0)]) == ["moderate"]


def test_matte_left_out_attributes_change_nothing(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "matte", rex, lr=0.1)
    from dataclasses import replace

    without = replace(concept, settings={**concept.settings, "keep": "object"})
    moved = {n: t + 1.0 * torch.randn_like(t) if n.endswith("style") else t for n, t in concept.tensors.items()}
    pictures = [
        limner.paint(base, "<rex> on the beach", concepts=[c], seed=1, settings=QUICK)[0].image.tobytes()
        for c in (without, replace(without, tensors=moved), concept, replace(concept, tensors=moved))
    ]
    assert pictures[0] == pictures[1]
    assert pictures[2] != pictures[3]


# ---------------------------------------------------------------------------------------------------------------- DETEX


def test_detex_pictures_share_the_subjects_word_and_differ_in_their_own(base: Any, rex: Subject) -> None:

    recipe = methods()["detex"](rex, batch=3)
    every, alone, behind = (term.source.prepare(base)(0, streams(0, 0)) for term in recipe.stages[0].loss)
    assert len(set(every.prompts)) == 3
    assert all("<rex>" in text and "<rex-pose-" in text and "<rex-background-" in text for text in every.prompts)
    assert set(alone.prompts) == {"a photo of <rex>"}
    assert all("<rex>" not in text and "<rex-background-" in text for text in behind.prompts)
    assert alone.mask is not None
    assert behind.mask is not None
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for name, tensor in adapted.tensors.items():
            if name.endswith("out"):
                tensor += torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
        adapted.text_learns(True)
        first, second = adapted.text_states(["a <rex-pose-0> pose", "a <rex-pose-1> pose"])
        assert not torch.equal(first, second)
        subject_alone = adapted.text_states(["a photo of <rex>"])
        adapted.tensors["mapped.<rex>.features"].normal_()
        assert torch.equal(adapted.text_states(["a photo of <rex>"]), subject_alone)
        assert not torch.equal(adapted.text_states(["a <rex-pose-0> pose"])[0], first)


# ----------------------------------------------------------------------------------------------------------------- ViCo


def test_otsu_parts_two_heaps() -> None:
    from limner.parts.modifiers import otsu

    at = torch.Generator().manual_seed(0)
    dark, light = 0.2 + 0.05 * torch.rand(1, 40, generator=at), 0.8 + 0.05 * torch.rand(1, 24, generator=at)
    assert torch.equal(otsu(torch.cat([dark, light], 1))[0], torch.tensor([0.0] * 40 + [1.0] * 24))
    assert otsu(torch.ones(1, 9)).sum() >= 0


def test_vico_starts_as_textual_inversion_and_looks_only_inside_the_mask(base: Any, rex: Subject) -> None:
    from importlib import import_module

    part = import_module("limner.parts.modifiers.image_attention")

    recipe = methods()["vico"](rex)
    x, t = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    prompt = "a photo of <rex>"
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        states = adapted.text_states([prompt])
        dressed = base.predict(x, t, states, context=adapted.run(time=t, prompts=(prompt,)))
        plain = base.predict(x, t, states, context=limner.core.types.Pass(time=t))
        assert torch.allclose(dressed, plain, atol=1e-6)
        for name, tensor in adapted.tensors.items():
            if name.endswith(".out"):
                tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
        run = adapted.run(time=t, prompts=(prompt,))
        moved = base.predict(x, t, states, context=run)
        assert not torch.allclose(moved, plain, atol=1e-3)
        hidden, masks = run.cache[id(recipe.modifiers[1])]
        assert all(0 < float(mask.mean()) < 1 for mask in masks.values())
        site = next(iter(hidden))
        call = type(
            "Call",
            (),
            {"hidden": torch.randn(1, 5, hidden[site].shape[-1]), "heads": staticmethod(lambda v: v[:, None])},
        )
        own = [adapted.tensors[f"image_attention.{site}.{name}"] for name in ("query", "key", "value", "out")]
        first = part._attended(call, own, hidden[site], masks[site])
        outside = hidden[site] + 9 * (1 - masks[site])[..., None]
        assert torch.allclose(first, part._attended(call, own, outside, masks[site]), atol=1e-5)


def test_vico_leaves_rows_without_the_word_as_the_base_has_them(base: Any, rex: Subject) -> None:
    recipe, prompts = methods()["vico"](rex), ("a photo of <rex>", "a red car")
    x = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500, 500])
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        for name, tensor in adapted.tensors.items():
            if name.endswith(".out"):
                tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
        states = adapted.text_states(list(prompts))
        plain = base.predict(x, t, states, context=limner.core.types.Pass(time=t))
        mixed = base.predict(x, t, states, context=adapted.run(time=t, prompts=prompts))
        assert torch.allclose(mixed[1], plain[1], atol=1e-5)
        assert not torch.allclose(mixed[0], plain[0], atol=1e-3)
        run = adapted.run(time=t, prompts=("", prompts[0]), branches=("negative", "text"))
        guided = base.predict(x, t, adapted.text_states(["", prompts[0]]), context=run)
        plain = base.predict(x, t, adapted.text_states(["", prompts[0]]), context=limner.core.types.Pass(time=t))
        assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(guided, plain, strict=True))


def test_vico_holds_the_words_attention_to_that_of_the_end_token(base: Any, rex: Subject) -> None:
    """Squared difference of the two maps, each divided by its maximum; the end token's is the target (Eq. 6)."""
    from limner.core.types import Prediction
    from limner.engine.train import Update
    from limner.parts.modifiers.image_attention import END, WORD

    term = methods()["vico"](rex).stages[0].loss[1]
    nothing: Any = None
    star = torch.tensor([[0.1, 0.2, 0.4]], requires_grad=True)
    end = torch.tensor([[0.3, 0.1, 0.2]], requires_grad=True)
    run = limner.core.types.Pass()
    run.activations |= {WORD: star, END: end.detach()}
    update = Update(nothing, nothing, nothing, nothing, nothing)
    update._prediction = Prediction(nothing, run)
    value = term.value(update)
    expected = ((torch.tensor([0.25, 0.5, 1.0]) - torch.tensor([1.0, 1 / 3, 2 / 3])) ** 2).mean()
    assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert term.weight == 5e-4


def test_vico_leaves_the_base_alone(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "vico", rex)
    assert not [name for name in concept.tensors if name.startswith(("denoiser.", "text_encoder."))]
    ups = [site.name for site in base.sites if site.kind == "cross" and site.block == "up"]
    assert {n.split(".query")[0] for n in concept.tensors if n.endswith(".query")} == {
        f"image_attention.{name}" for name in ups[::2]
    }


# ----------------------------------------------------------------------------------------------- Prototypical embedding


def test_the_word_is_its_prototype_before_any_denoising(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.parts.encoders import subject_masks
    from limner.parts.objectives import prototypical_embedding

    recipe = methods()["lu_prototypical"](rex, word_steps=30, word_lr=0.03)
    target, seen = prototypical_embedding(base, rex, subject_masks), spied(base, monkeypatch)
    *_, last = train(base, Adapter(recipe, rex.handle), stages=recipe.tuning[:1])
    assert not seen

    def near(words: dict[str, Any]) -> float:
        found = base.text_features(["a photo of <rex>"], words=words)
        return float(torch.cosine_similarity(found, target).detach())

    started = near({"<rex>": base.word_vectors("dog")})
    learned_word = near({"<rex>": last.snapshot().tensors["word.<rex>"]})
    assert learned_word > started
    assert learned_word > 0.9


def test_text_and_picture_features_share_a_space(base: Any) -> None:
    from limner.pocket import judges

    said = ["a photo of a dog", "a red car on the beach"]
    ours = torch.nn.functional.normalize(base.text_features(said, words={}), dim=-1)
    theirs = torch.nn.functional.normalize(judges.text_features(said), dim=-1)
    assert torch.allclose(ours, theirs, atol=2e-3)


# ----------------------------------------------------------------------------------------------------------- HiFi Tuner


def test_hifi_tuner_every_step_has_a_vector_of_the_nouns_length(base: Any, rex: Subject) -> None:
    from limner.parts.modifiers import per_step

    plain = base.word_vectors("dog")
    varied = per_step(50)(base, plain, 7, torch.Generator())
    own = {
        name: t + torch.randn(t.shape, generator=torch.Generator().manual_seed(0)) for name, t in varied.start.items()
    }
    found = [varied.vectors(own, 0, varied.moment(time), None) for time in (0, 19, 20, 999)]
    assert all(torch.allclose(v.norm(), plain.norm(), rtol=1e-4) for v in found)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[1], found[2])
    recipe = methods()["hifi_tuner"](rex, **fast(methods()["hifi_tuner"]))
    names = [set(p.snapshot().moments) for p in train(base, Adapter(recipe, rex.handle), stages=recipe.tuning)]
    assert {n.rsplit(".", 1)[1] for n in names[0]} == {"shared"}
    assert {n.rsplit(".", 1)[1] for n in names[-1]} == {"steps"}


def test_hifi_tuner_gives_the_subjects_place_the_references_statistics(base: Any, rex: Subject) -> None:
    from limner.core.adapted import Moment
    from limner.parts.guidance import reference as part
    from limner.parts.guidance import reference_statistics

    recipe = methods()["hifi_tuner"](rex)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        x, prompts = (
            torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0)),
            ("a <rex>", "a car"),
        )
        moment = Moment(adapted, x, torch.tensor(500), 4, 10, prompts, adapted.text_states(list(prompts)))
        guide = reference_statistics(cast(Any, recipe.modifiers[1]), "<rex>", "a dog", strength=1.0)
        moved, where = guide(moment), part._read(moment, [0], "<rex>")
        assert torch.equal(moved[1], x[1])
        assert torch.equal(moved[:1] * (1 - where), x[:1] * (1 - where))
        tensors = adapted.live[recipe.modifiers[1]].tensors
        shown = adapted.cache[(id(recipe.modifiers[1]), 10)][4][None]
        wanted, found = part._statistics(shown, tensors[part.MASK]), part._statistics(moved[:1], where)
        assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(wanted, found, strict=True))
        for step in (0, 9):
            assert torch.equal(guide(moment._replace(step=step)), x)


# ------------------------------------------------------------------------------------------------------------- Infusion


def test_infusion_attends_as_the_base_does_and_changes_what_is_painted(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.engine.sample import sample

    concept = learn_fast(base, "infusion", rex, steps=6, lr=0.5)
    assert concept.num_bytes < 20_000
    maps: list[Any] = []

    def note(call: Any) -> Any:
        if call.site.kind == "cross":
            call.on_maps.append(lambda m: (maps.append(m.clone()), m)[1])
        return call

    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        plain = type(adapted).painting_operations.fget  # type: ignore[attr-defined]
        monkeypatch.setattr(type(adapted), "painting_operations", property(lambda self: (*plain(self), note)))
        for at in sample(adapted, ["a <rex> on the beach"], seeds=[3], settings=QUICK):
            latents = at.latents
    assert latents.shape[0] == 1
    assert maps[0].shape[0] == 4
    for one in maps:
        assert torch.equal(one[0], one[1])
        assert torch.equal(one[2], one[3])
    dog = limner.paint(base, "a dog on the beach", seed=3, settings=QUICK)[0]
    mine = limner.paint(base, "a <rex> on the beach", concepts=[concept], seed=3, settings=QUICK)[0]
    assert mine.image.tobytes() != dog.image.tobytes()
    other = [limner.paint(base, "a red car", concepts=c, seed=3, settings=QUICK)[0] for c in ([concept], [])]
    first, second = (torch.tensor(list(p.image.tobytes())).float() for p in other)
    assert torch.allclose(first, second, atol=1.0)


def test_two_infusion_concepts_share_the_base_s_attention(base: Any, rex: Subject) -> None:
    """Both subjects' residuals act in one picture, and every map is still the base's own."""
    from limner.engine.sample import sample
    from limner.pocket.subjects import toy

    both = [
        learn_fast(base, "infusion", subject, steps=3, lr=0.5)
        for subject in (rex, toy("cat", 2_000_031, count=2, name="tom"))
    ]
    pictures = []
    for concepts in (both, both[:1], both[1:]):
        maps: list[Any] = []

        def note(call: Any, maps: list[Any] = maps) -> Any:
            if call.site.kind == "cross":
                call.on_maps.append(lambda m: (maps.append(m.clone()), m)[1])
            return call

        with torch.no_grad(), attach(base, [adapter_of(concept, base) for concept in concepts]) as adapted:
            prompt = "<rex> and <tom> on the beach"
            for concept, noun in zip(both, ("dog", "cat"), strict=True):
                prompt = prompt if concept in concepts else prompt.replace(concept.handle, noun)
            adapted.live.every()[0].operations += (note,)
            *_, last = sample(adapted, [prompt], seeds=[3], settings=QUICK)
        assert all(torch.equal(one[0], one[1]) and torch.equal(one[2], one[3]) for one in maps)
        assert maps
        pictures.append(last.latents)
    assert all((pictures[0] - alone).norm() > 1e-3 * alone.norm() for alone in pictures[1:])


# ------------------------------------------------------------------------------------------------------------------ DCI


def test_dci_a_context_learns_from_its_own_picture_alone(base: Any, rex: Subject) -> None:
    function = methods()["dci"]
    recipe = function(rex, **fast(function, batch=1, steps=1, prior_weight=0.0))
    (progress,) = train(base, Adapter(recipe, rex.handle), stages=recipe.tuning)
    start = base.word_vectors("a photo of")
    tensors = {n: t for n, t in progress.snapshot().tensors.items() if "-context-" in n}
    assert len(tensors) == len(rex.pictures)
    assert sum(not torch.equal(t, start) for t in tensors.values()) == 1


def test_dci_the_subject_is_token_and_noun_and_the_context_is_neither(base: Any) -> None:
    """The share of the branch without the subject is not raised by its attention to the class noun."""
    from limner.parts.modifiers import branch_integration

    own, other = branch_integration("<rex>", "dog").columns(base, "a <rex> dog on the beach")
    assert own == [2, 3]
    assert other == [1, 3, 4, 5]  # of "a dog on the beach", whose noun is at 2
    noun = "dog toy" if len(base.word_vectors("dog toy")) == 2 else "toy dog"
    own, other = branch_integration("<rex>", noun).columns(base, f"a <rex> {noun} and a <rex> {noun} snow")
    assert own == [2, 3, 4, 7, 8, 9]
    assert other == [1, 4, 5, 8]


def test_dci_two_branches_early_and_one_late(base: Any, rex: Subject) -> None:
    from limner.parts.modifiers import branch_integration

    part = branch_integration("<rex>", "dog")
    at = torch.Generator().manual_seed(0)
    shares = part.shares(torch.rand(9, generator=at), torch.rand(9, generator=at))
    assert torch.allclose(shares.sum(0), torch.ones(9))
    assert torch.equal(
        branch_integration("<rex>", "dog", favour=2.0).shares(*shares)[0] > part.shares(*shares)[0], torch.ones(9) > 0
    )
    concept = learn_fast(base, "dci", rex)
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        said = adapted.expand_prompt("a <rex> on the beach")
        assert adapted.parallel_stream is not None
        prompts = (said, adapted.parallel_stream(said))
        assert prompts[1] == "a dog on the beach"
        states, x = (
            adapted.text_states(["a <rex> on the beach", prompts[1]]),
            torch.randn(2, *base.latent_shape, generator=at),
        )
        for time, together in ((900, True), (500, False)):
            t = torch.tensor([time, time])
            two = base.predict(x, t, states, context=adapted.run(time=t, prompts=prompts, parallel_stream=True))
            plain = base.predict(x, t, states, context=adapted.run(time=t, prompts=prompts))
            assert torch.allclose(two[1], plain[1], atol=1e-5)
            assert torch.allclose(two[0], plain[0], atol=1e-5) != together


# ------------------------------------------------------------------------------------------ captions of the user's own


def captioned(rex: Subject) -> Subject:
    from dataclasses import replace

    pictures = tuple(replace(picture, caption=f"<rex> asleep, {{{k}}}") for k, picture in enumerate(rex.pictures))
    return replace(rex, pictures=pictures)


def prompts_of(base: Any, name: str, subject: Subject, term: int) -> set[str]:
    source = methods()[name](subject, batch=len(subject.pictures)).stages[0].loss[term].source
    return set(source.prepare(base)(0, streams(0, 0)).prompts)


def test_captions_of_the_users_own_keep_the_words_of_each_method(base: Any, rex: Subject) -> None:
    subject, numbers = captioned(rex), range(len(rex.pictures))
    own = [f"<rex> asleep, {{{k}}}" for k in numbers]
    assert prompts_of(base, "detex", subject, 0) == {
        f"{own[k]} <rex-pose-{k}> pose <rex-background-{k}> background" for k in numbers
    }
    assert prompts_of(base, "detex", subject, 1) == {"a photo of <rex>"}
    assert prompts_of(base, "detex", subject, 2) == {f"a photo of <rex-background-{k}> background" for k in numbers}
    assert prompts_of(base, "dci", subject, 0) == {f"<rex-context-{k}> {own[k]}" for k in numbers}
    assert prompts_of(base, "lego", subject, 0) == {f"<rex-bearer> {caption}" for caption in own}
    assert prompts_of(base, "clic", subject, 0) == set(own)
    assert prompts_of(base, "clic", subject, 1) == {"<rex>"}
    assert prompts_of(base, "dreambooth", subject, 0) == set(own)


# ------------------------------------------------------------------------------------------- nouns of several tokens


def test_a_word_starts_from_all_tokens_of_its_noun(base: Any) -> None:
    from limner.parts.modifiers import new_word

    start = base.word_vectors("bow tie")
    assert len(start) == 2

    def begun(count: int) -> Any:
        return new_word("<rex>", like="bow tie", num_vectors=count)(
            base, stored={}, generator=torch.Generator(), scale=1.0
        )

    with begun(1) as one, begun(0) as every, begun(3) as three:
        vectors = [live.tensors["word.<rex>"].detach() for live in (one, every, three)]
    mean = start.mean(0) / start.mean(0).norm() * start.norm(dim=-1).mean()
    torch.testing.assert_close(vectors[0], mean[None])
    assert torch.equal(vectors[1], start)
    assert torch.equal(vectors[2], start[[0, 1, 0]])


@pytest.mark.parametrize("noun", ["dog", "bow tie"])
def test_core_regularises_nothing_while_the_word_is_its_noun(base: Any, rex: Subject, noun: str) -> None:
    from dataclasses import replace

    from limner.engine.train import Update

    recipe = methods()["core"](replace(rex, noun=noun), batch=1)
    states, maps = recipe.stages[0].loss[1:]
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        batch = states.source.prepare(base)(0, streams(0, 0))
        update = Update(adapted, batch, torch.tensor([500]), torch.randn(batch.latents.shape), streams(0, 0))
        assert abs(float(states.value(update))) < 1e-5
        assert abs(float(maps.value(update))) < 1e-5
        adapted.tensors["word.<rex>"].copy_(base.word_vectors("on car" if noun == "bow tie" else "car"))
        assert float(states.value(update)) > 1e-3


def test_core_compares_the_same_words_beside_a_noun_of_another_length(base: Any, rex: Subject) -> None:
    from types import SimpleNamespace

    from limner.parts.objectives.context import _others

    adapted: Any = SimpleNamespace(base=base, words={"<rex>": torch.zeros(1, 1)})
    step: Any = SimpleNamespace(adapted=adapted)
    assert _others(step, "a photo of {} in the snow", "<rex>", "bow tie") == (
        [0, 1, 2, 3, 5, 6, 7, 8],
        [0, 1, 2, 3, 6, 7, 8, 9],
    )
