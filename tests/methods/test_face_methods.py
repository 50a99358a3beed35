"""Methods of faces: what makes each of them itself."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import limner
from limner.core.recipe import Recipe, Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, Pass, References
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.train import Update, begin_update, train
from limner.methods import methods
from limner.parts.fusion import IDENTITY
from limner.parts.fusion.fused_words import fuse, fusing_start
from limner.parts.guidance import mixed_conditions
from limner.parts.modifiers import encoded_mean_name, name_vectors
from limner.parts.objectives import class_outside, localised, near_begin, recognition, sometimes_masked
from limner.parts.sources import pairs_of_people
from limner.parts.sources.pairs import Shots
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, fast, person

NOBODY = Subject("<nobody>", "person")
FEW = people(individuals=4)
QUICK = limner.PaintSettings(steps=4)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person(2_000_003)


@pytest.fixture(scope="module")
def bob() -> Subject:
    return person(2_000_096)


def worn(base: Any, name: str, subject: Subject, **settings: Any) -> Adapter:
    """A method on a subject, with weights near those that its pre-training begins with."""
    begun_weights(name, base)
    recipe = methods()[name](subject, **settings)
    return Adapter(recipe, subject.handle, shipped(recipe.weights, base) if recipe.weights else {})


def on_few(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of its pre-training on a small corpus."""
    return over(recipe.pretraining, FEW)


@torch.no_grad()
def read(
    base: Any,
    adapter: Adapter,
    *said: str,
    branches: tuple[str, ...] = ("text",),
    time: int = 500,
    references: References | None = None,
) -> tuple[Pass, Tensor]:
    """A pass, and the hidden states [rows, L, D] of the text that its first cross-attention layer read."""
    seen: list[Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and call.site.index == 0:
            seen.append(call.states)
        return call

    with attach(base, (adapter,)) as adapted:
        run = run_of(adapted, said, branches=branches, time=time, references=references)
        run.operations += (note,)
        states = adapted.text_states(said)
        base.predict(torch.zeros(len(said), *base.latent_shape), run.time, states, context=run)
    return run, seen[0]


def run_of(
    adapted: AdaptedBase,
    said: Sequence[str],
    *,
    branches: tuple[str, ...] = ("text",),
    time: int = 500,
    references: References | None = None,
) -> Pass:
    about: dict[str, Any] = {"branches": branches, "seeds": tuple(range(len(said)))}
    if references is not None:
        about = {"references": references, "random": streams(0, 0, 0)}
    times, prompts = torch.full((len(said),), time), tuple(map(adapted.expand_prompt, said))
    return adapted.run(time=times, latents=torch.zeros(len(said), *adapted.base.latent_shape), prompts=prompts, **about)


def updates(base: Any, adapter: Adapter, stage: Stage) -> list[Update]:
    """The first update of a stage: a `Step` of each of its sources."""
    sources = dict.fromkeys(term.source for term in stage.loss)
    with attach(base, (adapter,)) as adapted:
        return [begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0) for source in sources]


def seen_in_first(references: References) -> Tensor:
    return references.pixels[:, 0]


# ------------------------------------------------------------------------------------------------ Cross Initialization


def test_cross_initialization_starts_at_the_text_encoders_output_for_the_mean_name(base: Any, ada: Subject) -> None:
    """Run by hand: the mean input vectors through the text encoder itself, read off behind the begin token."""
    with attach(base, (worn(base, "cross_initialization", ada),)) as adapted:
        begins = adapted.words["<rex>"]
    mean = name_vectors(base).mean(0)
    tower, tokenizer = base.module("text_encoder"), base.towers[0].tokenizer
    ids = tokenizer(["a a"], padding="max_length", return_tensors="pt").input_ids
    put = tower.get_input_embeddings().register_forward_hook(
        lambda _, __, out: torch.cat([out[:, :1], mean[None], out[:, 3:]], 1)
    )
    with torch.no_grad():
        states = tower(ids).last_hidden_state
    put.remove()
    assert torch.allclose(begins, states[0, 1:3], atol=1e-4)
    assert (
        begins.norm(dim=-1).min() > 5 * base.word_table().norm(dim=-1).max()
    )  # no vector of the vocabulary is so long


def test_cross_initialization_is_held_by_a_distance_that_is_not_squared(base: Any, ada: Subject) -> None:
    adapter = worn(base, "cross_initialization", ada)
    word: Any = adapter.recipe.modifiers[0]
    term = near_begin(adapter.recipe.stages[0].loss[0].source, word)
    with attach(base, (adapter,)) as adapted:
        (step,) = [replace(update, adapted=adapted) for update in updates(base, adapter, adapter.recipe.stages[0])]
        assert float(term.value(step)) < 1e-5
        with torch.no_grad():
            adapted.tensors["word.<rex>"].add_(torch.tensor([[3.0], [4.0]]) / encoded_mean_name(base).shape[1] ** 0.5)
        assert float(term.value(step)) == pytest.approx(3.5, rel=1e-3)


# --------------------------------------------------------------------------------------------------------- Celeb Basis


def test_celeb_basis_learns_a_name_among_names_and_stores_its_coefficients_alone(base: Any, ada: Subject) -> None:
    concept = limner.learn(base, ada, method="celeb_basis", steps=6, dims=5, batch=1)
    (stored,) = concept.tensors.values()
    assert stored.shape == (2, 5)
    known = name_vectors(base)
    with attach(base, (Adapter(methods()["celeb_basis"](ada, dims=5), "<rex>", concept.tensors),)) as adapted:
        word = adapted.words["<rex>"]
    for place in range(2):
        mean = known[:, place].mean(0)
        values = (known[:, place] - mean).T @ (known[:, place] - mean)
        axes = torch.linalg.eigh(values).eigenvectors[:, -5:]
        apart = word[place] - mean
        assert apart.norm() > 0
        assert (apart - axes @ (axes.T @ apart)).norm() < 1e-3 * apart.norm()
        noun = base.word_vectors("person")[0] - mean
        assert (noun - axes @ (axes.T @ noun)).norm() > 0.1 * noun.norm()  # a word elsewhere is not


def test_celeb_basis_starts_from_the_face(base: Any, ada: Subject, bob: Subject) -> None:
    first, again, other = (_word(base, "celeb_basis", who) for who in (ada, ada, bob))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)


def _word(base: Any, name: str, subject: Subject) -> Tensor:
    with attach(base, (worn(base, name, subject),)) as adapted:
        return adapted.words["<rex>"].clone()


# ----------------------------------------------------------------------------------------- FastComposer and PhotoMaker


def test_fusing_is_two_perceptrons_and_a_norm() -> None:
    """Eq. 3 of arXiv:2305.10431 as modules of torch."""
    class_state, features = torch.randn(5, 8), torch.randn(5, 6)
    own = {n: torch.randn_like(t) for n, t in _fusing_start(8, 6).items()}

    def perceptron(name: str, into: int) -> torch.nn.Sequential:
        made = torch.nn.Sequential(
            torch.nn.LayerNorm(into), torch.nn.Linear(into, 8), torch.nn.GELU(), torch.nn.Linear(8, 8)
        )
        names = zip(("norm", "fc1", "fc2"), (0, 1, 3), strict=True)
        made.load_state_dict(
            {f"{k}.{end}": own[f"{name}.{part}.{end}"] for part, k in names for end in ("weight", "bias")}
        )
        return made

    image = F.linear(features, own["project.weight"], own["project.bias"])
    x = perceptron("mlp1", 16)(torch.cat([class_state, image], -1)) + class_state
    x = x + perceptron("mlp2", 8)(x)
    assert torch.allclose(
        fuse(own, class_state, features), F.layer_norm(x, (8,), own["norm.weight"], own["norm.bias"]), atol=1e-5
    )


def _fusing_start(wide: int, features: int) -> dict[str, Tensor]:
    class base:
        states_shape, text_positions = (4, wide), 4

        def text_states(self, _: Any, words: Any) -> Tensor:
            return torch.randn(1, 4, wide)

    return fusing_start(base(), features, torch.Generator().manual_seed(0))  # type: ignore[arg-type]  # all that it asks


def test_fastcomposer_changes_the_state_of_the_subject_alone(base: Any, ada: Subject, bob: Subject) -> None:
    said = "a photo of <rex> in the snow"
    first, other = (read(base, worn(base, "fastcomposer", who), said)[1][0] for who in (ada, bob))
    plain = base.text_states(["a photo of person in the snow"], words={})[0]
    changed = (first - other).abs().amax(-1) > 1e-6
    last = 3 + len(base.word_vectors("person"))
    assert changed.nonzero().flatten().tolist() == [last]
    assert torch.allclose(first[~changed], plain[~changed], atol=1e-5)


@torch.no_grad()
def test_fastcomposer_paints_several_people_in_one_prompt(base: Any, ada: Subject, bob: Subject) -> None:
    """Another picture of the second person changes the state of the second noun alone, and the first noun's state is
    that of the first person painted alone."""
    said, seen = "a photo of <rex> and <bo> in the snow", []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            seen.append(call.states[0].clone())
        return call

    first = worn(base, "fastcomposer", ada)
    for other in (replace(bob, handle="<bo>"), replace(ada, handle="<bo>")):
        with attach(base, (first, worn(base, "fastcomposer", other))) as adapted:
            places = [adapted.handle_places(said, handle) for handle in ("<rex>", "<bo>")]
            run = adapted.run(time=torch.tensor([100]), prompts=(said,))
            run.operations += (note,)
            base.predict(torch.zeros(1, *base.latent_shape), run.time, adapted.text_states([said]), context=run)
    one, two = seen[len(seen) // 2 - 1], seen[-1]
    plain = base.text_states(["a photo of person and person in the snow"], words={})[0]
    changed = (one - two).abs().amax(-1) > 1e-6
    assert changed.nonzero().flatten().tolist() == [places[1][-1]]
    merged = (one - plain).abs().amax(-1) > 1e-4
    assert merged.nonzero().flatten().tolist() == [places[0][-1], places[1][-1]]


@pytest.mark.parametrize(("name", "wait"), [("fastcomposer", 0.3), ("photomaker", 0.2)])
def test_the_first_steps_read_the_noun_whoever_it_is(
    base: Any, ada: Subject, bob: Subject, name: str, wait: float
) -> None:
    late, early = ((1 - wait) * 1000 + shift for shift in (-10, 10))
    for time, alike in ((late, False), (early, True)):
        first, other = (read(base, worn(base, name, who), "<rex> at night", time=int(time))[1] for who in (ada, bob))
        assert torch.equal(first, other) is alike


def test_fastcomposer_weighs_attention_outside_against_inside(base: Any) -> None:
    """The loss falls where the word's attention moves into the mask, in closed form: all inside is -1 / places
    inside."""
    adapter = worn(base, "fastcomposer", NOBODY)
    (stage,) = on_few(replace_batch("fastcomposer", 2))
    watched = adapter.recipe.modifiers[2]
    with attach(base, (adapter,)) as adapted:
        source = stage.loss[0].source
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        step.together = [step]
        kept = step.prediction.run
        assert kept is not None
        names = [name for name in kept.activations if name.startswith("maps of <nobody>")]
        assert names
        assert step.batch.mask is not None
        term = localised(source, watched)  # type: ignore[arg-type]  # the third modifier watches
        values = []
        for where in (step.batch.mask, 1 - step.batch.mask):
            for name in names:
                side = round(kept.activations[name].shape[1] ** 0.5)
                inside = F.adaptive_avg_pool2d(where.float(), side).flatten(1)
                kept.activations[name] = inside / inside.sum(1, keepdim=True)
            values.append(float(term.value(step)))
    assert values[0] < 0 < values[1]


def replace_batch(name: str, batch: int, **more: Any) -> Recipe:
    return methods()[name](NOBODY, batch=batch, **more)


def test_fastcomposers_picture_to_see_is_the_one_to_paint_and_photomakers_never_is(base: Any) -> None:
    for name, same in (("fastcomposer", True), ("photomaker", False)):
        (stage,) = on_few(replace_batch(name, 6))
        drawn = stage.loss[0].source.prepare(base)(0, streams(0, "seen", 0, 0))
        assert drawn.references is not None
        assert drawn.references.masks is not None
        if same:  # the reference inside the mask is the target's
            inside = drawn.references.masks[:, 0] > 0.9
            apart = (base.decode(drawn.latents) - drawn.references.first).abs()
            assert float((apart * inside).sum() / inside.sum() / 3) < 0.12
        else:
            every = {k: FEW.drawn([k], base.picture_size)[0][0].float() / 255 for k in range(16)}
            targets = [
                min(every, key=lambda k: float((every[k] - picture).abs().mean()))
                for picture in base.decode(drawn.latents)
            ]
            for row, target in enumerate(targets):
                inside = drawn.references.masks[row] > 0.9
                apart = ((drawn.references.pixels[row] - every[target]).abs() * inside).sum((1, 2, 3)) / inside.sum(
                    (1, 2, 3)
                )
                assert float(apart.min()) > 0.01


def test_photomaker_gives_every_picture_a_token_of_its_own(base: Any, ada: Subject) -> None:
    """N pictures are N consecutive states, and another order of pictures is another order of states."""
    said, noun = "<rex> in the snow", base.word_vectors("person")
    adapters = [
        worn(base, "photomaker", replace(ada, pictures=order), wait=0.0) for order in (ada.pictures, ada.pictures[::-1])
    ]
    first, turned = (read(base, adapter, said)[1][0] for adapter in adapters)
    stacked = torch.cat([noun[:-1], noun[-1:].expand(3, -1)])
    plain = base.text_states(["<q> in the snow"], words={"<q>": stacked})[0]
    fused = ((first - plain).abs().amax(-1) > 1e-5).nonzero().flatten().tolist()
    assert fused == list(range(len(noun), len(noun) + 3))
    image = [adapters[0].recipe.modifiers[0], adapters[1].recipe.modifiers[0]]
    assert image[0] != image[1]
    rest = [k for k in range(len(plain)) if k not in fused]
    assert torch.allclose(first[rest], turned[rest], atol=1e-5)
    assert not torch.allclose(first[fused], turned[fused], atol=1e-4)
    single = [
        read(base, worn(base, "photomaker", replace(ada, pictures=(p,) * 1), wait=0.0), said)[1][0]
        for p in ada.pictures
    ]
    assert not torch.allclose(single[0], single[2], atol=1e-4)


def test_permuted_features_permute_what_they_are_merged_to() -> None:
    own = {n: torch.randn_like(t) for n, t in _fusing_start(8, 6).items()}
    state, features = torch.randn(1, 8).expand(3, -1), torch.randn(3, 6)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(fuse(own, state, features[order]), fuse(own, state, features)[order], atol=1e-6)


def test_half_of_the_rows_count_inside_of_their_masks_alone(base: Any) -> None:
    source = pairs_of_people(batch=2, masked=True).over(FEW)  # type: ignore[misc]  # it learns from a corpus
    adapter = Adapter(Recipe("person"), "<nobody>")
    with attach(base, (adapter,)) as adapted:
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        step.together = [step]
        error = (step.prediction.output - step.target).square()
        assert step.batch.mask is not None
        mask = step.batch.mask.expand_as(error)
        inside = ((error * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()
        assert float(sometimes_masked(source, share=1.0).value(step)) == pytest.approx(float(inside), rel=1e-4)
        assert float(sometimes_masked(source, share=0.0).value(step)) == pytest.approx(float(error.mean()), rel=1e-4)


# ------------------------------------------------------------------------------------------------------ Face2Diffusion


def test_outside_of_the_face_the_untouched_base_is_the_target(base: Any) -> None:
    """With an empty mask, whatever the picture is, the base reading the class prompt makes no error; with a full one it
    does."""
    source = pairs_of_people(batch=2, named="a {noun}", masked=True, drop_text=0.0, drop_both=0.0).over(FEW)  # type: ignore[misc]
    adapter = Adapter(Recipe("person"), "<nobody>")
    term = class_outside(source, "a photo of a {noun}")
    with attach(base, (adapter,)) as adapted:
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        assert step.batch.references is not None
        said = tuple(f"a photo of a {noun}" for noun in step.batch.references.nouns)
        about = (step.batch.latents, None, step.batch.references)
        for full, asked, wrong in ((0.0, said, False), (1.0, said, True), (0.0, ("a red car", "a blue dog"), True)):
            mask = torch.full((2, 1, *base.latent_shape[1:]), full)
            other = step.on(Batch(about[0], asked, mask, *about[1:]))
            assert (float(term.value(other)) > 1e-3) is wrong


def test_an_expression_moves_the_words_and_not_the_identity(base: Any, ada: Subject) -> None:
    from limner.parts.encoders.expressions import EXPRESSIONS

    adapter = worn(base, "face2diffusion", ada, expression=True)
    silent = worn(base, "face2diffusion", ada)
    with attach(base, (adapter,)) as adapted:
        features = adapted.tensors["states.face2diffusion.features"].clone()
    other = features.clone()
    other[:, -len(EXPRESSIONS) :] = other[:, -len(EXPRESSIONS) :].roll(1, -1) + 0.3
    kept = [
        read(base, replace(each, stored={**each.stored, "states.face2diffusion.features": seen}), "<rex>")[
            0
        ].activations
        for each in (adapter, silent)
        for seen in (features, other)
    ]
    assert torch.equal(kept[0][IDENTITY], kept[1][IDENTITY])
    assert not torch.allclose(kept[0]["picture words"], kept[1]["picture words"], atol=1e-5)
    assert torch.equal(kept[2]["picture words"], kept[3]["picture words"])  # by default nothing is seen of it


def test_face2diffusion_learns_to_tell_people_apart_before_words(base: Any) -> None:
    recipe = methods()["face2diffusion"](NOBODY)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        first, second = ({key for part in stage.train for key in part(adapted)} for stage in recipe.pretraining)
    assert first
    assert all(name.endswith(".scale") for name in first)
    assert not first & second


def test_recognition_is_low_where_people_stand_together_and_apart(base: Any) -> None:
    whose = torch.tensor([0, 0, 1, 1])
    shown = References(torch.zeros(4, 1, 3, 2, 2), identity=whose)
    source = pairs_of_people(batch=4)
    values = []
    for features in (torch.eye(4)[whose], torch.eye(4)):
        step: Any = _Kept({"x": features}, Batch(torch.zeros(4, 1, 1, 1), ("",) * 4, references=shown))
        values.append(float(recognition(source, "x").value(step)))
    assert values[0] < 0.01 < values[1]


class _Kept:
    """A step whose run kept these."""

    def __init__(self, kept: dict[str, Tensor], batch: Batch) -> None:
        from limner.core.types import Prediction

        self.batch, self.prediction = batch, Prediction(batch.latents, Pass(activations=kept))


# --------------------------------------------------------------------------------------------------------------- Face0


def test_face0_writes_over_the_last_states_and_keeps_their_number(base: Any, ada: Subject, bob: Subject) -> None:
    said = "a photo of <rex> in the snow"
    first, other = (read(base, worn(base, "face0", who), said)[1][0] for who in (ada, bob))
    plain = base.text_states(["a photo of person in the snow"], words={})[0]
    assert first.shape == plain.shape
    assert torch.allclose(first[:-3], plain[:-3], atol=1e-5)
    assert (first[-3:] - other[-3:]).abs().amax(-1).min() > 1e-4


def test_face0_paints_from_three_conditions_and_a_negative(base: Any, ada: Subject) -> None:
    adapter, runs = worn(base, "face0", ada), []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and call.site.index == 0:
            runs.append((call.run.branches, call.states.clone()))
        return call

    from limner.engine.sample import sample

    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        live = adapted.live[adapter.recipe.modifiers[0]]
        live.operations += (note,)
        next(iter(sample(adapted, ["<rex> in the snow"], seeds=[0], settings=QUICK)))
    (branches, states), empty = runs[0], base.text_states([""], words={})[0]
    assert branches == ("negative", "text", "face", "words")
    negative, text, face, words = states
    assert torch.allclose(face[:-3], empty[:-3], atol=1e-5)
    assert torch.allclose(face[-3:], text[-3:], atol=1e-5)
    assert torch.allclose(words[-3:], base.text_states(["person in the snow"], words={})[0, -3:], atol=1e-5)
    assert torch.allclose(negative, empty, atol=1e-5)


def test_mixed_conditions_are_a_weighted_mean_under_guidance() -> None:
    said = {"negative": 1.0, "text": 2.0, "face": 4.0, "words": 8.0}

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        return tuple(torch.full((1,), said[branch]) for branch in branches)

    at = torch.zeros(1), torch.zeros(1)
    (found,) = mixed_conditions({"face": 0.25, "words": 0.25})(denoise, 3.0)(*at)
    assert float(found) == pytest.approx(1 + 3 * (0.5 * 2 + 0.25 * 4 + 0.25 * 8 - 1))
    (plain,) = mixed_conditions({"face": 0.0, "words": 0.0})(denoise, 3.0)(*at)
    assert float(plain) == pytest.approx(1 + 3 * (2 - 1))
    with pytest.raises(limner.errors.InputError, match="come to 1"):
        mixed_conditions({"face": 0.8, "words": 0.3})


# ------------------------------------------------------------------------------------------------------- DreamIdentity


def paint_noise(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures that the base would paint of words alone are noise, for half a minute less; returns what is asked
    for."""
    asked: list[str] = []

    def painted(base: Any, prompts: Sequence[str], count: int) -> Tensor:
        asked.extend(prompts)
        return torch.randn(count, *base.latent_shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(importlib.import_module("limner.parts.sources.class_pictures"), "painted", painted)
    return asked


def test_dreamidentity_learns_from_edits_that_the_base_paints(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The captions of a share of its targets describe an edit, of another picture than the one to see, both made by the
    base."""
    from limner.parts.sources import edited_portraits
    from limner.parts.sources.edited import EDITS

    asked = paint_noise(monkeypatch)
    source = edited_portraits(people=2, edits=EDITS[:2], keep=0.5, batch=6, named="<rex>", corpus=FEW)
    drawn = source.prepare(base)(0, streams(0, "edits", 0, 0))
    known = [FEW.looks(4 * k) for k in range(2)]
    assert asked == [*(f"a portrait of {who}" for who in known), *(e.format(who) for who in known for e in EDITS[:2])]
    assert set(drawn.prompts) <= {edit.format("<rex>") for edit in EDITS[:2]}
    assert drawn.references is not None
    targets = base.decode(drawn.latents)
    apart = (targets - drawn.references.first).abs().mean((1, 2, 3))
    assert float(apart.min()) > 0.02
    assert (
        len({latents.numpy().tobytes() for latents in drawn.latents}) <= 2
    )  # half of four, those that look most like the person
    stage = methods()["dreamidentity"](NOBODY).pretraining[0]
    assert [term.source.name for term in stage.loss] == ["pairs of people", "pairs of people", "edited portraits"]
    assert not any(
        t.source.name == "edited portraits" for t in methods()["dreamidentity"](NOBODY, edits=0.0).pretraining[0].loss
    )


# ------------------------------------------------------------------------------------ StellarNet, IDAdapter, Su et al.


def test_stellar_net_looks_at_the_face_alone_and_changes_attention_by_low_rank(base: Any, ada: Subject) -> None:
    shown = seen_people(2)
    inside = shown.masks.expand_as(shown.pixels)  # type: ignore[union-attr]  # the corpus has masks
    elsewhere = replace(shown, pixels=torch.where(inside > 0.5, shown.pixels, 0.3))
    word = methods()["stellar_net"](NOBODY).modifiers[0]
    first, other = (
        read(base, worn(base, "stellar_net", NOBODY), *("<nobody>",) * 2, references=r)[1] for r in (shown, elsewhere)
    )
    assert torch.allclose(first, other, atol=2e-2)
    assert getattr(word, "word", "") == "<nobody>"
    with attach(base, (worn(base, "stellar_net", NOBODY),)) as adapted:
        kinds = {key.rpartition(".")[2] for key in adapted.tensors if key.startswith("stellar_net.denoiser.")}
    assert kinds == {"down", "up"}


def seen_people(rows: int, count: int = 1) -> References:
    """Pictures of as many people of the corpus, with masks."""
    pixels, masks = FEW.drawn([4 * row + k for row in range(rows) for k in range(count)], 128)
    assert masks is not None
    shape = (rows, count)
    return References(
        (pixels.float() / 255).unflatten(0, shape), (masks.float() / 255).unflatten(0, shape), nouns=("person",) * rows,
        identity=torch.arange(rows),
    )  # fmt: skip


def test_idadapter_mixes_photographs_and_adds_nothing_but_adapters(base: Any) -> None:
    """Adapters see all photographs of a person: leaving one away changes what they give, their order does not."""
    adapter = worn(base, "idadapter", NOBODY)
    shown = seen_people(1, 3)
    said = ("a photo of <nobody>",)
    turned, fewer = replace(shown, pixels=shown.pixels.flip(1)), replace(shown, pixels=shown.pixels[:, :2])
    first, same, other = (predicted(base, adapter, said, r) for r in (shown, turned, fewer))
    assert torch.allclose(first, same, atol=1e-4)
    assert not torch.allclose(first, other, atol=1e-4)
    with attach(base, (adapter,)) as adapted:
        assert all(key.startswith(("states.idadapter.", "idadapter.adapter.")) for key in adapted.tensors)
        assert not adapted.originals


@torch.no_grad()
def predicted(base: Any, adapter: Adapter, said: Sequence[str], shown: References | None, **more: Any) -> Tensor:
    """The prediction of fixed latents, as in teaching where pictures are shown."""
    with attach(base, (adapter,)) as adapted:
        run = run_of(adapted, said, references=shown, **more)
        x = torch.randn(len(said), *base.latent_shape, generator=torch.Generator().manual_seed(3))
        run.latents, run.fused = x, False
        output: Tensor = base.predict(x, run.time, adapted.text_states(said), context=run)
    return output


def test_an_identity_is_that_of_a_set(base: Any) -> None:
    """Su et al.: permuting the pictures, or showing each twice, leaves what is predicted as it is; another person's
    does not."""
    adapter = worn(base, "su_identity_encoder", NOBODY)
    shown = seen_people(2, 3)
    pixels = shown.pixels
    sets = (pixels[:1], pixels[:1].flip(1), torch.cat([pixels[:1]] * 2, 1), pixels[1:])
    first, turned, twice, other = (
        predicted(base, adapter, ("a person",), References(p, nouns=("person",))) for p in sets
    )
    assert torch.allclose(first, turned, atol=1e-5)
    assert torch.allclose(first, twice, atol=1e-5)
    assert not torch.allclose(first, other, atol=1e-4)


def test_one_identity_encoder_serves_painting_and_restoring(base: Any) -> None:
    (stage,) = methods()["su_identity_encoder"](NOBODY, batch=4).pretraining
    painting, restoring = (
        over((stage,), FEW)[0].loss[k].source.prepare(base)(1, streams(0, "x", 0, 1)) for k in (0, 1)
    )
    for drawn, same in ((painting, False), (restoring, True)):
        assert drawn.references is not None
        nearest = (drawn.references.pixels - base.decode(drawn.latents)[:, None]).abs().mean((2, 3, 4)).amin(1)
        assert (float(nearest.median()) < 0.06) is same


# -------------------------------------------------------------------------------------------------------- PersonaMagic


def test_personamagic_is_the_noun_in_noisy_steps_and_learns_in_the_middle_alone(
    base: Any, ada: Subject, bob: Subject
) -> None:
    said = "a photo of <rex>"
    for time, alike in ((900, True), (801, True), (700, False), (500, False), (100, False)):
        first, other = (keys(base, worn(base, "personamagic", who), said, time=time) for who in (ada, bob))
        assert torch.equal(first, other) is alike
    clean, edge = (keys(base, worn(base, "personamagic", ada), said, time=time) for time in (10, 400))
    assert torch.equal(clean, edge)  # it stays as it was last
    adapter = worn(base, "personamagic", ada, batch=64)
    times = updates(base, adapter, adapter.recipe.stages[0])[0].time
    assert 400 <= int(times.min()) < 450
    assert 750 < int(times.max()) < 800


@torch.no_grad()
def keys(base: Any, adapter: Adapter, said: str, *, time: int) -> Tensor:
    """Keys and values of the first cross-attention layer."""
    seen: list[Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and not seen:
            seen.append(torch.cat([call.key, call.value]))
        return call

    with attach(base, (adapter,)) as adapted:
        run = run_of(adapted, (said,), time=time)
        run.operations += (note,)
        base.predict(torch.zeros(1, *base.latent_shape), run.time, adapted.text_states((said,)), context=run)
    return seen[0]


def test_the_balance_reads_the_text_encoders_attention(base: Any) -> None:
    """Its maps are those of transformers' own eager attention."""
    from limner.parts.objectives.text_balance import shares

    vectors, text = base.word_vectors("dog"), "a photo of <q> on the beach"
    own, strongest = shares(base, text, "<q>", vectors)
    tower, plain = base.module("text_encoder"), "a photo of dog on the beach"
    ids, _ = base.towers[0].ids(plain, {})
    tokenizer = base.towers[0].tokenizer
    row = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    row += [tokenizer.pad_token_id] * (base.states_shape[0] - len(row))
    before = tower.config._attn_implementation
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.stack(tower(torch.tensor([row]), output_attentions=True).attentions)[:, 0].mean((0, 1))
    tower.set_attn_implementation(before)
    end = 1 + len(ids)
    place = base.word_places(text, "<q>", words={"<q>": vectors})[0]
    assert float(own) == pytest.approx(float(maps[end, place : place + len(vectors)].sum()), abs=1e-5)
    others = [k for k in range(1, end) if not place <= k < place + len(vectors)]
    assert float(strongest) == pytest.approx(float(maps[end, others].max()), abs=1e-5)


# --------------------------------------------------------------------------------------------------------- Infinite-ID


def test_infinite_id_learns_with_the_text_switched_off(base: Any) -> None:
    """Whatever the prompt says, the prediction in teaching is the same to the bit; the face is not without effect."""
    adapter, shown = worn(base, "infinite_id", NOBODY), seen_people(2)
    one, other = replace(shown.of([0]), nouns=("person",)), shown.of([1])
    first, silent, face = (
        predicted(base, adapter, (said,), who) for said, who in (("a red dog", one), ("", one), ("a red dog", other))
    )
    assert torch.equal(first, silent)
    assert not torch.allclose(first, face, atol=1e-4)


def test_a_mean_shift_keeps_what_varies() -> None:
    from limner.parts.fusion.text_off import mean_shifted

    x, reference = torch.randn(2, 3, 16, 4), torch.randn(2, 3, 16, 4) * 5 + 2
    found = mean_shifted(x, reference)
    assert torch.allclose(found.mean(2), reference.mean(2), atol=1e-5)
    assert torch.allclose(found.std(2), x.std(2), atol=1e-5)


def test_infinite_ids_identity_stream_is_seen_in_self_attention(base: Any, ada: Subject) -> None:
    pictures = [
        painted(base, "infinite_id", ada, **settings) for settings in ({}, {"identity": 0.0}, {"shifted": False})
    ]
    assert len(set(pictures)) == 3


def painted(base: Any, name: str, subject: Subject, prompt: str = "<rex> on the beach", **settings: Any) -> bytes:
    begun_weights(name, base)
    concept = limner.learn(base, subject, method=name, **(fast(methods()[name]) | settings))
    return limner.paint(base, prompt, concepts=[concept], seed=1, settings=QUICK)[0].image.tobytes()


# ------------------------------------------------------------------------------------------------------- PortraitBooth


def test_portraitbooth_asks_for_the_person_in_clean_steps_alone(base: Any) -> None:
    from limner.parts.objectives import same_person

    source = pairs_of_people(batch=2, target="same").over(FEW)  # type: ignore[misc]  # it learns from a corpus
    adapter, term = Adapter(Recipe("person"), "<nobody>"), same_person(source, until=0.25)
    with attach(base, (adapter,)) as adapted:
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        assert step.batch.references is not None
        step.batch = replace(step.batch, references=replace(step.batch.references, dropped=None))
        values = []
        for time in (20, 900):
            step.time, step._prediction = torch.full((2,), time), None
            step.together = [step]
            values.append(float(term.value(step)))
    assert 0 < values[0] < 0.9
    assert values[1] == 0


def test_portraitbooth_localises_the_word_and_the_expression(base: Any) -> None:
    adapter = worn(base, "portraitbooth", NOBODY)
    said = ("a photo of <nobody>, smiling", "<nobody> at night")
    run, _ = read(base, adapter, *said, references=seen_people(2))
    for key, there in (("maps of <nobody>, ", [True, True]), ("maps of an expression, ", [True, False])):
        kept = [maps for name, maps in run.activations.items() if name.startswith(key)]
        assert kept
        found = (
            torch.stack([maps.abs().amax(1) for maps in kept]).amax(0) > 0
        )  # some layers are deaf to all but one token
        assert found.tolist() == there
    words, noun = {"<q>": base.word_vectors("person")}, len(base.word_vectors("person"))
    from limner.parts.modifiers.watched import READ_AT

    place = run.cache[READ_AT, "an expression"][0]
    assert base.word_places("a photo of <q>, <s>", "<s>", words={**words, "<s>": base.word_vectors("smiling")}) == [
        place
    ]
    assert run.cache[READ_AT, "<nobody>"] == {0: 3 + noun, 1: noun}


# ----------------------------------------------------------------------------------------------------------------- MoA


def test_moa_forced_to_the_prior_is_the_base_bit_for_bit(base: Any, ada: Subject) -> None:
    plain = limner.paint(base, "person on the beach", seed=1, settings=QUICK)[0].image.tobytes()
    assert painted(base, "moa", ada, prior_alone=True) == plain
    assert painted(base, "moa", ada) != plain


def test_moas_router_weighs_two_branches_that_sum_to_one(base: Any, ada: Subject) -> None:
    """Routed wholly to the personal branch, the layer gives what that branch gives; in between, a mean of both by its
    share."""
    adapter = worn(base, "moa", ada)
    outs = {}
    for name, bias in (("prior", (40.0, -40.0)), ("even", (0.0, 0.0)), ("personal", (-40.0, 40.0))):
        stored = {
            key: torch.zeros_like(t)
            if key.endswith(".router")
            else torch.tensor(bias)
            if key.endswith(".bias") and "mlp" not in key and key.count(".") > 3
            else t
            for key, t in adapter.stored.items()
        }
        outs[name] = first_layer(base, replace(adapter, stored=stored))
    assert torch.allclose(outs["even"], (outs["prior"] + outs["personal"]) / 2, atol=1e-4)
    assert not torch.allclose(outs["prior"], outs["personal"], atol=1e-3)


@torch.no_grad()
def first_layer(base: Any, adapter: Adapter) -> Tensor:
    """The output of the first cross-attention layer."""
    seen: list[Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and not seen:
            call.on_output.append(lambda out: (seen.append(out), out)[1])
        return call

    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    with attach(base, (adapter,)) as adapted:
        run = run_of(adapted, ("a photo of <rex>",))
        run.operations += (note,)
        base.predict(x, run.time, adapted.text_states(("a photo of <rex>",)), context=run)
    return seen[0]


def test_moas_router_is_held_to_the_prior_outside_of_the_subject(base: Any) -> None:
    from limner.core.types import Prediction
    from limner.parts.fusion import router_prior
    from limner.parts.fusion.attention_mixture import ROUTED

    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    step: Any = _Kept({f"{ROUTED}, a": mask.flatten(1)}, Batch(torch.zeros(1, 1, 4, 4), ("",), mask))
    term = router_prior(pairs_of_people())
    assert float(term.value(step)) == 0
    step.prediction = Prediction(step.batch.latents, Pass(activations={f"{ROUTED}, a": 1 - mask.flatten(1)}))
    assert float(term.value(step)) == pytest.approx(0.5)


# ----------------------------------------------------------------------------------------------------------- ProFusion


def test_profusions_words_change_with_latents_and_time_and_nothing_holds_them(base: Any, ada: Subject) -> None:
    adapter, words = worn(base, "profusion", ada), {}
    for name, time, seed in (("first", 500, 0), ("later", 100, 0), ("other", 500, 1)):
        with torch.no_grad(), attach(base, (adapter,)) as adapted:
            run = run_of(adapted, ("a <rex>",), time=time)
            run.latents = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(seed))
            base.predict(run.latents, run.time, adapted.text_states(("a <rex>",)), context=run)
            words[name] = run.activations["picture words"]
    assert words["first"].shape[1] == 2
    assert not torch.allclose(words["first"], words["later"], atol=1e-4)
    assert not torch.allclose(words["first"], words["other"], atol=1e-4)
    every = [term.name for stage in adapter.recipe.stages for term in stage.loss]
    assert all(name.startswith("denoising") for name in every)


def test_a_round_of_fusion_is_the_papers_formula_with_fresh_noise(base: Any, ada: Subject) -> None:
    """With a perfect prediction, latents at a noise level stay there: their clean picture is kept and their spread is
    as before."""
    from types import SimpleNamespace

    from limner.core.adapted import Moment
    from limner.parts.guidance import fusion_sampling
    from limner.parts.objectives.rewards import levels

    clean, noise = torch.randn(4000), torch.randn(4000)
    signal, spread = levels(base, 500)
    x = (signal * clean + spread * noise).view(4, 1, 10, 100)
    truth = noise.view_as(x)
    adapted: Any = SimpleNamespace(base=base)
    moment = Moment(adapted, x, torch.tensor(500), 3, 10, ("<rex>",) * 4, torch.zeros(4, 1, 1))
    asked = pytest.MonkeyPatch()
    asked.setattr(fusion_sampling, "_predicted", lambda *_: truth)
    fresh = torch.randn(x.shape)
    found = fusion_sampling.fused(moment, x, [0, 1, 2, 3], fresh, "<rex>", 0.8, 1.0)
    asked.undo()
    left = (found - signal * clean.view_as(x)).flatten()
    assert float((left * fresh.flatten()).mean()) > 0.1  # fresh noise came in
    assert float(left.std()) == pytest.approx(spread, rel=0.05)
    assert float((left * clean).mean()) == pytest.approx(0.0, abs=0.05)


# ------------------------------------------------------------------------------------------------------------ RetriNet


def test_retrinet_retrieves_what_the_concept_word_says(base: Any) -> None:
    """The same reference and mask with another concept word is another prediction, and each time looks anew."""
    adapter, shown = worn(base, "retrinet", NOBODY), seen_people(1)
    first, again, other = (
        predicted(base, adapter, ("a person",), replace(shown, captions=((word,),)))
        for word in ("face", "face", "clothes")
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-5)


def test_retrinet_masks_out_all_but_the_concept_and_never_shows_the_target(base: Any) -> None:
    (stage,) = on_few(replace_batch("retrinet", 8))
    drawn = stage.loss[0].source.prepare(base)(0, streams(0, "x", 0, 0))
    shown = drawn.references
    assert shown is not None
    assert shown.masks is not None
    assert set(shown.captions) == {("face",), ("clothes",)}
    for row, (said,) in enumerate(shown.captions):
        assert (float(shown.masks[row].mean()) < 0.5) is (said == "face")
    apart = (base.decode(drawn.latents) - shown.first).abs().mean((1, 2, 3))
    assert float(apart.min()) > 0.05


# --------------------------------------------------------------------------------------------------------- Pre-training

PRETRAINED = [name for name, make in methods().items() if ".face." in make.__module__ and make(NOBODY).pretraining]


@pytest.mark.parametrize("name", PRETRAINED)
def test_its_pretraining_learns(base: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of every stage on a few people: losses are numbers, and much of what is selected moves."""
    paint_noise(monkeypatch)
    recipe = methods()[name](NOBODY, batch=2)
    stages = [replace(stage, steps=1, warmup=0, average=0.0, decay="constant") for stage in on_few(recipe)]
    adapter = Adapter(recipe, "<nobody>")
    with attach(base, (adapter,)) as adapted:
        first = {n: t.detach().clone() for s in stages for part in s.train for n, t in part(adapted).items()}
    for progress in train(base, adapter, stages=stages):
        assert math.isfinite(progress.loss)
    last = progress.snapshot().tensors
    moved = [n for n in first if not first[n].equal(last[n])]
    assert len(moved) > len(first) / 4
    assert all(term.source.learns_from == "corpus" for stage in stages for term in stage.loss)


# ----------------------------------------------------------------------------------------------------------- FaceStudio


def test_facestudio_reads_no_text_but_through_the_prior(base: Any, ada: Subject, bob: Subject) -> None:
    """Tokens of image and face, then the states of an empty prompt; with the prior's output at zero, prompts are all
    alike."""
    adapter = worn(base, "facestudio", ada)
    first, other = (read(base, adapter, said)[1][0] for said in ("<rex> on the beach", "<rex> in the snow"))
    empty = base.text_states([""], words={})[0]
    assert torch.allclose(first[8:], empty[8:], atol=1e-5)
    assert not torch.allclose(first[:4], other[:4], atol=1e-3)
    assert torch.allclose(first[4:8], other[4:8], atol=1e-5)
    mute = {key: torch.zeros_like(t) if ".prior." in key else t for key, t in adapter.stored.items()}
    first, other = (
        read(base, replace(adapter, stored=mute), said)[1][0] for said in ("<rex> on the beach", "<rex> in the snow")
    )
    assert torch.allclose(first, other, atol=1e-5)
    someone = read(base, worn(base, "facestudio", bob), "<rex> on the beach")[1][0]
    assert not torch.allclose(first[4:8], someone[4:8], atol=1e-3)


def test_facestudios_negative_branch_sees_neither_image_nor_face(base: Any, ada: Subject, bob: Subject) -> None:
    first, other = (
        read(base, worn(base, "facestudio", who), "<rex> at night", "", branches=("text", "negative"))[1]
        for who in (ada, bob)
    )
    assert torch.allclose(first[1], other[1], atol=1e-5)
    assert not torch.allclose(first[0], other[0], atol=1e-3)


def test_facestudio_learns_the_prior_first_and_leaves_it_then(base: Any) -> None:
    recipe = methods()["facestudio"](NOBODY)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        first, second = ({key for part in stage.train for key in part(adapted)} for stage in recipe.pretraining)
    assert first
    assert all(".prior." in key for key in first)
    assert not first & second


# ------------------------------------------------------------------------------------------------------------- FreeCure


def test_freecure_without_attributes_is_its_host(base: Any, ada: Subject) -> None:
    """Without strength, or without an attribute in the prompt, the picture is FastComposer's own; with one, another.
    Parallel streams make batches larger, which may turn a last bit."""
    host, cured = (
        {said: painted(base, name, ada, said) for said in ("<rex> on the beach", "<rex> wearing sunglasses")}
        for name in ("fastcomposer", "freecure")
    )
    plain = painted(base, "freecure", ada, "<rex> wearing sunglasses", strength=0.0)

    def apart(first: bytes, other: bytes) -> int:
        pixels = (torch.frombuffer(bytearray(data), dtype=torch.uint8).int() for data in (first, other))
        one, two = pixels
        return int((one - two).abs().max())

    assert apart(plain, host["<rex> wearing sunglasses"]) <= 2
    assert apart(cured["<rex> on the beach"], host["<rex> on the beach"]) <= 2
    assert apart(cured["<rex> wearing sunglasses"], host["<rex> wearing sunglasses"]) > 10


def test_freecure_learns_nothing_and_leaves_cross_attention_to_the_host(base: Any, ada: Subject) -> None:
    recipe = methods()["freecure"](ada)
    assert recipe.framework == "training-free"
    assert not recipe.stages
    host = methods()["fastcomposer"](ada)
    assert recipe.modifiers[:2] == host.modifiers[:2]


# -------------------------------------------------------------------------------------------------------------- Omni-ID


def test_omni_ids_tokens_are_as_many_for_one_photograph_as_for_three(base: Any) -> None:
    adapter, shown = worn(base, "omni_id", NOBODY), seen_people(1, 3)
    making = adapter.recipe.modifiers[0].states  # type: ignore[attr-defined]  # the fusion's
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        own = {
            key.removeprefix(making.prefix): t for key, t in adapted.tensors.items() if key.startswith(making.prefix)
        }
        sets = (shown.pixels, shown.pixels.flip(1), shown.pixels[:, :1])
        three, turned, one = (making.tokens(own, making.look(base, References(p))) for p in sets)
    assert three.shape == one.shape
    assert torch.allclose(three, turned, atol=1e-4)
    assert not torch.allclose(three, one, atol=1e-3)


def test_omni_ids_two_decoders_share_one_encoder_that_is_frozen_afterwards(base: Any) -> None:
    recipe = methods()["omni_id"](NOBODY, batch=2)
    adapter, (first, _) = Adapter(recipe, "<nobody>"), on_few(recipe)
    (term,) = first.loss
    with attach(base, (adapter,)) as adapted:
        encoder, after = (
            {key: t for part in stage.train for key, t in part(adapted).items()} for stage in recipe.pretraining
        )
        assert not encoder.keys() & after.keys()
        own = {key: t for key, t in encoder.items() if ".encoder." in key}
        for name in ("masked", "flow"):
            with torch.no_grad():  # the other decoder says nothing
                quiet = encoder[f"image.omni.{'flow' if name == 'masked' else 'masked'}.out"]
                before = quiet.clone()
                quiet.zero_()
            for tensor in own.values():
                tensor.requires_grad_(True)
            step = begin_update(Update, adapted, term.source, term.source.prepare(base), 0, 0, 0)
            slopes = torch.autograd.grad(term.value(step), list(own.values()), allow_unused=True)
            assert sum(float(slope.abs().sum()) for slope in slopes if slope is not None) > 0
            for tensor in own.values():
                tensor.requires_grad_(False)
            with torch.no_grad():
                quiet.copy_(before)
    drawn = term.source.prepare(base)(0, streams(0, "x", 0, 0))
    assert drawn.references is not None
    apart = (base.decode(drawn.latents)[:, None] - drawn.references.pixels).abs().mean((2, 3, 4))
    assert float(apart.min()) > 0.05  # no target is among what is seen


# ---------------------------------------------------------------------------------------------------------- Parts alone


def test_names_are_those_given_and_too_few_are_refused(base: Any) -> None:
    known = name_vectors(base, "dog cat, car boat, bear robot, one, three words here")
    assert known.shape[:2] == (3, 2)
    assert torch.equal(known[1, 0], base.word_vectors("car")[0])
    with pytest.raises(limner.errors.InputError, match="at least 3"):
        name_vectors(base, "dog cat")


def test_noise_stands_around_the_subject_and_never_on_it() -> None:
    from limner.parts.augmentations import noise_around

    pixels, masks = torch.zeros(8, 3, 6, 6), torch.zeros(8, 1, 6, 6)
    masks[..., :3, :] = 1
    found, same, *_ = noise_around(0.5)(Shots(pixels, masks), torch.Generator().manual_seed(0))
    assert same is masks
    assert not found[:, :, :3].any()
    outside = found[:, :, 3:].flatten(1).any(1)
    assert outside.any()
    assert not outside.all()


def test_blurred_pictures_have_less_detail_and_keep_their_mean() -> None:
    from limner.parts.augmentations import blurred

    pixels = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = blurred(1.0)(Shots(pixels, None), torch.Generator().manual_seed(0)).pixels
    assert (found.std((1, 2, 3)) < 0.8 * pixels.std((1, 2, 3))).all()
    assert torch.allclose(found.mean((1, 2, 3)), pixels.mean((1, 2, 3)), atol=0.02)


def test_captions_leave_room_for_words(base: Any) -> None:
    source = pairs_of_people(batch=8, spare=12, drop_text=0.0, drop_both=0.0).over(FEW)  # type: ignore[misc]
    for step in range(3):
        for said in source.prepare(base)(step, streams(0, "x", 0, step)).prompts:
            assert base.num_tokens(said, words={}) <= base.max_tokens - 12


def test_sources_at_times_are_noised_between_them(base: Any) -> None:
    from limner.parts.sources import at_times

    source = at_times(pairs_of_people(batch=64), 0.25, 0.5).over(FEW)  # type: ignore[misc]
    with attach(base, (Adapter(Recipe("person"), "<nobody>"),)) as adapted:
        times = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0).time
    assert int(times.min()) >= 250
    assert int(times.max()) < 500
    with pytest.raises(ValueError, match="rising"):
        at_times(source, 0.5, 0.5)


# ------------------------------------------------------------------------------------------------------ HyperDreamBooth


def test_hyperdreambooths_auxiliary_factors_are_orthonormal_frozen_and_not_stored(base: Any) -> None:
    adapter = worn(base, "hyperdreambooth", NOBODY)
    weights: Any = adapter.recipe.modifiers[0]
    for site in weights.sites(base):
        for left, right in weights.auxiliary(base, site):
            assert torch.allclose(left.T @ left, torch.eye(weights.a), atol=1e-5)
            assert torch.allclose(right @ right.T, torch.eye(weights.b), atol=1e-5)
    with attach(base, (adapter,)) as adapted:
        names = [name for name in adapted.tensors if name.startswith("hyperdreambooth.")]
        one = adapted.tensors["hyperdreambooth.bank"][0]
    assert {name.split(".")[1] for name in names} == {"bank", "features", "hyper"}
    assert one.shape == (3 * len(weights.sites(base)), weights.a + weights.b)  # two small factors for each matrix


def test_hyperdreambooth_changes_a_weight_by_its_four_factors(base: Any) -> None:
    """Against the change written out: W' = W + A_aux A B B_aux."""
    weights: Any = methods()["hyperdreambooth"](NOBODY).modifiers[0]
    site = weights.sites(base)[1]
    left, right = weights.auxiliary(base, site)[0]
    factors, x = torch.randn(2, weights.numbers), torch.randn(2, 5, right.shape[1])
    found = weights.path(x, factors, left, right)
    for row in range(2):
        a, b = factors[row].split([weights.a, weights.b])
        change = left @ a[:, None] @ b[None] @ right
        assert torch.linalg.matrix_rank(change) == 1
        assert torch.allclose(found[row], x[row] @ change.T, atol=1e-4)


def test_hyperdreambooth_predicts_in_rounds_and_tunes_at_a_higher_rank(base: Any, ada: Subject) -> None:
    adapter = worn(base, "hyperdreambooth", ada)
    weights: Any = adapter.recipe.modifiers[0]
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        own = {key.removeprefix("hyperdreambooth."): t for key, t in adapted.tensors.items()}
        first, last = (replace(weights, rounds=n).predicted(own, own["features"]) for n in (1, 4))
        learns = {key for part in adapter.recipe.tuning[0].train for key in part(adapted)}
        down = [adapted.tensors[key].shape[0] for key in learns if key.endswith("down")]
    assert not torch.allclose(first, last, atol=1e-4)
    assert all(key.startswith("relaxed.") for key in learns)
    assert set(down) == {4}
    assert weights.rank == 1


def test_hyperdreambooths_bank_learns_first_and_is_what_is_predicted_then(base: Any) -> None:
    recipe = methods()["hyperdreambooth"](NOBODY, batch=1)
    with attach(base, (Adapter(recipe, "<nobody>"),)) as adapted:
        bank, hyper = ({key for part in stage.train for key in part(adapted)} for stage in recipe.pretraining)
    assert bank == {"hyperdreambooth.bank"}
    assert hyper
    assert all(key.startswith("hyperdreambooth.hyper.") for key in hyper)
    names = [term.name.partition("(")[0] for term in recipe.pretraining[1].loss]
    assert names == ["denoising", "weight regression"]
