"""The losses of encoders of faces and of several subjects, each against its formula written out, and in the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.recipe import Objective
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Batch, Pass, Prediction, References
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.train import Update, begin_update
from limner.methods import methods
from limner.parts.fusion import embedding_regression, predicted_embedding, query_consistency
from limner.parts.guidance.separation import spread_within
from limner.parts.objectives import squared_length, text_balance
from limner.parts.objectives.text_balance import shares
from limner.parts.sources import pairs, pairs_of_people
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights

NOBODY, FEW = Subject("<nobody>", "person"), people(individuals=4)


def step_of(activations: dict[str, Tensor], shown: References | None = None, **more: Any) -> Any:
    """A step whose run kept these tensors."""
    rows = len(next(iter(activations.values())))
    batch = Batch(torch.zeros(rows, 1, 2, 2), ("",) * rows, references=shown)
    run = Pass(activations=activations)
    return SimpleNamespace(batch=batch, prediction=Prediction(torch.zeros(rows, 1, 2, 2), run), **more)


@contextmanager
def begun(
    base: Any, name: str, stage: int = 0, **settings: Any
) -> Iterator[tuple[AdaptedBase, list[Objective], Update]]:
    """A method with weights that do something, the losses of a stage, and its first update on a few people."""
    begun_weights(name, base)
    recipe = methods()[name](NOBODY, **settings)
    terms = list(over(recipe.pretraining, FEW)[stage].loss)
    with attach(base, (Adapter(recipe, "<nobody>", shipped(recipe.weights or name, base)),)) as adapted:
        source = terms[0].source
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        update.together = [update]
        yield adapted, terms, update


def named(terms: list[Objective], start: str) -> Objective:
    return next(term for term in terms if term.name.startswith(start))


# ----------------------------------------------------------------------------------------------------------- by formula


def test_selected_features_stay_near_their_query() -> None:
    """SSR-Encoder: over depths, the sum of 1 - cosine, the mean over rows that have a reference."""
    selected, query = torch.randn(6, 3, 8), torch.randn(3, 8)
    shown = References(torch.zeros(3, 1, 3, 2, 2), dropped=torch.tensor([False, True, False]))
    found = query_consistency(pairs()).value(
        SimpleNamespace(
            batch=Batch(torch.zeros(3, 1, 2, 2), ("",) * 3, references=shown),
            prediction=Prediction(
                torch.zeros(3), Pass(activations={"selected states": selected, "selecting query": query})
            ),
        )  # type: ignore[arg-type]  # all that it asks
    )
    wanted = [
        sum(1 - float(F.cosine_similarity(selected[k, row], query[row], dim=0)) for k in range(6)) for row in (0, 2)
    ]
    assert float(found) == pytest.approx(sum(wanted) / 2, rel=1e-4)
    near = [
        term for term in methods()["ssr_encoder"](NOBODY).stages[0].loss if term.name.startswith("query consistency")
    ]
    assert [term.weight for term in near] == [0.001]


def test_a_predicted_embedding_is_drawn_to_its_caption_among_others(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """lambda-ECLIPSE: the contrast is cross-entropy of cosines both ways; its weight scales it and nothing else."""
    part = predicted_embedding(Subject("<rex>", "dog"), layers=1, width=32)
    prompts = ("a dog on the beach", "a red car", "a dog in the snow")
    pixels = torch.rand(3, 1, 3, base.picture_size, base.picture_size)
    shown = References(pixels, torch.ones_like(pixels[:, :, :1]), nouns=("dog", "car", "dog"))
    batch = Batch(torch.randn(3, *base.latent_shape), prompts, references=shown)
    made = torch.randn(3, base.text_features(["a"], words={}).shape[-1])
    monkeypatch.setattr(predicted_embedding, "predict", lambda *_: made)
    with torch.no_grad(), attach(base, [Adapter(methods()["lambda_eclipse"](NOBODY), "<rex>")]) as adapted:
        fake: Any = SimpleNamespace(
            batch=batch, adapted=SimpleNamespace(base=base, live={part: SimpleNamespace(tensors={})})
        )
        none, some, twice = (
            float(embedding_regression(pairs(), part, contrast=much).value(fake)) for much in (0.0, 0.2, 0.4)
        )
        texts = base.text_features(prompts, words={}).float()
        wanted = base.picture_features(base.decode(batch.latents)).float()
        assert adapted.base is base
    near = F.normalize(made, dim=-1) @ F.normalize(texts, dim=-1).T / 0.07
    both = (F.cross_entropy(near, torch.arange(3)) + F.cross_entropy(near.T, torch.arange(3))) / 2
    assert none == pytest.approx(float(((made - wanted).square().sum(1) / wanted.square().sum(1)).mean()), rel=1e-4)
    assert some - none == pytest.approx(0.2 * float(both), rel=1e-3)
    assert twice - some == pytest.approx(some - none, rel=1e-3)


def test_a_token_is_short_before_it_is_normalised() -> None:
    """MultiBooth: the squared length of the customised embedding, and of nothing else."""
    kept = {"customised embedding": torch.tensor([[3.0, 4.0], [0.0, 2.0]]), "picture words": torch.ones(2, 1, 9)}
    term = squared_length(pairs_of_people(), "customised embedding")
    assert float(term.value(step_of(kept))) == pytest.approx((25 + 4) / 2)
    loss = methods()["multibooth"](Subject("<rex>", "dog")).tuning[0].loss
    assert [(t.name, t.weight) for t in loss][1] == ("squared length of customised embedding(photos)", 1e-3)


def test_the_balance_of_a_prompt_is_least_where_both_shares_are_equal(base: Any) -> None:
    """PersonaMagic: -p q, with p and q the soft-maxed shares of the token and of the strongest other word."""
    from limner.parts.modifiers.states import PUT

    vectors = base.word_vectors("dog")
    run = Pass(cache={PUT: {"<q>": {0: lambda site: vectors}}})
    step: Any = SimpleNamespace(
        adapted=SimpleNamespace(base=base),
        batch=Batch(torch.zeros(1, 1, 2, 2), ("<q>",)),
        prediction=Prediction(torch.zeros(1), run),
        random=lambda _: torch.Generator().manual_seed(0),
    )
    term = text_balance(pairs_of_people(), word="<q>", contexts=("a photo of {} on the beach",))
    p, q = torch.stack(shares(base, "a photo of <q> on the beach", "<q>", vectors)).softmax(0)
    assert float(term.value(step)) == pytest.approx(-float(p * q), rel=1e-5)
    assert -0.25 <= float(term.value(step)) < 0


def test_a_map_that_spreads_costs_more_than_one_at_a_place() -> None:
    """MC^2's intra-concept loss: 0 for one position, 1 for an even map."""
    one, even = torch.zeros(1, 16), torch.full((1, 16), 1 / 16)
    one[0, 5] = 1
    ends = torch.zeros(1, 16)
    ends[0, [0, 15]] = 0.5
    assert float(spread_within(one)) == pytest.approx(0, abs=1e-6)
    assert float(spread_within(even)) == pytest.approx(1, rel=1e-5)
    assert float(spread_within(ends)) > 1
    assert float(spread_within(torch.cat([one, even]))) == pytest.approx(0.5, rel=1e-5)


# -------------------------------------------------------------------------------------------------------- in the recipe


def test_a_code_is_held_to_what_the_base_predicts(base: Any) -> None:
    """W-Plus-Adapter's preservation, written out; without strength it is 0."""
    values = []
    for scale in (1.0, 0.0):
        with begun(base, "w_plus_adapter", 1, batch=2, scale=scale) as (_, terms, update), torch.no_grad():
            values.append(float(named(terms, "near the base").value(update)))
            wanted = float((update.prediction.output - update.base_prediction().output).square().mean())
            assert values[-1] == pytest.approx(wanted, rel=1e-4)
    assert values[0] > 0 == values[1]


def test_the_hypernetwork_is_drawn_to_the_bank(base: Any) -> None:
    """HyperDreamBooth: what it predicts for a person, against that person's own row of the bank."""
    with begun(base, "hyperdreambooth", 1, batch=1) as (adapted, terms, update), torch.no_grad():
        weights: Any = adapted.adapters[0].recipe.modifiers[0]
        own = {k.removeprefix("hyperdreambooth."): t for k, t in adapted.live[weights].tensors.items()}
        shown = update.batch.references
        assert shown is not None
        wanted = own["bank"][weights.whose(shown.identity)]
        made = weights.predicted(own, weights.look(base, shown))
        found = float(named(terms, "weight regression").value(update))
        assert found == pytest.approx(float((made - wanted).square().mean()), rel=1e-3)
        assert found > 0


def test_outside_of_the_face_the_words_learn_nothing(base: Any) -> None:
    """Face2Diffusion's loss for the words: without a face in the mask the scene's own pixels have no part in it."""
    with begun(base, "face2diffusion", 1, batch=2) as (_, terms, update), torch.no_grad():
        (term,) = terms
        nothing = torch.zeros_like(update.batch.mask) if update.batch.mask is not None else None
        assert nothing is not None
        shown = update.batch.references
        assert shown is not None
        values = []
        for mask in (nothing, nothing + 1):
            other = update.on(replace(update.batch, mask=mask))
            usual = other.base_prediction([f"a photo of a {noun}" for noun in shown.nouns]).output
            wanted = other.target if mask.any() else usual
            values.append(float((other.prediction.output - wanted).square().mean()))
            assert float(term.value(other)) == pytest.approx(values[-1], rel=1e-4)
    assert values[0] != pytest.approx(values[1], rel=1e-2)


def test_the_person_is_asked_for_in_the_cleanest_quarter(base: Any) -> None:
    """PortraitBooth's own identity loss, and both of its localised words."""
    with begun(base, "portraitbooth", batch=2) as (_, terms, update), torch.no_grad():
        term = named(terms, "same person")
        assert update.batch.references is not None
        update.batch = replace(update.batch, references=replace(update.batch.references, dropped=None))
        values = []
        for time in (240, 260):
            update.time, update._prediction = torch.full((2,), time), None
            values.append(float(term.value(update)))
    assert values[0] > 0 == values[1]
    assert sum(each.name.startswith("localised") for each in terms) == 2


def test_restoration_sees_pictures_that_are_degraded(base: Any) -> None:
    """Su et al.: what is restored is blurred or has a part erased, what is painted is not."""
    (stage,) = over(methods()["su_identity_encoder"](NOBODY, batch=8).pretraining, FEW)
    known = FEW.drawn([picture for line in FEW.subjects for picture in line], base.picture_size)[0].float() / 255
    for k, degraded in ((0, False), (1, True)):
        drawn = stage.loss[k].source.prepare(base)(1, streams(0, "x", 0, 1))
        assert drawn.references is not None
        seen = drawn.references.pixels.flatten(0, 1)
        same = [bool((known - picture).abs().amax((1, 2, 3)).min() < 2e-3) for picture in seen]
        assert all(same) is not degraded
        assert degraded or all(same)


def test_photomaker_sees_noise_around_some_heads(base: Any) -> None:
    (stage,) = over(methods()["photomaker"](NOBODY, batch=6).pretraining, FEW)
    drawn = stage.loss[0].source.prepare(base)(0, streams(0, "x", 0, 0))
    shown = drawn.references
    assert shown is not None
    assert shown.masks is not None
    pixels, outside = shown.pixels.flatten(0, 1), shown.masks.flatten(0, 1) < 0.1
    rough = (pixels[..., 1:] - pixels[..., :-1]).abs().mean(1, keepdim=True) * outside[..., 1:]
    noisy = rough.sum((1, 2, 3)) / outside[..., 1:].sum((1, 2, 3)).clamp_min(1) > 0.15
    assert bool(noisy.any())
    assert not bool(noisy.all())


def test_moas_token_is_another_at_each_time_and_in_each_layer(base: Any) -> None:
    with begun(base, "moa", batch=2) as (adapted, _, update), torch.no_grad():
        mixture: Any = adapted.adapters[0].recipe.modifiers[0]
        own = {k.removeprefix("moa."): t for k, t in adapted.live[mixture].tensors.items()}
        shown = update.batch.references
        assert shown is not None
        whole = replace(shown, dropped=None)
        x, said = update.batch.latents, tuple(f"a photo of <nobody> {k}" for k in range(2))
        found: dict[tuple[int, int], Tensor] = {}
        for time in (100, 800):
            run = adapted.run(
                time=torch.full((2,), time), latents=x, prompts=said, references=whole, random=streams(0, 0, 0)
            )
            states = adapted.text_states(said)
            for site in (0, 1):
                call: Any = SimpleNamespace(run=run, query=x, states=states)
                found[time, site] = mixture._states(base, call, site, own, own["features"])
    for other in ((800, 0), (100, 1)):
        changed = (found[100, 0] - found[other]).abs().amax(-1) > 1e-5
        assert changed.sum(1).tolist() == [1, 1]  # the noun's last token alone


def test_stellar_nets_words_are_of_the_face_alone(base: Any) -> None:
    """Another background is as good as none; another face is not."""
    with begun(base, "stellar_net", batch=2) as (adapted, _, update), torch.no_grad():
        word: Any = adapted.adapters[0].recipe.modifiers[0]
        own = FEW.drawn([0, 4], base.picture_size)
        assert own[1] is not None
        pixels, masks = own[0].float() / 255, own[1].float() / 255
        inside = masks > 0.5
        other = torch.where(inside, pixels, torch.rand(2, 3, 1, 1, generator=torch.Generator().manual_seed(0)))
        words = []
        for seen, where in ((pixels, masks), (other, masks), (pixels.flip(0), masks.flip(0))):
            shown = References(seen[:, None], where[:, None], nouns=("person",) * 2)
            run = adapted.run(
                time=torch.full((2,), 500), latents=update.batch.latents, prompts=("<nobody>",) * 2,
                references=shown, random=streams(0, 0, 0),
            )  # fmt: skip
            base.predict(update.batch.latents, run.time, adapted.text_states(("<nobody>",) * 2), context=run)
            words.append(run.activations["picture words"])
        assert word.word == "<nobody>"
    ground, person = ((words[0] - words[k]).norm() for k in (1, 2))
    assert float(ground) < 0.1 * float(person)
