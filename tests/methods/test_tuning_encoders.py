"""The distinct properties of the tuning encoders, Taming Encoder and Versatile Diffusion."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import limner
from limner.core.recipe import Recipe
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, Pass, Prediction, References
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders import clip_classes, clip_global, mean_of
from limner.parts.encoders.denoiser import features_under_way
from limner.parts.encoders.looks import Look
from limner.parts.fusion import context_stack, dual_path, noise_aware, tunable, words_of_pictures
from limner.parts.modifiers import changed_states, changed_weights, low_rank, multiplied, predicted_low_rank
from limner.parts.modifiers.words import nearest, real_words
from limner.parts.objectives import among_words, same_identity, short
from limner.parts.sources import pairs, photos
from limner.pocket.corpus import toys
from tests.helpers import deaf, fast

LOOK: Look = mean_of(clip_classes)
QUICK = limner.PaintSettings(steps=3)


def noised(base: Any, rows: int, *times: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (rows, *base.latent_shape)
    return torch.randn(shape, generator=stream(0, "noised")), torch.tensor(times)


def predicted(
    base: Any, adapted: Any, x: torch.Tensor, t: torch.Tensor, prompts: list[str], **about: Any
) -> torch.Tensor:
    """One run of the adapted base on these prompts."""
    said = tuple(map(adapted.expand_prompt, prompts))
    run = adapted.run(time=t, latents=x, prompts=said, **about)
    found: torch.Tensor = base.predict(x, t, adapted.text_states(prompts), context=run)
    return found


def plainly(base: Any, x: torch.Tensor, t: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    found: torch.Tensor = base.predict(x, t, base.text_states(prompts, words={}), context=Pass(time=t))
    return found


def shown(base: Any, rows: int, **more: Any) -> References:
    batch = pairs(corpus=toys(6), batch=rows, **more).prepare(base)(0, streams(0, "pairs", 0, 0))
    assert batch.references is not None
    return batch.references


def worded(subject: Subject, **how: Any) -> Any:
    return changed_states(subject.handle, subject.noun, words_of_pictures(subject, LOOK, noise_aware(**how)), "try")


# ---------------------------------------------------------------------------------------------------- noise-aware words


def test_the_word_is_another_one_at_another_time_and_over_other_latents(base: Any, rex: Subject) -> None:
    word = worded(rex)
    with torch.no_grad(), attach(base, [Adapter(Recipe("<rex>", (word,)), "<rex>")]) as adapted:
        found = []
        for seed, time in ((0, 100), (0, 100), (0, 800), (1, 100)):
            x = torch.randn(1, *base.latent_shape, generator=stream(seed, "x"))
            run = adapted.run(time=torch.tensor([time]), latents=x, prompts=("a photo of <rex>",))
            base.predict(x, run.time, adapted.text_states(["a photo of <rex>"]), context=run)
            found.append(run.activations["picture words"])
    first, again, later, elsewhere = found
    assert torch.equal(first, again)
    assert not torch.allclose(first, later)
    assert not torch.allclose(first, elsewhere)


def test_the_word_is_its_noun_and_a_scaled_offset(base: Any, rex: Subject) -> None:
    x, t = noised(base, 1, 400)
    seen = torch.randn(1, LOOK(base, References(torch.rand(1, 1, 3, 128, 128))).shape[-1], generator=stream(0, "seen"))
    plain, made = base.word_vectors("dog")[None], []
    for scale in (0.1, 0.2):
        mapped = noise_aware(scale=scale)(base, tuple(seen.shape), stream(0, "mapper"))
        made.append(mapped.vectors(mapped.start, seen, plain, Pass(time=t, latents=x)) - plain)
    assert torch.allclose(2 * made[0], made[1], atol=1e-6)
    assert made[0].abs().max() > 0


def test_a_word_of_no_class_starts_from_the_whole_vocabulary(base: Any) -> None:
    x, t = noised(base, 1, 400)
    seen = torch.zeros(1, 8)
    mapped = noise_aware(start="any word", scale=0.0)(base, (1, 8), stream(0, "mapper"))
    for noun in ("dog", "car"):
        made = mapped.vectors(mapped.start, seen, base.word_vectors(noun)[None], Pass(time=t, latents=x))
        assert torch.allclose(made[0, 0], base.word_table().mean(0))


def test_what_is_tuned_may_be_a_shift_alone(base: Any) -> None:
    x, t = noised(base, 1, 400)
    mapped = tunable(noise_aware())(base, (1, 8), stream(0, "mapper"))
    about = torch.zeros(1, 8), base.word_vectors("dog")[None], Pass(time=t, latents=x)
    shift = torch.randn(mapped.start["shift"].shape, generator=stream(0, "shift"))
    before, after = (mapped.vectors({**mapped.start, "shift": s}, *about) for s in (0 * shift, shift))
    assert torch.allclose(after - before, shift, atol=1e-6)


def test_features_under_way_are_those_of_the_untouched_base_and_the_run_ends_with_them(base: Any) -> None:
    x, t = noised(base, 2, 100, 700)
    seen: dict[str, torch.Tensor] = {}

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and call.site.block != "up":
            seen[call.site.name] = F.layer_norm(call.hidden.mean(1), call.hidden.shape[-1:])
        return call

    change = low_rank(2)
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (change,)), "<rex>")]) as adapted:
        for tensor in adapted.tensors.values():
            tensor.fill_(0.3)
        ran: list[str] = []
        hooks = [
            base.denoiser.get_submodule(site.name).register_forward_hook(lambda *_, s=site: ran.append(s.block))
            for site in base.sites
        ]
        found = features_under_way(base, adapted.run(time=t, latents=x))
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        base.predict(x, t, base.text_states([""] * 2, words={}), context=Pass((note,), time=t))
    assert torch.allclose(found, torch.cat(list(seen.values()), -1), atol=1e-5)
    assert "up" not in ran


def test_a_run_of_some_rows_keeps_with_the_whole_run(base: Any) -> None:
    run = Pass(time=torch.tensor([1, 2, 3]), latents=torch.arange(3.0), prompts=("a", "b", "c"))
    part = run.of([2, 0])
    part.activations["x"] = torch.zeros(1)
    assert part.prompts == ("c", "a")
    assert part.time is not None
    assert part.latents is not None
    assert part.time.tolist() == [3, 1]
    assert part.latents.tolist() == [2.0, 0.0]
    assert "x" in run.activations


# ------------------------------------------------------------------------------------------------------- weight offsets


def test_weight_offsets_multiply_and_start_as_the_identity(base: Any) -> None:
    layer = next(iter(base.projections("attention").values()))
    start, change = multiplied(2)(layer.weight, stream(0, "offsets"))
    assert not change(start).any()
    rows = torch.randn(start["rows"].shape, generator=stream(0, "rows"))
    weight = layer.weight.detach().clone()
    weight[0] = 0
    _, change = multiplied(2)(weight, stream(0, "offsets"))
    new = weight + change({**start, "rows": rows})
    assert not new[0].any()  # zeros stay zero, since the change multiplies
    wanted = weight * (1 + sum(torch.outer(rows[:, k], start["columns"][k]) for k in range(2)))
    assert torch.allclose(new, wanted, atol=1e-6)
    assert sum(t.numel() for t in start.values()) < weight.numel() / 10


def test_three_outer_products_say_what_mixing_layers_with_biases_do() -> None:
    """dW = D (x y' C' + 1 b') + d 1', as in mkshing/e4t-diffusion: linear layers over rows and over columns."""
    at = stream(0, "mixing")
    x, y, b, d = (torch.randn(n, generator=at).double() for n in (12, 9, 9, 12))
    over_rows, over_columns = torch.randn(12, 12, generator=at).double(), torch.randn(9, 9, generator=at).double()
    mixed = over_rows @ (torch.outer(x, y) @ over_columns.T + b) + d[:, None]
    left, sizes, right = torch.linalg.svd(mixed)
    assert sizes[3:].max() < 1e-9 < sizes[2]
    weight = torch.randn(12, 9, generator=at).double()
    _, change = multiplied(3)(weight, at)
    assert torch.allclose(change({"rows": left[:, :3] * sizes[:3], "columns": right[:3]}), weight * mixed)


def test_offsets_are_worn_in_the_place_of_weights(base: Any) -> None:
    x, t = noised(base, 1, 500)
    offsets = changed_weights(multiplied())
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (offsets,)), "<rex>")]) as adapted:
        before = predicted(base, adapted, x, t, ["a dog"])
        for name, tensor in adapted.tensors.items():
            if name.endswith("rows"):
                tensor.fill_(0.05)
        after = predicted(base, adapted, x, t, ["a dog"])
    assert torch.allclose(before, plainly(base, x, t, ["a dog"]), atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- predicted changes


def filled(adapted: Any, *ends: str, by: float = 0.3) -> None:
    """Random numbers in the tensors whose names end so."""
    for name, tensor in adapted.tensors.items():
        if name.endswith(ends):
            tensor.copy_(by * torch.randn(tensor.shape, generator=stream(0, name)))


def test_predicted_changes_are_changes_of_weights_each_row_its_own(base: Any) -> None:
    nobody = Subject("<nobody>", "toy")
    changes = predicted_low_rank(nobody, LOOK, rank=2, width=8)
    seen = replace(shown(base, 3, drop_both=0, drop_image=0, drop_text=0), dropped=torch.tensor([False, False, True]))
    x, t = noised(base, 3, 500, 500, 500)
    x = x[:1].expand(3, -1, -1, -1)
    with torch.no_grad(), attach(base, [Adapter(Recipe("toy", (changes,)), "<nobody>")]) as adapted:
        plain = predicted(base, adapted, x, t, ["a toy"] * 3, references=seen, random=streams(0))
        filled(adapted, "up", "shift")
        changed = predicted(base, adapted, x, t, ["a toy"] * 3, references=seen, random=streams(0))
        assert torch.allclose(plain, plainly(base, x, t, ["a toy"] * 3), atol=1e-5)
        assert torch.allclose(changed[2], plain[2], atol=1e-5)  # it sees nothing
        assert not torch.allclose(changed[0], changed[1], atol=1e-4)
        own = adapted.tensors
        features = LOOK(base, seen)[:1]
        layer = {
            key: [own[f"predicted_low_rank.{key}.{part}"] for part in ("weight", "bias")] for key in ("first", "second")
        }
        hidden = F.leaky_relu(F.linear(features, *layer["first"]))
        shift = own["predicted_low_rank.shift"]
        cores = F.linear(hidden, *layer["second"]).view_as(shift) + shift + torch.eye(2)
        sites = base.sites
        originals = {}
        for k, site in enumerate(sites):
            layers = (base.query_out(site)[0], *base.key_value(site))
            for part, (name, into) in enumerate(zip(("query", "key", "value"), layers, strict=True)):
                originals[into] = into.weight.detach().clone()
                down, up = (own[f"predicted_low_rank.{site.name}.{name}.{end}"] for end in ("down", "up"))
                into.weight.add_(up @ cores[k, part] @ down)
        wanted = plainly(base, x[:1], t[:1], ["a toy"])
        for into, weight in originals.items():
            into.weight.copy_(weight)
    assert torch.allclose(changed[:1], wanted, atol=1e-3)


# ------------------------------------------------------------------------------------------------------------ two paths


def two_paths(subject: Subject, blend: float) -> Recipe:
    changes = predicted_low_rank(subject, LOOK, rank=2, width=8)
    return Recipe(subject.handle, (worded(subject), changes, dual_path(subject, blend)))


def run_two_paths(base: Any, rex: Subject, blend: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The prediction, and the learned word."""
    x, t = noised(base, 1, 500)
    with torch.no_grad(), attach(base, [Adapter(two_paths(rex, blend), "<rex>")]) as adapted:
        filled(adapted, "up", "shift", "second.weight", by=0.1)
        run = adapted.run(time=t, latents=x, prompts=("a photo of <rex> in the snow",))
        out = base.predict(x, t, adapted.text_states(["a photo of <rex> in the snow"]), context=run)
    return out, run.activations["picture words"]


def test_at_blend_zero_it_is_the_base_reading_the_nearest_real_word(base: Any, rex: Subject) -> None:
    out, word = run_two_paths(base, rex, 0.0)
    words = sorted(w for w in base.vocabulary if w.isalpha() and len(w) > 1 and len(base.word_vectors(w)) == 1)
    table = torch.cat([base.word_vectors(w) for w in words])
    real = words[int(F.cosine_similarity(word[0], table).argmax())]
    assert torch.allclose(out, plainly(base, *noised(base, 1, 500), [f"a photo of {real} in the snow"]), atol=1e-4)


def test_at_blend_one_there_is_one_path_and_between_both_count(base: Any, rex: Subject) -> None:
    hard, both, soft = (run_two_paths(base, rex, blend)[0] for blend in (0.0, 0.5, 1.0))
    x, t = noised(base, 1, 500)
    single = Recipe("<rex>", two_paths(rex, 1.0).modifiers[:2])
    with torch.no_grad(), attach(base, [Adapter(single, "<rex>")]) as adapted:
        filled(adapted, "up", "shift", "second.weight", by=0.1)
        assert torch.equal(predicted(base, adapted, x, t, ["a photo of <rex> in the snow"]), soft)
    assert not torch.allclose(soft, hard, atol=1e-3)
    assert (both - soft).norm() < (hard - soft).norm()
    assert (both - hard).norm() < (hard - soft).norm()


def test_nearest_words_are_whole_words_by_direction(base: Any) -> None:
    table = real_words(base)
    for word in ("dog", "beach"):
        vector = base.word_vectors(word)[0]
        assert torch.equal(nearest(3 * vector[None], table, 2)[0, 0], vector)


# ----------------------------------------------------------------------------------------------------------- objectives


def step_with(base: Any, kept: dict[str, torch.Tensor], rows: int, identity: list[int] | None = None) -> Any:
    prompts = ("a photo of <rex>",) * rows
    run = Pass(prompts=prompts, activations=kept)
    who = None if identity is None else torch.tensor(identity)
    seen = References(torch.zeros(rows, 1, 3, 1, 1), identity=who)
    adapted = SimpleNamespace(base=base, cache={})
    batch = Batch(torch.zeros(rows, 1), prompts, references=seen)
    return SimpleNamespace(adapted=adapted, batch=batch, prediction=Prediction(torch.zeros(rows), run))


def test_the_contrast_moves_words_to_their_nearest_real_words_and_away_from_other_subjects(base: Any) -> None:
    at = stream(0, "contrast")
    words = torch.stack([base.word_vectors(w)[0] for w in ("dog", "dog", "beach")])
    words = (words + 0.03 * torch.randn(words.shape, generator=at))[:, None].requires_grad_(True)
    source = pairs()
    near = nearest(words[:, 0].detach(), real_words(base), 3)

    def alike(v: torch.Tensor) -> tuple[float, float]:
        to_near = F.cosine_similarity(v[:, None], near, dim=-1).logsumexp(1).mean()
        return float(to_near), float(F.cosine_similarity(v[0], v[2], dim=0))

    objective = among_words(source, word="<rex>", count=3, temperature=0.2)
    before = alike(words[:, 0].detach())
    value = objective.value(step_with(base, {"picture words": words}, 3, [7, 7, 8]))
    (gradient,) = torch.autograd.grad(value, words)
    after = alike((words - 0.02 * gradient)[:, 0].detach())
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_the_contrast_has_its_closed_form(base: Any) -> None:
    words = torch.stack([base.word_vectors(w)[0] for w in ("dog", "car", "dog")])[:, None]
    value = among_words(pairs(), word="<rex>", count=1, temperature=0.5).value
    own = torch.exp(torch.tensor(2.0))  # each is a real word: cosine 1 to its nearest
    cross = torch.exp(F.cosine_similarity(words[0, 0], words[1, 0], dim=0) / 0.5)
    wanted = [-(own / (own + n * cross)).log() for n in (1, 2, 1)]
    found = value(step_with(base, {"picture words": words}, 3, [1, 2, 1]))  # first and third are one subject
    assert float(found) == pytest.approx(float(sum(wanted)) / 3, rel=1e-5)


def test_short_words_are_measured_in_real_ones(base: Any) -> None:
    usual = real_words(base).square().sum(-1).mean().sqrt()
    vector = F.normalize(torch.ones(2, 1, 192), dim=-1) * usual
    for length in (1.0, 0.5):
        found = short(pairs(), "word offset").value(step_with(base, {"word offset": length * vector}, 2))
        assert float(found) == pytest.approx(length**2, rel=1e-4)
    with pytest.raises(limner.errors.InputError, match="no attached adapter makes"):
        short(pairs(), "word offset").value(step_with(base, {}, 2))


def identity_of(base: Any, clean: torch.Tensor, estimate: torch.Tensor, times: list[int], **more: Any) -> torch.Tensor:
    seen = References(base.decode(clean)[:, None], **more)
    step: Any = SimpleNamespace(
        adapted=SimpleNamespace(base=base),
        batch=Batch(clean, ("",) * len(clean), references=seen),
        time=torch.tensor(times),
        x0=estimate,
    )
    return same_identity(pairs()).value(step)


def test_identity_is_no_loss_for_the_reference_itself_and_its_gradient_reaches_the_estimate(base: Any) -> None:
    with torch.no_grad():
        clean = base.encode(toys(2).drawn([0, 4], base.picture_size)[0].float() / 255)[0]
    assert float(identity_of(base, clean, clean, [100, 100])) == pytest.approx(0, abs=1e-5)
    estimate = clean.flip(0).requires_grad_(True)
    apart = identity_of(base, clean, estimate, [100, 100])
    (gradient,) = torch.autograd.grad(apart, estimate)
    features = [F.normalize(base.picture_features(base.decode(z)), dim=-1) for z in (clean, estimate)]
    assert float(apart.detach()) == pytest.approx(
        float((features[0] - features[1]).detach().square().sum(-1).mean()), rel=1e-3
    )
    nearer = identity_of(base, clean, (estimate - 0.5 * gradient / gradient.std()).detach(), [100, 100])
    assert float(nearer) < float(apart.detach())


def test_identity_counts_clear_estimates_more_and_dropped_rows_not(base: Any) -> None:
    with torch.no_grad():
        clean = base.encode(toys(2).drawn([0, 4], base.picture_size)[0].float() / 255)[0]
        half = torch.stack([clean[0], clean[0]])  # the first row is right, the second wrong
        loud, quiet = (float(identity_of(base, clean, half, [500, time])) for time in (100, 900))
        off = float(identity_of(base, clean, half, [500, 100], dropped=torch.tensor([False, True])))
    assert loud > quiet > off == pytest.approx(0, abs=1e-5)


# ------------------------------------------------------------------------------------------------------ Taming Encoder


def test_a_share_of_every_update_has_no_subject_at_all(base: Any) -> None:
    recipe = methods()["taming_encoder"](Subject("<nobody>", "toy"), batch=16)
    (stage,) = recipe.pretraining
    drops = {}
    for term in stage.loss:
        over = term.source.over
        assert over is not None
        source = over(toys(6))
        batch = source.prepare(base)(0, streams(0, source.name, 0, 0))
        assert batch.references is not None
        drops[term.name] = (len(batch.prompts), float((~batch.references.on).float().mean()), batch.prompts)
    sizes = {name: (rows, share) for name, (rows, share, _) in drops.items()}
    assert sizes["denoising(pairs without subject)"] == (4, 1.0)
    assert sizes["same identity(pairs for identity)"] == (2, 0.0)
    assert sizes["denoising(pairs)"][0] == 10
    assert all(drops["denoising(pairs without subject)"][2])  # and there is text to learn from


def test_the_encoder_looks_at_the_subject_alone(base: Any, rex: Subject) -> None:
    from limner.parts.fusion import decoupled_cross_attention

    pixels = rex.tensor(base.picture_size)
    from limner.parts.encoders.masks import subject_masks

    where = subject_masks(base, rex)
    for alone, wanted in ((False, pixels), (True, pixels * where + (1 - where))):
        fusion = decoupled_cross_attention(rex, clip_global, alone=alone)
        with attach(base, [Adapter(Recipe("dog", (fusion,)), "<rex>")]) as adapted:
            assert torch.allclose(adapted.tensors["image.features"], clip_global(base, wanted), atol=1e-4)


# -------------------------------------------------------------------------------------------------- Versatile Diffusion


def tokens(base: Any, pixels: torch.Tensor) -> torch.Tensor:
    from limner.parts.encoders import clip_tokens

    return clip_tokens(base, pixels)


def in_flow(base: Any, rex: Subject, ratio: float, prompts: list[str]) -> torch.Tensor:
    """The prediction with a stack that has moved away from its initial values."""
    from limner.parts.encoders import all_of

    x, t = noised(base, 1, 500)
    stack = context_stack(rex, all_of(tokens), ratio)
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (stack,)), "<rex>")]) as adapted:
        for name, tensor in adapted.tensors.items():
            if isinstance(tensor, torch.nn.Parameter):
                tensor.add_(0.02 * torch.randn(tensor.shape, generator=stream(0, name)))
        return predicted(base, adapted, x, t, prompts)


def test_at_ratio_one_it_is_the_text_flow_to_the_bit(base: Any, rex: Subject) -> None:
    x, t = noised(base, 1, 500)
    with torch.no_grad():
        assert torch.equal(in_flow(base, rex, 1.0, ["a red car"]), plainly(base, x, t, ["a red car"]))


def test_at_ratio_zero_it_is_the_image_flow_to_the_bit(base: Any, rex: Subject) -> None:
    """The image flow, independently: the base with the stack's weights in its cross-attention layers, reading CLIP's
    tokens."""
    from limner.parts.encoders import all_of

    x, t = noised(base, 1, 500)
    found = in_flow(base, rex, 0.0, ["a red car"])
    assert torch.equal(found, in_flow(base, rex, 0.0, ["a boat in the snow"]))  # no text is read
    stack, originals = context_stack(rex, all_of(tokens)), {}
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (stack,)), "<rex>")]) as adapted:
        own = dict(adapted.tensors)
    with torch.no_grad():
        for site in (site for site in base.sites if site.kind == "cross"):
            (query, out), (key, value) = base.query_out(site), base.key_value(site)
            places = {
                "query": query.weight,
                "key": key.weight,
                "value": value.weight,
                "out": out.weight,
                "bias": out.bias,
            }
            for part, parameter in places.items():
                name = f"context_stack.{site.name}.{part}"
                originals[parameter] = parameter.detach().clone()
                parameter.copy_(own[name] + 0.02 * torch.randn(parameter.shape, generator=stream(0, name)))
        wanted = base.predict(x, t, own["context_stack.features"], context=Pass(time=t))
        for parameter, before in originals.items():
            parameter.copy_(before)
    assert torch.equal(found, wanted)


def test_between_flows_both_count(base: Any, rex: Subject) -> None:
    text, both, picture = (in_flow(base, rex, ratio, ["a red car"]) for ratio in (1.0, 0.5, 0.0))
    assert (both - text).norm() < (picture - text).norm()
    assert (both - picture).norm() < (picture - text).norm()


def test_mixing_by_layer_takes_one_flow_at_every_site(base: Any, rex: Subject) -> None:
    """At each site a picture's rows have exactly one of the flows, in a share of the sites that is the ratio, drawn
    again in every step and for every picture by itself."""
    chosen: dict[float, list[tuple[bool, ...]]] = {}
    x, t = noised(base, 2, 500)
    for ratio in (0.0, 0.3, 1.0):
        recipe = methods()["versatile_diffusion"](rex, ratio=ratio, mixing="layer")
        stored = shipped("versatile_diffusion", base)
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", stored)]) as adapted:
            for step in range(8):
                found: list[torch.Tensor] = []

                def note(call: Any, found: list[torch.Tensor] = found) -> Any:
                    if call.site.kind == "cross":
                        call.on_result.insert(0, lambda text: (found.append(text), text)[1])
                        call.on_result.append(lambda out: (found.append(out), out)[1])
                    return call

                run = adapted.run(time=t, prompts=("a dog", "a dog"), seeds=(3, 4), step=step)
                run.operations += (note,)
                base.predict(x, t, adapted.text_states(["a dog", "a dog"]), context=run)
                pairs = list(zip(found[::2], found[1::2], strict=True))
                for row in range(2):
                    chosen.setdefault(ratio, []).append(tuple(torch.equal(a[row], b[row]) for a, b in pairs))
    assert all(all(row) for row in chosen[1.0])
    assert not any(any(row) for row in chosen[0.0])
    assert len(set(chosen[0.3])) > 8
    share = sum(map(sum, chosen[0.3])) / sum(map(len, chosen[0.3]))
    assert 0.15 < share < 0.45
    with pytest.raises(InputError, match="there is no mixing"):
        limner.learn(base, rex, method="versatile_diffusion", mixing="layers")


def test_rows_with_references_learn_the_image_flow_alone(base: Any, rex: Subject) -> None:
    from limner.parts.encoders import all_of

    stack, x, t = context_stack(rex, all_of(tokens)), *noised(base, 1, 500)
    seen = References(rex.tensor(base.picture_size)[None])
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (stack,)), "<rex>")]) as adapted:
        taught = [
            predicted(base, adapted, x, t, [said], references=seen, random=streams(0))
            for said in ("a dog", "a red car")
        ]
        without = predicted(base, adapted, x, t, ["a dog"], random=streams(0))
    assert torch.equal(*taught)
    assert torch.equal(without, plainly(base, x, t, ["a dog"]))


# --------------------------------------------------------------------------------------------------- trained parameters


@pytest.mark.parametrize("name", ["e4t", "domain_agnostic"])
def test_two_stages_learn_different_things(base: Any, rex: Subject, name: str) -> None:
    recipe = methods()[name](rex, **fast(methods()[name]))
    assert recipe.framework == "hybrid"
    with attach(base, [Adapter(recipe, "<rex>", shipped(name, base))]) as adapted:
        (before,), (after,) = (
            [{key for part in stage.train for key in part(adapted)} for stage in stages]
            for stages in (recipe.pretraining, recipe.tuning)
        )
        sizes = [sum(adapted.tensors[key].numel() for key in keys) for keys in (before, after)]
    assert before == set(shipped(name, base))
    assert after - before
    assert not [key for key in before | after if "rex" in key]
    assert name != "domain_agnostic" or (sizes[1] < 1000 and not after & before)


def test_what_tuning_changed_of_the_shipped_weights_is_in_the_concept(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="e4t", **fast(methods()["e4t"], lr=0.01))
    ships = shipped("e4t", base)
    changed = [key for key in concept.tensors if key in ships]
    missing = [key for key in ships if key not in changed]
    assert not [key for key in missing if not any(name in key for name in deaf(base))]
    assert len(missing) < 0.05 * len(ships)
    assert not any(concept.tensors[key].equal(ships[key]) for key in changed)
    still = limner.learn(base, rex, method="domain_agnostic", **fast(methods()["domain_agnostic"]))
    assert not set(still.tensors) & set(shipped("domain_agnostic", base))


def test_in_tuning_every_example_sees_all_pictures(base: Any, rex: Subject) -> None:
    pixels = rex.tensor(base.picture_size)
    every, own = (
        photos(rex, batch=2, seen=seen).prepare(base)(0, streams(0, "photos", 0, 0)) for seen in ("all", True)
    )
    assert every.references is not None
    assert own.references is not None
    assert torch.equal(every.references.pixels, pixels.expand(2, *pixels.shape))
    assert own.references.pixels.shape[:2] == (2, 1)
    assert every.references.nouns == own.references.nouns == ("dog", "dog")
    assert torch.equal(every.latents, own.latents)


def test_painting_with_a_blend_is_painting_with_another_picture(base: Any, rex: Subject) -> None:
    pictures = []
    for blend in (0.0, 1.0):
        concept = limner.learn(base, rex, method="domain_agnostic", **fast(methods()["domain_agnostic"], blend=blend))
        pictures.append(limner.paint(base, "<rex> on the beach", concepts=[concept], settings=QUICK)[0].image.tobytes())
    assert pictures[0] != pictures[1]


def test_updates_know_their_latents(base: Any, rex: Subject) -> None:
    with attach(base, [Adapter(Recipe("dog"), "<rex>")]) as adapted:
        batch = Batch(torch.randn(1, *base.latent_shape), ("a dog",))
        update = Update(adapted, batch, torch.tensor([300]), torch.randn(1, *base.latent_shape), streams(0))
        update.together = [update]
        kept = update.prediction.run
        assert kept is not None
        assert kept.latents is not None
        assert torch.equal(kept.latents, update.noised)
