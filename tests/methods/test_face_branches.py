"""Methods of faces that stand on control branches, rewards and codes of a face GAN: what makes each of them itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Objective, Source, Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, References, Residuals, split
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import Update, begin_update
from limner.errors import InputError, UnknownName
from limner.methods import methods
from limner.parts.augmentations import warped
from limner.parts.encoders import keypoint_image
from limner.parts.fusion import KEYPOINTS
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.fusion.residual_cross_attention import groups
from limner.parts.objectives import structure_worth
from limner.parts.objectives.codes import changed_codes, eroded
from limner.parts.objectives.noise_matching import contrasted
from limner.parts.sources import pairs_of_people, people_by_age, with_holes
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, person
from tests.painted_faces import PaintedFaces, photograph

FEW = people(individuals=4)
TWO = limner.PaintSettings(steps=2)


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person(2_000_003)


@pytest.fixture(scope="module")
def bob() -> Subject:
    return person(2_000_096)


@pytest.fixture
def marking(base: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pocket base with a landmark detector, which marks faces of tests/painted_faces.py alone."""
    encoders = {**base.capabilities.encoders, "landmarks": PaintedFaces()}
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, encoders=encoders))
    return base


def worn(base: Any, name: str, subject: Subject, **settings: Any) -> Adapter:
    """A method on a subject, with weights near those that its pre-training begins with."""
    begun_weights(name, base)
    recipe = methods()[name](subject, **settings)
    return Adapter(recipe, subject.handle, shipped(recipe.weights, base) if recipe.weights else {})


def stages_on_few(name: str, **settings: Any) -> tuple[Stage, ...]:
    return over(methods()[name](Subject("<nobody>", "person"), **settings).pretraining, FEW)


def last_latents(adapted: AdaptedBase, prompt: str, **more: Any) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, [prompt], seeds=[3], settings=TWO, **more)
    return last.latents


# ----------------------------------------------------------------------------------------------------------- InstantID


def identity_residuals(adapted: AdaptedBase, prompt: str, **about: Any) -> Tensor:
    """Everything that IdentityNet adds to the denoiser in one run, flat."""
    base, said = adapted.base, (adapted.expand_prompt(prompt),)
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    run = adapted.run(time=torch.tensor([400]), latents=x, prompts=said, **about)
    (live,) = [live for live in run.lives if live.controls]
    assert run.time is not None
    given = {"encoder_hidden_states": adapted.text_states([prompt])}
    with torch.no_grad():
        found: Residuals = live.controls[0](x, run.time, given, run)
    assert found.middle is not None
    return torch.cat([part.flatten() for part in (*found.skips, found.middle)])


def test_identitynet_reads_the_identity_and_the_keypoints_and_nothing_of_the_prompt(
    base: Any, ada: Subject, bob: Subject
) -> None:
    points = torch.tensor([[[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]]])
    left, right = ({KEYPOINTS: keypoint_image(at, base.picture_size)} for at in (0.5 * points, 0.5 * points + 0.5))
    with attach(base, (worn(base, "instantid", ada),)) as adapted:
        first = identity_residuals(adapted, "a photo of <rex>", conditions=left)
        other_prompt = identity_residuals(adapted, "two red cars at night", conditions=left)
        other_place = identity_residuals(adapted, "a photo of <rex>", conditions=right)
        nobody = identity_residuals(adapted, "a photo of <rex>", conditions=left, branches=("negative",))
    with attach(base, (worn(base, "instantid", bob),)) as adapted:
        other_face = identity_residuals(adapted, "a photo of <rex>", conditions=left)
    assert torch.equal(first, other_prompt)
    for other in (other_place, nobody, other_face):
        assert not torch.equal(other, first)


def test_no_identity_is_the_resamplers_answer_to_zeros(base: Any, ada: Subject) -> None:
    adapter = worn(base, "instantid", ada)
    zeros = dict(adapter.stored) | {"image.identity.features": torch.zeros(1, 128)}
    found: list[Tensor] = []
    for stored, branches in ((adapter.stored, ("text", "negative")), (zeros, ("text", "text"))):
        with torch.no_grad(), attach(base, (replace(adapter, stored=stored),)) as adapted:
            run = adapted.run(time=torch.tensor([400, 400]), branches=branches)
            (live,) = adapted.live.values()
            found.append(live.offers[STATES](run, 2))
    assert found[0].shape == (2, 16, base.states_shape[1])
    assert torch.allclose(found[0][1], found[1][0], atol=1e-5)
    assert not torch.allclose(found[0][0], found[1][0], atol=1e-3)


@pytest.mark.parametrize(("scale", "control_scale"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.8)])
def test_instantid_with_both_scales_at_zero_is_the_base(
    base: Any, ada: Subject, scale: float, control_scale: float
) -> None:
    with attach(base, (worn(base, "instantid", ada, scale=scale, control_scale=control_scale),)) as adapted:
        found = last_latents(adapted, "a photo of <rex> on the beach")
        with adapted.suspended():
            plain = last_latents(AdaptedBase(base, ()), "a photo of person on the beach")
    assert torch.equal(found, plain) == (scale == control_scale == 0)


def test_without_a_picture_of_keypoints_those_of_the_first_face_are_read(marking: Any, ada: Subject) -> None:
    base, nobody = marking, photograph(size=(64, 64))
    first, second = photograph((0, 8, 30), size=(64, 64)), photograph((0, 30, 26), size=(64, 64))
    pixels = Subject.of([first, second], noun="person", handle="rex").tensor(base.picture_size)
    own = keypoint_image(PaintedFaces()(pixels), base.picture_size)
    adapter = worn(base, "instantid", Subject.of([nobody, first, second], noun="person", handle="rex"))
    with attach(base, (adapter,)) as adapted:
        painted = [
            last_latents(adapted, "<rex>", conditions=given) for given in ({}, *({KEYPOINTS: k[None]} for k in own))
        ]
    assert torch.equal(painted[0], painted[1])
    assert not torch.equal(painted[0], painted[2])
    with attach(base, (worn(base, "instantid", Subject.of([nobody], noun="person", handle="rex")),)) as adapted:
        blank = torch.zeros_like(own[:1])
        assert torch.equal(
            last_latents(adapted, "<rex>"), last_latents(adapted, "<rex>", conditions={KEYPOINTS: blank})
        )


def test_pretraining_draws_the_keypoints_of_the_picture_to_paint(base: Any) -> None:
    (stage,) = stages_on_few("instantid", batch=6)
    batch = stage.loss[0].source.prepare(base)(0, streams(0, 0))
    assert batch.landmarks is not None
    five = [FEW.landmark_names.index(name) for name in PaintedFaces.names]
    assert torch.equal(batch.conditions[KEYPOINTS], keypoint_image(batch.landmarks[:, five], base.picture_size))
    assert batch.conditions[KEYPOINTS].amax((1, 2, 3)).min() > 0.5


def test_landmarks_of_the_corpus_are_where_its_pictures_show_them() -> None:
    """Eyes are dark or white, skin is neither: a head's mask holds all of the five points that are in the picture."""
    pictures = [picture for line in FEW.subjects for picture in line]
    _, masks = FEW.drawn(pictures, 64)
    assert masks is not None
    marks = FEW.landmarks(pictures)
    assert marks.shape == (16, 22, 2)
    five = marks[:, [FEW.landmark_names.index(name) for name in PaintedFaces.names]]
    inside = [
        bool(masks[row, 0, min(int(y * 64), 63), min(int(x * 64), 63)])
        for row, points in enumerate(five)
        for x, y in points.tolist()
        if x == x
    ]
    assert len(inside) > 60
    assert sum(inside) > 0.9 * len(inside)
    assert [FEW.landmark_names[k] for k in FEW.mirror][:4] == [
        "right eye", "left eye", "right eye inner", "right eye outer",
    ]  # fmt: skip


@dataclass(frozen=True)
class unmarked(people):
    """People whose landmarks the corpus does not know."""

    landmarks: Any = None


def test_pretraining_needs_landmarks_and_says_so(base: Any, marking: Any) -> None:
    source = pairs_of_people(batch=2, keypoints=True).over
    assert source is not None
    draw = source(unmarked(individuals=2)).prepare(marking)
    assert draw(0, streams(0, 0)).conditions[KEYPOINTS].sum() == 0  # this detector knows painted faces alone
    plain = {role: network for role, network in base.capabilities.encoders.items() if role != "landmarks"}
    marking.capabilities = replace(marking.capabilities, encoders=plain)
    with pytest.raises(InputError, match="no landmark detector"):
        draw(0, streams(0, 0))


# ---------------------------------------------------------------------------------------------------------- ID-Aligner


def feedback_of(name: str, subject: Subject, base: Any, **settings: Any) -> tuple[Adapter, Objective]:
    """A method on a subject, and its term of rewards on a few people."""
    adapter = worn(base, name, subject, **settings)
    last = adapter.recipe.stages[-1]
    (stage,) = over((last,), FEW) if "corpus" in last.learns_from else (last,)
    return adapter, stage.loss[-1]


def update_of(adapted: AdaptedBase, term: Objective) -> Update:
    update = begin_update(Update, adapted, term.source, term.source.prepare(adapted.base), 0, 0, 0)
    update.together = [update]
    return update


@pytest.mark.parametrize("host", ["adapter", "lora"])
def test_rewards_pass_one_denoising_step_and_the_decoder(
    base: Any, ada: Subject, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, term = feedback_of("id_aligner", ada, base, host=host, batch=4, path=6, late=0.5, structure=0.0)
    predicted: list[bool] = []
    decoded: list[bool] = []

    def predict(*given: Any, real: Any = base.predict, **more: Any) -> Tensor:
        found: Tensor = real(*given, **more)
        predicted.append(found.requires_grad)
        return found

    def decode(latents: Tensor, *, real: Any = base.decode, **more: Any) -> Tensor:
        decoded.append(latents.requires_grad)
        found: Tensor = real(latents, **more)
        return found

    with attach(base, (adapter,)) as adapted:
        learning = {n: t for part in adapter.recipe.stages[-1].train for n, t in part(adapted).items()}
        for tensor in learning.values():
            tensor.requires_grad_(True)
        before = term.value(update_of(adapted, term))
        monkeypatch.setattr(base, "predict", predict)
        monkeypatch.setattr(base, "decode", decode)
        value = term.value(update_of(adapted, term))
        assert torch.equal(value, before)
        assert predicted == [False] * (len(predicted) - 1) + [True]
        assert 4 <= len(predicted) <= 6  # in the later half of six
        assert decoded == [True]
        grads = torch.autograd.grad(value, list(learning.values()), allow_unused=True)
        assert not any(p.requires_grad for part in base.parts for p in base.module(part).parameters())
        size = sum(float(g.square().sum()) for g in grads if g is not None) ** 0.5
        with torch.no_grad():
            for tensor, grad in zip(learning.values(), grads, strict=True):
                if grad is not None:
                    tensor -= 0.02 * grad / size
        after = term.value(update_of(adapted, term))
        for tensor in learning.values():
            tensor.requires_grad_(False)
    assert -1 < float(before.detach()) < 1
    assert float(after.detach()) < float(before.detach())  # the face is more like the reference's


def test_feedback_tunes_keys_and_values_of_an_adapter_alone(base: Any, ada: Subject) -> None:
    adapter = worn(base, "id_aligner", ada)
    with attach(base, (adapter,)) as adapted:
        (first, second) = ({n for part in stage.train for n in part(adapted)} for stage in adapter.recipe.stages)
    assert second == {name for name in first if name.endswith((".key", ".value"))}
    assert second < first
    assert {type(term.source.learns_from) for term in adapter.recipe.stages[1].loss} == {str}
    assert len(adapter.recipe.stages[1].loss) == 2  # the host's own loss goes on beside the rewards


def test_bent_faces_are_worth_less(base: Any) -> None:
    pictures = [line[0] for line in people(individuals=8).subjects]
    pixels = people(individuals=8).drawn(pictures, base.picture_size)[0].float() / 255
    with attach(base, ()) as adapted:
        batch = Batch(torch.zeros(4, *base.latent_shape), ("",) * 4, references=References(pixels[:4, None]))
        step = Update(adapted, batch, torch.zeros(4), torch.zeros(1), streams(0, 0))
        others, at = pixels[4:], torch.Generator().manual_seed(1)
        straight, bent = (structure_worth(step, shown) for shown in (others, warped(others, at)))
    assert float(straight.mean() - bent.mean()) > 0.3
    assert bool((straight > bent).all())


def test_a_lora_is_aligned_for_its_subject(base: Any, ada: Subject) -> None:
    plain, aligned = (
        limner.learn(base, ada, method="id_aligner", host="lora", steps=1, reward_steps=n, path=2, batch=2)
        for n in (1, 2)
    )
    assert all(name.startswith("low_rank.") for name in aligned.tensors)
    assert not torch.equal(*(torch.cat([t.flatten() for t in c.tensors.values()]) for c in (plain, aligned)))


def test_hosts_and_rewards_that_cannot_be_aligned_are_refused(base: Any, ada: Subject, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="'adapter' or 'lora', not 'hypernetwork'"):
        methods()["id_aligner"](ada, host="hypernetwork")
    (tmp_path / "mine.py").write_text("def worth(base, pixels, prompts):\n    return pixels.detach().mean((1, 2, 3))\n")
    adapter, term = feedback_of(
        "id_aligner", ada, base, host="lora", batch=2, path=1, appeal=f"{tmp_path}/mine.py:worth"
    )
    with attach(base, (adapter,)) as adapted, pytest.raises(InputError, match="without a gradient"):
        term.value(update_of(adapted, term))


# ------------------------------------------------------------------------------------------------------ W-Plus-Adapter


def test_codes_are_read_by_what_the_attention_to_the_text_returned(base: Any, ada: Subject) -> None:
    """By hand, at one layer: A + scale * attention(Q' A, K' s, V' s), before the output projection."""
    adapter = worn(base, "w_plus_adapter", ada, scale=0.7)
    site = next(site for site in base.sites if site.kind == "cross")
    seen: dict[str, Any] = {}

    def before(call: AttentionCall) -> AttentionCall:
        if call.site == site:
            call.on_output.insert(0, lambda out: seen.setdefault("text", out.clone()))
            call.on_output.append(lambda out: seen.setdefault("both", out.clone()))
        return call

    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        run = adapted.run(time=torch.tensor([500]), prompts=("a person",))
        run.operations += (before,)
        base.predict(torch.zeros(1, *base.latent_shape), run.time, adapted.text_states(["a person"]), context=run)
        (live,) = adapted.live.values()
        (vectors,) = (value for key, value in run.cache.items() if isinstance(key, int))
    query, key, value = (live.tensors[f"image.{site.name}.{part}"] for part in ("query", "key", "value"))
    assert vectors.shape == (1, 4, base.states_shape[1])
    heads, flat = seen["text"].shape[1], seen["text"].transpose(1, 2).flatten(2)
    q, k, v = (split(x @ w.T, heads) for x, w in ((flat, query), (vectors, key), (vectors, value)))
    maps = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    assert torch.allclose(seen["both"], seen["text"] + 0.7 * (maps @ v), atol=1e-5)
    assert not torch.allclose(seen["both"], seen["text"], atol=1e-3)


def w_plus_updates(base: Any, subject: Subject, adapted: AdaptedBase) -> list[tuple[Objective, Update]]:
    """The second stage's terms, each with its first update."""
    stage = stages_on_few("w_plus_adapter", batch=3)[1]
    return [(term, update_of(adapted, term)) for term in stage.loss]


def test_another_code_is_held_off_what_is_around_a_face(base: Any, ada: Subject) -> None:
    """Two runs differ in codes alone: with a mask that is everywhere nothing counts, and a dropped row has no code."""
    with attach(base, (worn(base, "w_plus_adapter", ada),)) as adapted:
        _, (term, update), (near, _) = w_plus_updates(base, ada, adapted)
        mask, references = update.batch.mask, update.batch.references
        assert mask is not None
        assert references is not None
        assert bool(mask.amax((1, 2, 3)).min() > 0.5)
        with torch.no_grad():
            on = replace(references, dropped=torch.tensor([False, False, False]))
            off = replace(references, dropped=torch.tensor([True, True, True]))
            around, everywhere, dropped, nothing = (
                float(term.value(update.on(replace(update.batch, mask=where, references=shown))))
                for where, shown in ((mask, on), (torch.ones_like(mask), on), (mask, off), (0 * mask, on))
            )
            assert float(near.value(update)) > 0
        assert 0 < around < nothing
        assert everywhere == 0
        assert dropped == 0  # no code, whatever it is changed to


def test_codes_are_changed_in_every_way() -> None:
    codes = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    found = [changed_codes(torch.Generator().manual_seed(seed))(codes) for seed in range(40)]
    assert all(each.shape == codes.shape and bool(torch.isfinite(each).all()) for each in found)
    layers = [((each - codes).abs().amax((0, 2)) > 1e-6).sum().item() for each in found]
    assert any(0 < count < 6 for count in layers)  # along a direction, in some layers
    assert sum(count == 6 for count in layers) > 15
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    assert 0.3 < float(eroded(mask).sum() / mask.sum()) < 0.6
    assert groups(18) == [4, 4, 4, 6]


def test_faces_come_first_and_then_the_map_of_codes_stays(base: Any, ada: Subject) -> None:
    adapter = worn(base, "w_plus_adapter", ada, batch=3)
    first, second = over(adapter.recipe.stages, FEW)
    with attach(base, (adapter,)) as adapted:
        mapped, tuned = ({n for part in stage.train for n in part(adapted)} for stage in (first, second))
        faces = update_of(adapted, first.loss[0]).batch
    assert mapped - tuned == {
        f"image.w_plus.{name}" for name in (*(f"group.{k}" for k in range(4)), "norm.weight", "norm.bias")
    }
    assert set(faces.prompts) <= {"a photo of a face", ""}
    assert faces.references is not None
    shown = faces.references.first
    assert torch.allclose(base.encode(shown)[0], faces.latents, atol=1e-4)
    assert faces.references.masks is not None
    assert float(faces.references.masks.mean()) > 0.25  # cut to the head


def test_a_base_without_a_face_gan_says_so(base: Any, ada: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {role: network for role, network in base.encoders.items() if role != "w_plus"}
    adapter = worn(base, "w_plus_adapter", ada)
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, encoders=plain))
    with pytest.raises(InputError, match=r"no encoder into the space W\+ of a face GAN"), attach(base, (adapter,)):
        pass


# --------------------------------------------------------------------------------------- Identity-Preserving Aging


def test_ages_are_said_of_other_people_alone(base: Any, ada: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = methods()["banerjee_aging"](ada, batch=8, people=8)
    own, others, _ = recipe.stages[0].loss
    draw = others.source.prepare(base)
    drawn = [draw(step, streams(0, step)) for step in range(3)]
    said = {text for batch in drawn for text in batch.prompts}
    assert {"a photo of a child", "a photo of a person", "a photo of an old person"} <= said
    assert not any("<rex>" in text for text in said)
    assert set(own.source.prepare(base)(0, streams(0, 0)).prompts) == {"a photo of a <rex>"}
    assert others.source.learns_from == "class"
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, people=None))
    painted = people_by_age(ada, count=2, batch=4).prepare(base)(0, streams(0, 0))
    assert set(painted.prompts) <= {"a photo of a child", "a photo of a teenager"}


def test_predictions_are_told_from_others_noise() -> None:
    """By hand: for each view of each channel, the cosine with its pair against those with all others."""
    output, target = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    wanted = []
    for channel in range(2):
        views = [x[row, channel].flatten() for x in (output, target) for row in range(3)]
        for k, view in enumerate(views):
            alike = {n: torch.cosine_similarity(view, other, dim=0) / 0.5 for n, other in enumerate(views) if n != k}
            wanted.append(torch.stack(list(alike.values())).logsumexp(0) - alike[(k + 3) % 6])
    assert torch.allclose(contrasted(output, target, 0.5), torch.stack(wanted).mean(), atol=1e-5)
    assert float(contrasted(target, target, 0.5)) < float(contrasted(output, target, 0.5))
    assert float(contrasted(output[:1], target[:1], 0.5)) == 0  # a batch of one, as in the released configuration


@pytest.mark.parametrize("term", ["contrastive", "cosine", "biometric"])
def test_each_term_of_aging_teaches_the_denoiser(base: Any, ada: Subject, term: str) -> None:
    recipe = methods()["banerjee_aging"](ada, term=term, batch=2)
    assert [objective.weight for objective in recipe.stages[0].loss] == [1.0, 0.3, 0.1]
    weight = base.select("everything")["denoiser.conv_in.weight"]
    with attach(base, (Adapter(recipe, "<rex>"),)) as adapted:
        weight.requires_grad_(True)
        try:
            value = recipe.stages[0].loss[2].value(update_of(adapted, recipe.stages[0].loss[2]))
            (grad,) = torch.autograd.grad(value, [weight])
        finally:
            weight.requires_grad_(False)
    assert 0 < float(value.detach()) < 5
    assert float(grad.abs().sum()) > 0


def test_aging_knows_three_terms(ada: Subject) -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosine'"):
        methods()["banerjee_aging"](ada, term="cosin")


# ------------------------------------------------------------------------------------------ Parallel Visual Attention


class inpainting:
    """A base that reads a picture and its mask."""

    conditions = ("source", "mask")

    def decode(self, latents: Tensor) -> Tensor:
        return latents.new_full((len(latents), 3, 32, 32), 0.5)


def test_holes_are_drawn_where_the_base_reads_them(base: Any) -> None:
    def draw(step: int, at: Any) -> Batch:
        return Batch(torch.zeros(16, 4, 4, 4), ("",) * 16)

    source = with_holes(Source("zeros", "subject", lambda base: draw))
    stand_in: Any = inpainting()
    found = source.prepare(stand_in)(0, streams(0, 0)).conditions
    assert found["source"].shape == (16, 3, 32, 32)
    holes = found["mask"]
    assert set(holes.unique().tolist()) == {0, 1}
    assert len(holes.flatten(1).unique(dim=0)) == 16
    shares = holes.mean((1, 2, 3))
    assert float(shares.min()) > 0.05
    assert float(shares.max()) < 0.7
    for hole in holes[:, 0]:
        rows, columns = hole.amax(1), hole.amax(0)
        assert torch.equal(hole, rows[:, None] * columns)  # a rectangle
    assert not source.prepare(base)(0, streams(0, 0)).conditions


def test_a_person_is_seen_on_other_pictures_than_the_one_to_paint(base: Any) -> None:
    (stage,) = stages_on_few("pva", batch=1)
    batch = stage.loss[0].source.prepare(base)(0, streams(0, 0))
    assert batch.references is not None
    assert batch.references.pixels.shape[:2] == (4, 3)
    with torch.no_grad():
        seen = base.encode(batch.references.pixels.flatten(0, 1))[0].unflatten(0, (4, 3))
    assert float((seen - batch.latents[:, None]).flatten(2).norm(dim=-1).min()) > 1


def test_tokens_are_of_a_set_of_pictures(base: Any, ada: Subject) -> None:
    """As many from two pictures as from three, the same in any order, others without one of them."""
    found = []
    for order in ((0, 1, 2), (2, 0, 1), (0, 1)):
        subject = replace(ada, pictures=tuple(ada.pictures[k] for k in order))
        with torch.no_grad(), attach(base, (worn(base, "pva", subject),)) as adapted:
            (live,) = adapted.live.values()
            found.append(live.offers[STATES](adapted.run(time=torch.tensor([400])), 1))
    assert found[0].shape == found[2].shape == (1, 8, base.states_shape[1])
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert not torch.allclose(found[0], found[2], atol=1e-4)


def test_forty_updates_follow_for_a_subject(ada: Subject) -> None:
    recipe = methods()["pva"](ada)
    assert recipe.framework == "hybrid"
    assert [stage.steps for stage in recipe.tuning] == [40]
