"""Methods that put a subject at a place of a scene: what makes each of them itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import limner
from limner.core.pixels import to_tensor
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.tensor_files import read_safetensors
from limner.core.types import AttentionCall, Pass
from limner.core.views import as_moves
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.inpainting import Region
from limner.engine.sample import Canvas, PaintSettings, sample
from limner.engine.train import Update, begin_update
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders import detail_map, patch_tokens
from limner.parts.encoders.scenes import MIDDLE, scene_of
from limner.parts.fusion.collage_network import DETAILS, collage
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.fusion.posed_tokens import placed_latents, pose
from limner.parts.modifiers import further_channels
from limner.parts.sources.placing import box_masks, boxes_around
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy
from limner.workflows.pretrain import over, prepared, trained
from tests.helpers import begun_weights

FEW, TWO = toys(6), PaintSettings(steps=2)


@pytest.fixture(scope="module")
def tom() -> Subject:
    return toy("cat", 2_000_031, count=1)


def worn(base: Any, name: str, subject: Subject, **settings: Any) -> Adapter:
    """A method on a subject, with weights near those that its pre-training begins with."""
    begun_weights(name, base)
    recipe = methods()[name](subject, **settings)
    return Adapter(recipe, subject.handle, shipped(recipe.weights, base) if recipe.weights else {}, noun=subject.noun)


def last_latents(adapted: AdaptedBase, prompt: str, *, settings: PaintSettings = TWO, **more: Any) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, [prompt], seeds=[3], settings=settings, **more)
    return last.latents


def shape(colour: str, *, stripes: str = "", size: int = 128) -> Subject:
    """A square of one colour on white, or with stripes of another."""
    picture, mask = Image.new("RGB", (size, size), "white"), Image.new("L", (size, size), 0)
    inside = (size // 4, size // 4, 3 * size // 4 - 1, 3 * size // 4 - 1)
    ImageDraw.Draw(picture).rectangle(inside, fill=colour)
    ImageDraw.Draw(mask).rectangle(inside, fill=255)
    for left in range(size // 4, 3 * size // 4, 16) if stripes else ():
        ImageDraw.Draw(picture).rectangle((left, inside[1], left + 7, inside[3]), fill=stripes)
    return Subject.of([picture], noun="box", handle="rex", masks=[mask])


def trained_names(base: Any, name: str, folder: Path, **given: Any) -> set[str]:
    """Names of the tensors that two updates of the pre-training save."""
    ready = prepared(name, base=base, corpus=FEW, given={"steps": 2, "batch": 2, **given}, to=folder / "w.safetensors")
    return set(read_safetensors(trained(ready, run=folder / "run"), what="weights")[1])


# ------------------------------------------------------------------------------------------------------------- AnyDoor


def test_anydoor_reads_the_subject_and_no_word(base: Any, rex: Subject, tom: Subject) -> None:
    with attach(base, (worn(base, "anydoor", rex),)) as adapted:
        first = last_latents(adapted, "<rex> on the beach")
        other_words = last_latents(adapted, "a red car at night")
        with adapted.suspended():
            plain = last_latents(AdaptedBase(base, ()), "a red car at night")
    with attach(base, (worn(base, "anydoor", tom),)) as adapted:
        other_subject = last_latents(adapted, "<rex> on the beach")
    assert torch.equal(first, other_words)
    assert not torch.allclose(first, other_subject, atol=1e-3)
    assert not torch.allclose(first, plain, atol=1e-3)


def test_every_cross_attention_output_is_that_of_the_tokens(base: Any, rex: Subject) -> None:
    """At full strength a layer gives attention to the tokens alone, by its own keys and values; at half, the mean."""
    found: dict[float, list[Tensor]] = {}
    for scale in (0.0, 0.5, 1.0):
        adapter = worn(base, "anydoor", rex)
        part, outputs = adapter.recipe.modifiers[0].tokens, found.setdefault(scale, [])  # type: ignore[attr-defined]

        def keep(call: AttentionCall, outputs: list[Tensor] = outputs, scale: float = scale) -> AttentionCall:
            if call.site.kind == "cross" and not outputs:
                text = torch.nn.functional.scaled_dot_product_attention(call.query, call.key, call.value)
                for change in call.on_output:
                    text = change(text)
                for key, value, much in call.beside:
                    text = text + much * torch.nn.functional.scaled_dot_product_attention(call.query, key, value)
                outputs.append(text)
            return call

        x, time = torch.ones(1, *base.latent_shape), torch.tensor([500])
        with torch.no_grad(), part(base, stored=adapter.stored, generator=torch.Generator(), scale=scale) as live:
            run = Pass(operations=(*live.operations, keep), lives=(live,), time=time)
            base.predict(x, time, base.text_states(["a dog"], words={}), context=run)
            if scale == 1:
                assert live.offers[STATES](run, 1).shape == (1, 1 + 64, base.states_shape[1])
    (text,), (half,), (tokens,) = found.values()
    assert torch.allclose(half, (text + tokens) / 2, atol=1e-5)
    assert not torch.allclose(tokens, text, atol=1e-3)


def test_negative_branches_read_a_black_picture(base: Any, rex: Subject) -> None:
    with torch.no_grad(), attach(base, (worn(base, "anydoor", rex),)) as adapted:
        run = adapted.run(time=torch.tensor([400, 400]), branches=("text", "negative"))
        live = adapted.live.values()[0]
        read = live.offers[STATES](run, 2)
        black = patch_tokens(base, torch.zeros(1, 3, base.picture_size, base.picture_size))
        wanted = torch.nn.functional.linear(black, live.tensors["tokens.weight"], live.tensors["tokens.bias"])
    assert torch.allclose(read[1:], wanted, atol=1e-5)
    assert not torch.allclose(read[:1], wanted, atol=1e-2)


def test_flat_regions_never_reach_the_control_branch(base: Any) -> None:
    """Two squares of different colours have one collage, with nothing of them; stripes are in it in their colours."""
    collages: list[Tensor] = []
    for subject in (shape("red"), shape("blue"), shape("red", stripes="blue")):
        with attach(base, (worn(base, "anydoor", subject),)) as adapted:
            details = adapted.live.values()[0].tensors[DETAILS]
            collages.append(collage(base, Pass(branches=("text",)), 1, "<rex>", details))
    red, blue, striped = collages
    assert torch.equal(red, blue)
    inside = box_masks(torch.tensor([MIDDLE]), base.picture_size).bool()
    assert bool((red[:, :3][inside.expand(-1, 3, -1, -1)] == -1).all())
    assert float((striped[:, :3] > -1)[inside.expand(-1, 3, -1, -1)].float().mean()) > 0.02
    assert float(striped[:, 1][inside[:, 0]].max()) == -1  # neither red nor blue has green


def test_the_detail_map_is_the_edges_in_their_own_colours() -> None:
    grey = torch.full((1, 3, 32, 32), 0.4)
    grey[..., 16:] = 0.8
    one = torch.ones(1, 1, 32, 32)
    found = detail_map(grey, one)
    columns = (found[0, 0] > 0).any(0).nonzero().flatten().tolist()
    assert columns == [15, 16]
    assert torch.allclose(found[0, 0, 16, 15:17], torch.tensor([0.4, 0.8]) / 2)  # Sobel is cut at 1, the other is 0
    assert not detail_map(grey * 0.05, one).any()  # too weak
    assert not detail_map(grey, torch.zeros(1, 1, 32, 32)).any()


def test_a_collage_is_the_scene_with_the_subject_in_its_box(base: Any, rex: Subject) -> None:
    size = base.picture_size
    scene = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    collages: list[Tensor] = []
    for box in ((0.0, 0.0, 0.5, 0.5), (0.5, 0.25, 1.0, 1.0)):
        hole = box_masks(torch.tensor([box]), size)
        with attach(base, (worn(base, "anydoor", rex),)) as adapted:
            details = adapted.live.values()[0].tensors[DETAILS]
            made = collage(base, Pass(conditions={"source": scene, "mask": hole}), 1, "<rex>", details)
        outside = (hole == 0).expand(-1, 3, -1, -1)
        assert torch.allclose(made[:, :3][outside], 2 * scene[outside] - 1, atol=1e-6)
        assert not torch.allclose(made[:, :3][~outside], 2 * scene[~outside] - 1, atol=0.1)
        assert torch.equal(made[:, 3:], hole)
        across, down = round(size * (box[2] - box[0])), round(size * (box[3] - box[1]))
        left, top = round(size * box[0]), round(size * box[1])
        collages.append(made[:, :3, top : top + down, left : left + across])
    first, second = (torch.nn.functional.interpolate(each, (32, 32), mode="area") for each in collages)
    assert float((first - second).abs().mean()) < 0.1 * float((first + 1).abs().mean())  # the same, at another place


def test_a_region_is_a_place_and_comes_before_the_mask(base: Any) -> None:
    left = torch.zeros(1, 1, *base.latent_shape[1:])
    left[..., : base.latent_shape[2] // 2] = 1
    below = box_masks(torch.tensor([[0, 0.5, 1, 1]]), base.picture_size)
    about: dict[str, Any] = {"conditions": {"mask": below}, "regions": {"<rex>": left}}
    assert scene_of(base, Pass(**about), 2, "<rex>").boxes.tolist() == [[0, 0, 0.5, 1]] * 2
    assert scene_of(base, Pass(**about), 1, "<bo>").boxes.tolist() == [[0, 0.5, 1, 1]]
    nowhere = scene_of(base, Pass(), 1, "<rex>")
    assert torch.allclose(nowhere.boxes, torch.tensor([MIDDLE]), atol=1 / base.picture_size)
    assert bool((nowhere.pixels == 0.5).all())
    with pytest.raises(InputError, match="mask for <rex> is empty"):
        scene_of(base, Pass(conditions={"mask": torch.zeros_like(below)}), 1, "<rex>")
    with pytest.raises(InputError, match="learns from a scene"):
        scene_of(base, Pass(random=streams(0, 0)), 1, "<rex>")


def test_pixels_outside_of_the_place_stay(base: Any, rex: Subject) -> None:
    picture, mask = Image.effect_noise((300, 200), 80).convert("RGB"), Image.new("L", (300, 200), 0)
    ImageDraw.Draw(mask).rectangle((150, 60, 229, 139), fill=255)
    concept = limner.learn(base, rex, method="anydoor")
    region = Region.around(picture, mask, size=base.picture_size)
    canvas = Canvas(*region.cut, start=0)
    (painted,) = limner.paint(base, "<rex>", concepts=[concept], settings=TWO, canvas=canvas, seed=1)
    whole = region.put_back(painted.image)
    changed = (to_tensor([whole], 200) - to_tensor([picture], 200)).abs() > 0
    assert changed.any()
    assert Image.composite(whole, picture, mask).tobytes() == whole.tobytes()


def test_the_scene_is_seen(base: Any, rex: Subject) -> None:
    """Another scene on the canvas' masked part alone changes nothing; around it, it does."""
    size = base.picture_size
    hole = box_masks(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), size)
    scene = torch.full((1, 3, size, size), 0.3)
    with attach(base, (worn(base, "anydoor", rex),)) as adapted:
        first, inside, outside = (
            last_latents(adapted, "<rex>", conditions={"source": shown, "mask": hole})
            for shown in (scene, scene + 0.6 * hole, scene + 0.6 * (1 - hole))
        )
    assert torch.equal(first, inside)
    assert not torch.equal(first, outside)


def test_pairs_have_late_times_and_single_pictures_early_ones(base: Any) -> None:
    (stage,) = over(methods()["anydoor"](Subject("<nobody>", "toy"), batch=256).pretraining, FEW)
    shares: list[float] = []
    for term in stage.loss:
        draw = term.source.prepare(base)
        with attach(base, ()) as adapted:
            update = begin_update(Update, adapted, term.source, draw, 0, 0, 0)
        shares.append(float((update.time >= base.num_train_times / 2).float().mean()))
        shown = update.batch.references
        assert shown is not None
        own = (shown.first - update.batch.conditions["source"]).abs().amax((1, 2, 3)) < 0.02
        assert bool(own.any()) == (term.source.name == "pictures")
    assert shares == pytest.approx([0.85, 0.15], abs=0.06)


def test_the_projector_the_detail_extractor_and_the_decoder_learn(base: Any, tmp_path: Path) -> None:
    names = trained_names(base, "anydoor", tmp_path)
    kinds = {name.split(".")[0] for name in names}
    assert kinds == {"control", "tokens", "anydoor"}
    changed = {name for name in names if name.startswith("anydoor.decoder.")}
    layers = {f"denoiser.{name.split('denoiser.')[1].rpartition('.')[0]}" for name in changed}
    assert layers == set(base.projections("decoder"))
    assert {"tokens.weight", "tokens.bias"} <= names


def test_two_subjects_without_regions_are_painted_one_after_the_other(base: Any, rex: Subject) -> None:
    bo = toy("cat", 2_000_031, name="bo", count=1)
    both = worn(base, "anydoor", rex), worn(base, "anydoor", bo)
    with attach(base, both) as adapted, pytest.raises(InputError, match="each replace the whole prompt"):
        last_latents(adapted, "<rex> and <bo>")


def test_holes_of_a_batch_hold_their_subject(base: Any) -> None:
    (stage,) = over(methods()["anydoor"](Subject("<nobody>", "toy"), batch=16, blank=0.5).pretraining, FEW)
    batch = stage.loss[0].source.prepare(base)(0, streams(0, 0))
    scenes = batch.conditions["source"].flatten(1)
    grey = (scenes == 0.5).all(1)
    assert 0 < int(grey.sum()) < len(grey)
    assert not bool(boxes_around(batch.conditions["mask"]).isnan().any())


# ----------------------------------------------------------------------------------------------------------- CustomNet


def token_of(adapted: AdaptedBase, **about: Any) -> Tensor:
    """[1, 1, C]: the token that cross-attention reads."""
    run = adapted.run(time=torch.tensor([400]), **about)
    live = next(live for live in adapted.live.values() if STATES in live.offers)
    with torch.no_grad():
        token: Tensor = live.offers[STATES](run, 1)
    return token


def test_the_viewpoint_turns_the_token_and_the_picture(base: Any, rex: Subject) -> None:
    with attach(base, (worn(base, "customnet", rex),)) as adapted:
        settings = [
            replace(TWO, views=views) for views in ({}, {"rex": 0}, {"rex": 90}, {"rex": 360}, {"rex": (0, 30)})
        ]
        moves = [as_moves(each.views) for each in settings]
        none, front, side, around, above = (token_of(adapted, views=views) for views in moves)
        painted = [last_latents(adapted, "<rex> on the beach", settings=each) for each in settings]
    assert torch.equal(none, front)
    assert torch.allclose(around, front, atol=1e-5)
    assert not torch.allclose(side, front, atol=1e-3)
    assert not torch.allclose(above, front, atol=1e-3)
    assert torch.equal(painted[0], painted[1])
    assert torch.allclose(painted[3], painted[1], atol=1e-3)
    for turned in (painted[2], painted[4]):
        assert not torch.allclose(turned, painted[1], atol=1e-3)


def test_the_viewpoint_is_in_the_token_alone_and_the_place_in_the_latents_alone(base: Any, rex: Subject) -> None:
    """The identity in the token stays with the pose; another place changes no token, another pose no latents."""
    left, right = (
        {"mask": box_masks(torch.tensor([box]), base.picture_size)} for box in ((0, 0.2, 0.5, 0.8), (0.5, 0.2, 1, 0.8))
    )
    views = as_moves({"rex": 90})
    with torch.no_grad(), attach(base, (worn(base, "customnet", rex),)) as adapted:
        _, _, make = placed_latents(rex)(base, {})
        assert torch.equal(token_of(adapted, conditions=left), token_of(adapted, conditions=right))
        here, there, turned = (
            make(adapted.run(time=torch.tensor([400]), **about), 1)
            for about in ({"conditions": left}, {"conditions": right}, {"conditions": left, "views": views})
        )
        weight = next(t for live in adapted.live.values() for n, t in live.tensors.items() if n == "image.posed.weight")
        change = token_of(adapted, views=views) - token_of(adapted)
    posed = pose(torch.stack([views["<rex>"], torch.zeros(3)])) @ weight[:, -4:].T
    assert torch.allclose(change[0, 0], posed[0] - posed[1], atol=1e-4)
    assert torch.equal(here, turned)
    channels, half = base.latent_shape[0], base.latent_shape[2] // 2
    with torch.no_grad():
        white = base.encode(torch.ones(1, 3, base.picture_size, base.picture_size))[0]
    empty = [(latents[:, :channels] - white).abs().mean((0, 1, 2)) for latents in (here, there)]
    assert float(empty[0][half + 3 :].mean()) < 0.3 * float(empty[0][:half].mean())
    assert float(empty[1][: half - 3].mean()) < 0.3 * float(empty[1][half:].mean())


def test_rows_without_a_subject_have_neither_token_nor_place(base: Any, rex: Subject) -> None:
    with torch.no_grad(), attach(base, (worn(base, "customnet", rex),)) as adapted:
        _, count, make = placed_latents(rex)(base, {})
        run = adapted.run(time=torch.tensor([400, 400]), branches=("text", "negative"))
        latents = make(run, 2)
        live = next(live for live in adapted.live.values() if STATES in live.offers)
        token = live.offers[STATES](run, 2)
    assert count == 2 * base.latent_shape[0] == latents.shape[1]
    subject, background = latents.chunk(2, 1)
    assert subject[0].any()
    assert not subject[1].any()
    assert torch.equal(background[0], background[1])
    assert token[0].any()
    assert not token[1].any()


def test_further_channels_are_a_convolution_of_all_channels(base: Any) -> None:
    (layer,) = base.projections("input").values()
    more, x = torch.randn(2, 5, *base.latent_shape[1:]), torch.randn(2, *base.latent_shape)
    weight = torch.randn(layer.weight.shape[0], 5, 3, 3)
    part = further_channels(lambda *_: ({}, 5, lambda *_: more))
    with (
        torch.no_grad(),
        part(base, stored={"channels.weight": weight}, generator=torch.Generator(), scale=1.0) as live,
    ):
        live.run = Pass()
        found = layer(x)
        live.on = False
        plain = layer(x)
    whole = torch.nn.functional.conv2d(
        torch.cat([x, more], 1), torch.cat([layer.weight, weight], 1), layer.bias, layer.stride, layer.padding
    )
    assert torch.allclose(found, whole, atol=1e-4)
    assert not torch.allclose(plain, whole, atol=1e-2)
    assert torch.equal(layer(x), plain)


def test_the_background_is_a_text_or_a_picture(base: Any, rex: Subject) -> None:
    size = base.picture_size
    hole = box_masks(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), size)
    scene = torch.full((1, 3, size, size), 0.3)
    with attach(base, (worn(base, "customnet", rex),)) as adapted:
        beach, snow = (last_latents(adapted, f"<rex> {place}") for place in ("on the beach", "in the snow"))
        first, inside, outside = (
            last_latents(adapted, "<rex>", conditions={"source": shown, "mask": hole})
            for shown in (scene, scene + 0.6 * hole, scene + 0.6 * (1 - hole))
        )
    assert not torch.allclose(beach, snow, atol=1e-3)
    assert torch.equal(first, inside)
    assert not torch.equal(first, outside)


def test_both_attentions_are_added(base: Any, rex: Subject) -> None:
    """Cross-attention is that of the text plus that of the picture, with keys and values of its own."""
    kept: list[tuple[int, Any]] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            kept.append((call.key.shape[2], call.beside))
        return call

    x, time = torch.ones(1, *base.latent_shape), torch.tensor([500])
    with torch.no_grad(), attach(base, (worn(base, "customnet", rex, scale=0.7),)) as adapted:
        run = adapted.run(time=time, latents=x, prompts=("a dog",))
        run.operations += (keep,)
        base.predict(x, time, base.text_states(["a dog"], words={}), context=run)
    assert len(kept) == len([site for site in base.sites if site.kind == "cross"])
    for length, beside in kept:
        assert length == base.states_shape[0]
        assert [(key.shape[2], much) for key, _, much in beside] == [(1, 0.7)]


def test_views_of_one_subject_teach_the_viewpoint(base: Any, tmp_path: Path) -> None:
    (stage,) = over(methods()["customnet"](Subject("<nobody>", "toy"), batch=24).pretraining, FEW)
    batch = stage.loss[0].source.prepare(base)(0, streams(0, 0))
    assert batch.references is not None
    assert batch.references.moves is not None
    assert float(batch.references.moves[..., 0].std()) > 0.5  # radians: from all sides
    assert 4 < int((batch.conditions["source"].flatten(1) == 0.5).all(1).sum()) < 20
    kinds = {name.split(".")[0] for name in trained_names(base, "customnet", tmp_path)}
    assert kinds == {"image", "customnet"}
    assert getattr(stage.train[0], "factor", 1) > 1
