"""The distinct property of each of these methods for objects: pairs, pools, rewards, searches, canvases."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.recipe import Evolution, Recipe, Stage
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.engine.evolution import Searcher, Strategy
from limner.engine.sample import sample
from limner.engine.train import Best, Update, select, train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.guidance import adapter_guidance, self_subject
from limner.parts.guidance.self_subject import AHEAD, attend_to
from limner.parts.objectives import clip_reward, policy_gradient, reward
from limner.parts.objectives.contrast import contrast
from limner.parts.sources import growing_pool, prompts
from limner.parts.sources.pool import sharpness
from tests.helpers import fast, learn_fast

from .test_object_methods import QUICK, first_update, spied

# --------------------------------------------------------------------------------------------------- Pair Customization


def test_contents_and_style_are_on_orthogonal_bases(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "pair_customization", rex)
    bases = {name: tensor for name, tensor in concept.tensors.items() if name.endswith(".basis")}
    contents, styles = ({n for n in concept.tensors if n.endswith(end)} for end in (".content", ".style"))
    assert len(bases) == len(contents) == len(styles) > 0
    for basis in bases.values():
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-5, rtol=0)


def test_the_styles_gradient_never_touches_the_contents(base: Any, rex: Subject) -> None:
    recipe = methods()["pair_customization"](rex, **fast(methods()["pair_customization"]))
    style_alone = replace(recipe.stages[1], loss=recipe.stages[1].loss[1:])
    for progress in train(base, Adapter(recipe, rex.handle), stages=[style_alone]):
        moved = {name for name, tensor in progress.snapshot().tensors.items() if tensor.any()}
    assert any(name.endswith(".style") for name in moved)
    assert not any(name.endswith(".content") for name in moved)


def test_without_style_guidance_the_sampler_is_the_bases(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "pair_customization", rex, style_guidance=0.0, lr=0.1)
    (off,) = limner.paint(base, "<rex> in the snow", concepts=[concept], settings=QUICK)
    (bare,) = limner.paint(base, "dog in the snow", settings=QUICK)
    assert off.image.tobytes() == bare.image.tobytes()


def test_the_style_begins_late_and_is_added_to_the_plain_branch() -> None:
    asked = []

    def denoise(x: Any, t: Any, *, branches: tuple[str, ...] = ("text",)) -> tuple[Any, ...]:
        asked.append(branches)
        return tuple({"negative": 0 * x, "plain": x, "text": 2 * x}[branch] for branch in branches)

    guided = adapter_guidance(3.0, begin=800)(denoise, 5.0)
    one = torch.ones(1, 1, 1, 1)
    assert float(guided(one, torch.tensor([900]))[0]) == 5.0
    assert float(guided(one, torch.tensor([800]))[0]) == 5.0 + 3.0
    assert asked == [("negative", "plain"), ("negative", "plain", "text")]


def test_a_pair_of_the_users_own_takes_the_place_of_class_pictures(base: Any, rex: Subject) -> None:
    pictures = [p.image for p in rex.pictures]
    pair = Subject.of(pictures[:1], noun="dog", handle="rex", without=pictures[1:2])
    recipe = methods()["pair_customization"](pair)
    assert [term.source.name for term in recipe.stages[1].loss] == ["contents", "photos"]
    assert recipe.stages[1].learns_from == {"subject"}
    assert methods()["pair_customization"](rex).stages[1].learns_from == {"subject", "class"}


# ----------------------------------------------------------------------------------------------------------------- Lego


def test_lego_s_far_words_are_everyday_words_that_the_base_knows(base: Any, rex: Subject) -> None:
    """By default, the contrast is with the known words whose hidden states are least like the noun's."""
    from limner.parts.objectives.contrast import pooled, unlike
    from limner.parts.sources.everyday import LOOKS, NOUNS

    known = base.capabilities.known_words()
    found = unlike(base, ["dog"])
    assert len(found) == 8
    assert set(found) <= known & {*NOUNS, *LOOKS} - {"dog"}
    rest = sorted(known & {*NOUNS, *LOOKS} - {"dog", *found})
    near = torch.cosine_similarity(pooled(base, [*found, *rest], words={}), pooled(base, ["dog"], words={}))
    assert near[:8].max() <= near[8:].min() + 1e-5
    recipe = methods()["lego"](rex, **fast(methods()["lego"], batch=1))
    term = recipe.stages[0].loss[-1]
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        batch = term.source.prepare(base)(0, streams(0))
        update = Update(adapted, batch, torch.zeros(1), torch.zeros(1), streams(0))
        alike = torch.cosine_similarity(
            pooled(base, ["<rex>"], words=adapted.words), pooled(base, ["dog", *found], words={})
        )
        assert float(term.value(update)) == pytest.approx(float(-(alike / 0.1).log_softmax(0)[0]), rel=1e-4)


def test_lego_clean_pictures_never_say_the_concept(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(base, monkeypatch)
    first_update(base, "lego", rex)
    said = seen[-1][3].prompts
    shown, clean = said[:2], said[2:]
    assert all("<rex-bearer> <rex> dog" in text for text in shown)
    assert set(clean) == {"a photo of <rex-bearer> dog"}


def test_swapped_lists_turn_the_context_gradient_around(base: Any, rex: Subject) -> None:
    recipe = methods()["lego"](rex, **fast(methods()["lego"]))
    slopes = []
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        parameter = adapted.tensors["word.<rex>"].requires_grad_(True)
        adapted.text_learns(True)
        for near, far in ((["cat"], ["beach"]), (["beach"], ["cat"])):
            nothing: Any = None
            update = Update(adapted, nothing, nothing, nothing, nothing)
            value = contrast(recipe.stages[0].loss[0].source, word="<rex>", near=near, far=far).value(update)
            slopes.append(torch.autograd.grad(value, parameter)[0].flatten())
        parameter.requires_grad_(False)
    first, second = slopes
    assert float(torch.cosine_similarity(first, second, dim=0)) < -0.999


# ----------------------------------------------------------------------------------------------------------------- CLiC


def test_clic_surroundings_count_a_quarter_and_nothing_in_the_part_alone(base: Any, rex: Subject) -> None:
    recipe = methods()["clic"](rex, **fast(methods()["clic"]))
    around, alone, _ = (term.source.prepare(base) for term in recipe.stages[0].loss)
    at = streams(0)
    first, second = around(0, at), alone(0, at)
    assert first.mask is not None
    assert second.mask is not None
    assert float(first.mask.min()) == 0.25
    assert float(second.mask.min()) == 0.0
    assert not torch.equal(first.latents, second.latents)
    assert set(second.prompts) == {"<rex>"}


def test_clic_both_losses_see_the_same_noise(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(base, monkeypatch)
    first_update(base, "clic", rex)
    times = seen[-1][1]
    assert torch.equal(times[:2], times[2:])


def test_outside_of_a_canvass_mask_is_the_noised_canvas(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    picture, size = rex.pictures[0].image, rex.pictures[0].image.size  # type: ignore[union-attr]
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    canvas = limner.Canvas(picture, mask, start=0.25, until=0.75)  # type: ignore[arg-type]
    seen = spied(base, monkeypatch)
    limner.paint(base, "a cat", canvas=canvas, seed=3, settings=limner.PaintSettings(steps=8, guidance=1.0))
    clean, where = canvas.latents(base)
    noise = torch.randn(base.latent_shape, generator=stream(3, "latents"))[None]
    assert len(seen) == 6
    outside = where.expand_as(clean) == 0
    for noised, time, *_ in seen[:4]:
        torch.testing.assert_close(noised[outside], base.noised(clean, noise, time)[outside])
    assert not torch.equal(seen[4][0][outside], base.noised(clean, noise, seen[4][1])[outside])


def test_clic_pushes_the_word_into_the_canvass_mask(base: Any, rex: Subject) -> None:
    from limner.core.adapted import Moment
    from limner.parts.guidance.attention import _missed, attention_into_mask

    concept = learn_fast(base, "clic", rex)
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        where = torch.zeros(1, 1, *base.latent_shape[1:])
        where[..., : base.latent_shape[2] // 2] = 1
        x, prompts = torch.randn(2, *base.latent_shape, generator=stream(0, "x")), ("<rex> in the snow",) * 2
        moment = Moment(adapted, x, torch.tensor(500), 0, 10, prompts, adapted.text_states(prompts), where)
        before, operation = float(_missed(moment, x, [0, 1], "<rex>", where)), attention_into_mask("<rex>")
        for _ in range(3):
            x = operation(moment._replace(latents=x))
        assert float(_missed(moment, x, [0, 1], "<rex>", where)) < before
        assert operation(moment._replace(step=6)) is moment.latents
        assert operation(moment._replace(where=None)) is moment.latents


# -------------------------------------------------------------------------------------- gradient-free Textual Inversion


def test_the_strategy_finds_the_minimum_of_a_stretched_bowl() -> None:
    strategy, weights = Strategy.begin(torch.full((6,), 3.0), 1.0), 10.0 ** torch.arange(6)
    for step in range(260):
        asked = strategy.ask(12, stream(0, step))
        strategy.tell(asked, [float((weights * x.square()).sum()) for x in asked])
    assert float((weights * strategy.mean.square()).sum()) < 1e-6


def test_nothing_ever_asks_for_a_gradient(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(base, monkeypatch)
    recipe = methods()["gradient_free_ti"](rex, **fast(methods()["gradient_free_ti"]))
    for progress in train(base, Adapter(recipe, rex.handle), stages=recipe.stages):
        assert not any(tensor.requires_grad for tensor in progress.adapted.tensors.values())
    assert not any(states.requires_grad or output.requires_grad for _, _, states, _, output in seen)


def test_of_a_large_vocabulary_the_words_near_to_the_noun_are_compared(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.parts.modifiers import subspace_word as part

    asked: list[str] = []
    features = base.text_features

    def noted(prompts: Any, *, words: Any) -> Any:
        asked.extend(prompts)
        return features(prompts, words=words)

    monkeypatch.setattr(base, "text_features", noted)
    monkeypatch.setattr(sys.modules[part.__module__], "MOST_WORDS", 12)
    with part(rex, 4)(base, stored={}, generator=torch.Generator(), scale=1.0) as live:
        start = live.tensors["word.<rex>.start"].detach()
    noun = base.word_vectors("dog")
    vectors = torch.cat([base.word_vectors(text.removeprefix("a photo of a ")) for text in asked])
    assert asked[0] == "a photo of a dog"
    assert len(asked) == 12
    others = [w for w in base.vocabulary if len(base.word_vectors(w)) == 1 and f"a photo of a {w}" not in asked]
    near = torch.cosine_similarity(vectors, noun).min()
    assert all(float(torch.cosine_similarity(base.word_vectors(w), noun)) <= near + 1e-6 for w in others)
    assert not torch.allclose(start, noun)


def test_the_word_stays_in_the_directions_it_was_given(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "gradient_free_ti", rex)
    with attach(base, [adapter_of(concept, base)]) as adapted:
        moved = adapted.words["<rex>"] - concept.tensors["word.<rex>.start"]
    axes = concept.tensors["word.<rex>.directions"]
    inside = moved @ torch.linalg.pinv(axes) @ axes
    assert float(moved.norm()) > 0
    torch.testing.assert_close(inside, moved, atol=1e-4, rtol=1e-3)


def test_candidates_are_judged_on_one_batch_noise_and_time(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(base, monkeypatch)
    recipe = methods()["gradient_free_ti"](rex, **fast(methods()["gradient_free_ti"], steps=1))
    list(train(base, Adapter(recipe, rex.handle), stages=recipe.stages))
    runs = seen[-4:]
    assert all(torch.equal(run[0], runs[0][0]) and torch.equal(run[1], runs[0][1]) for run in runs)
    assert not torch.equal(runs[0][2], runs[1][2])


def test_too_much_to_search_is_refused(base: Any, rex: Subject) -> None:
    recipe = methods()["dreambooth"](rex)
    stage = replace(recipe.stages[0], search=Evolution(4, 1.0))
    with (
        attach(base, [Adapter(recipe, rex.handle)]) as adapted,
        pytest.raises(limner.errors.InputError, match="too many"),
    ):
        Searcher(stage, adapted, select(stage, adapted)[0], {})


# ----------------------------------------------------------------------------------------------------------------- COTI


def pooled(rex: Subject) -> Subject:
    """The last picture of the toy and blurred copies of it, beside the first two."""
    from PIL import ImageFilter

    images: Any = [p.image for p in rex.pictures]
    pool = [images[2], *(images[2].filter(ImageFilter.GaussianBlur(r)) for r in (4, 8, 12))]
    return Subject.of(images[:2], noun="dog", handle="rex", pool=pool)


def test_the_set_grows_by_the_best_of_the_pool(base: Any, rex: Subject) -> None:
    subject = pooled(rex)
    pool = growing_pool(subject, 1, 3, 8)
    found = pool.of(base)
    assert found.order[:3] == [0, 1, 2]  # the toy's own pictures, then the sharp one of it
    assert len(found.order) == 2 + 3
    assert len(set(found.order)) == len(found.order)
    sharp = sharpness(subject.tensor(base.picture_size))
    assert sharp.shape == (2,)
    for cycle in range(4):
        draw = pool.photos(cycle, captions=("a photo of {}",), batch=32).prepare(base)
        batch = draw(0, streams(cycle))
        assert len(torch.unique(batch.latents, dim=0)) == 2 + cycle


def test_the_best_scored_stage_is_what_is_kept(base: Any, rex: Subject) -> None:
    recipe = methods()["coti"](pooled(rex), **fast(methods()["coti"], steps=3))
    scores = iter([0.1, 0.9, 0.3])
    stages = [replace(stage, score=lambda adapted: next(scores)) for stage in recipe.stages]
    ends = [
        p.snapshot().tensors["word.<rex>"]
        for p in train(base, Adapter(recipe, rex.handle), stages=stages)
        if p.step == 2
    ]
    assert len(ends) == 3
    assert torch.equal(ends[2], ends[1])
    assert not torch.equal(ends[1], ends[0])


def test_the_best_survives_an_interruption(base: Any, rex: Subject) -> None:
    recipe = methods()["coti"](pooled(rex), **fast(methods()["coti"], steps=3))
    value = {0: 0.9, 1: 0.5, 2: 0.1}
    count: list[int] = []

    def score(adapted: Any) -> float:
        count.append(1)
        return value[len(count) - 1]

    stages = [replace(stage, score=score) for stage in recipe.stages]
    run = train(base, Adapter(recipe, rex.handle), stages=stages)
    points = [next(run).snapshot() for _ in range(5)]
    run.close()
    count[:] = [1]
    *_, last = train(base, Adapter(recipe, rex.handle), stages=stages, start=points[-1])
    assert torch.equal(last.snapshot().tensors["word.<rex>"], points[2].tensors["word.<rex>"])
    assert Best(last.adapted, points[-1].moments).state


# -------------------------------------------------------------------------------------------------------- InstructBooth


def rewarded(base: Any, rex: Subject, judge: Any, seed: int = 0) -> dict[str, Any]:
    """Gradients of one update of the second stage under a reward."""
    function = methods()["instructbooth"]
    recipe = function(rex, **fast(function))
    (change,) = recipe.modifiers
    source = prompts(["<rex> on the beach"], batch=3)
    term = policy_gradient(source, reward=judge, noun=("<rex>", "a dog"), change=change, steps=4, learned=2, kl=0.0)
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        ups = {name: t for name, t in adapted.tensors.items() if name.endswith(".up")}
        for tensor in ups.values():
            tensor.requires_grad_(True)
        at = streams(seed)
        batch = source.prepare(base)(0, at)
        update = Update(adapted, batch, torch.zeros(3), torch.zeros(3), at)
        slopes = torch.autograd.grad(term.value(update), list(ups.values()))
        for tensor in ups.values():
            tensor.requires_grad_(False)
    return dict(zip(ups, slopes, strict=True))


def test_a_constant_reward_has_no_gradient_and_another_has(base: Any, rex: Subject) -> None:
    flat = rewarded(base, rex, lambda base, pixels, said: torch.ones(len(pixels)))
    assert not any(slope.any() for slope in flat.values())
    red = rewarded(base, rex, lambda base, pixels, said: pixels[:, 0].mean((1, 2)))
    assert any(slope.any() for slope in red.values())
    blind = rewarded(base, rex, lambda base, pixels, said: -pixels[:, 0].mean((1, 2)))
    name = max(red, key=lambda key: float(red[key].norm()))
    torch.testing.assert_close(blind[name], -red[name])


def test_the_second_stage_sees_no_picture_and_judges_without_the_name(base: Any, rex: Subject) -> None:
    function = methods()["instructbooth"]
    recipe = function(rex, **fast(function))
    assert [stage.learns_from for stage in recipe.stages] == [{"subject", "class"}, {"prompts"}]
    heard: list[str] = []

    def judge(base: Any, pixels: Any, said: Any) -> Any:
        heard.extend(said)
        return pixels.mean((1, 2, 3))

    rewarded(base, rex, judge)
    assert set(heard) == {"a dog on the beach"}


def test_two_pictures_are_too_few_to_compare(base: Any, rex: Subject) -> None:
    """Normalised rewards of two are always 0.71 and -0.71, so that they say nothing of their difference."""
    recipe = methods()["instructbooth"](rex, reward_batch=2)
    with pytest.raises(InputError, match="at least 3 pictures of a prompt, not 2"):
        next(train(base, Adapter(recipe, rex.handle), stages=recipe.stages[1:]))


def test_the_reward_stage_moves_what_is_painted(base: Any, rex: Subject) -> None:
    """At its own rate, a few updates of the second stage change a picture visibly."""
    recipe = methods()["instructbooth"](rex, reward_steps=3, reward_batch=3)
    *_, last = train(base, Adapter(recipe, rex.handle), stages=recipe.stages[1:])
    latents = []
    for stored in ({}, last.snapshot().tensors):
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, stored)]) as adapted:
            *_, painted = sample(adapted, ["<rex> in the city"], seeds=[0], settings=limner.PaintSettings(steps=3))
        latents.append(painted.latents)
    assert float((latents[1] - latents[0]).norm() / latents[0].norm()) > MOVED


MOVED = 0.02
"""Share of a picture's latents that three updates move at least. Four moved 0.071 as set, 0.007 at a tenth of the
rate."""


@pytest.mark.sweep
def test_rewarded_brightness_rises(base: Any, rex: Subject) -> None:
    function = methods()["instructbooth"]
    recipe = function(rex, **fast(function))
    (change,) = recipe.modifiers
    term = policy_gradient(
        prompts(["a dog on the beach", "a cat"], batch=4),
        reward=lambda base, pixels, said: pixels.mean((1, 2, 3)),
        noun=("<rex>", "a dog"),
        change=change,
        steps=3,
        kl=0.0,
    )
    stage = Stage(train=recipe.stages[1].train, loss=(term,), steps=6, lr=1e-2)
    settings = limner.PaintSettings(steps=3)

    def brightness(adapted: Any) -> float:
        with torch.no_grad():
            *_, last = sample(adapted, ["a dog in the snow"] * 4, seeds=range(4), settings=settings)
            return float(base.decode(last.latents).mean())

    run = train(base, Adapter(Recipe(says="dog", modifiers=(change,)), rex.handle), stages=[stage])
    first = brightness(next(run).adapted)
    for progress in run:
        last = brightness(progress.adapted) if progress.last else 0.0
    assert last > first


def test_rewards_by_name(base: Any, tmp_path: Path) -> None:
    assert reward("clip") is clip_reward
    (tmp_path / "own.py").write_text("def red(base, pixels, prompts):\n    return pixels[:, 0].mean((1, 2))\n")
    own = reward(f"{tmp_path / 'own.py'}:red")
    assert own(base, torch.ones(2, 3, 4, 4), ["a", "b"]).tolist() == [1.0, 1.0]
    with pytest.raises(limner.errors.InputError, match="no function"):
        reward(f"{tmp_path / 'own.py'}:blue")
    with pytest.raises(limner.errors.InputError, match="FILE.py:function"):
        reward("aesthetic")


def test_clip_prefers_the_picture_its_text_is_of(base: Any, rex: Subject) -> None:
    pixels = rex.tensor(base.picture_size)[:1].expand(2, -1, -1, -1)
    dog, boat = clip_reward(base, pixels, ["a photo of a dog", "a photo of a boat"]).tolist()
    assert dog > boat


# ----------------------------------------------------------------------------------------------------------- DreamTuner


def test_dreamtuner_without_weight_or_mask_attends_as_the_base_does(base: Any, rex: Subject) -> None:
    x, t = torch.randn(3, *base.latent_shape, generator=stream(0, "x")), torch.full((3,), 500)
    states = base.text_states(["a dog"] * 3, words={})
    mask = torch.ones(1, 1, *base.latent_shape[1:])
    with torch.no_grad():
        plain = base.predict(x, t, states, context=Pass(time=t, reference_stream=True))
        for operation, same in (
            (attend_to(mask, weight=0.0), True),
            (attend_to(0 * mask, weight=2.5), True),
            (attend_to(mask, weight=2.5), False),
        ):
            found = base.predict(x, t, states, context=Pass((operation,), t, reference_stream=True))
            assert torch.equal(found, plain) == same
            torch.testing.assert_close(
                found[0], plain[0], atol=1e-5, rtol=1e-4
            )  # the reference stream looks at itself alone


def test_dreamtuner_subject_attention_is_nothing_at_first_and_trained_in_the_end(base: Any, rex: Subject) -> None:
    from limner.core.weights import shipped

    recipe = methods()["dreamtuner"](rex)
    seen = recipe.modifiers[2]
    x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500])
    with torch.no_grad():
        states = base.text_states(["a dog"], words={})
        plain = base.predict(x, t, states, context=Pass(time=t))
        for stored, same in (({}, True), (shipped("dreamtuner", base), False)):
            bare = Recipe(says="dog", modifiers=(seen,))
            with attach(base, [Adapter(bare, rex.handle, stored)]) as adapted:
                found = base.predict(x, t, states, context=adapted.run(time=t, prompts=("a dog",)))
            assert torch.equal(found, plain) == same


def test_dreamtuner_guides_between_two_noises_of_the_reference(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    concept = learn_fast(base, "dreamtuner", rex, encoder=False)
    seen = spied(base, monkeypatch)
    limner.paint(base, "<rex> in the snow", concepts=[concept], settings=limner.PaintSettings(steps=4))
    for _, time, _, context, _ in seen:
        far, picture, near, other = time.tolist()  # a reference stream and a picture in each of two branches
        assert picture == other
        assert far - picture == AHEAD or far == base.num_train_times - 1
        assert picture - near == AHEAD or near == 0
        assert context.reference_stream
    assert {context.branches for _, _, _, context, _ in seen} <= {("text", "text"), ("negative", "text")}


def test_dreamtuner_s_rank_and_prior_are_settings(base: Any, rex: Subject) -> None:
    recipe = methods()["dreamtuner"](rex, encoder=False, rank=3, prior_weight=0.7)
    assert [term.weight for term in recipe.tuning[0].loss] == [1.0, 0.7]
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        assert {t.shape[0] for name, t in adapted.tensors.items() if name.endswith(".down")} == {3}
    without = methods()["dreamtuner"](rex, encoder=False, prior_weight=0.0)
    assert without.tuning[0].learns_from == {"subject"}
    assert not without.notes


def test_dreamtuner_needs_no_weights_without_its_encoder(rex: Subject) -> None:
    recipe = methods()["dreamtuner"](rex, encoder=False)
    assert recipe.weights is None
    assert recipe.framework == "test-time fine-tuning"
    assert methods()["dreamtuner"](rex).framework == "hybrid"
    assert isinstance(recipe.modifiers[-1], self_subject)
