"""Extra conditions, and what is remembered within one sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.adapted import Moment
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, Sampling, acting_in
from limner.engine.attach import Adapter, attach
from limner.engine.conditions import tensor_of
from limner.engine.sample import PaintSettings, sample
from limner.engine.train import train
from limner.errors import InputError, UnknownName
from limner.parts.encoders.conditions import computed, edges
from limner.parts.modifiers import control_branch, feature_branch
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos
from tests.helpers import same, state, untouched

TWO = PaintSettings(steps=2)
BRANCH = control_branch("edges", channels=1)


def controlled(rex: Subject, **more: Any) -> Recipe:
    source = photos(rex, batch=2, flip=0.5, conditions={"edges": lambda base, pixels: edges(pixels)}, **more)
    return Recipe("a dog", (BRANCH,), (Stage((learned(BRANCH),), (denoising(source),), 2, 1e-2),))


def shaken(base: Any, recipe: Recipe) -> dict[str, Tensor]:
    """The branch with zero convolutions that are not zero."""
    random = torch.Generator().manual_seed(0)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        own = adapted.tensors
        return {n: t + 0.2 * torch.randn(t.shape, generator=random) * ("controlnet" in n) for n, t in own.items()}


def last(adapted: Any, prompts: list[str], **more: Any) -> Tensor:
    for at in sample(adapted, prompts, seeds=range(len(prompts)), settings=TWO, **more):
        found = at.latents
    return found


def test_a_control_branch_learns_a_condition_and_is_undone(base: Any, rex: Subject, tmp_path: Path) -> None:
    before, recipe = state(base), controlled(rex)
    shown = {"edges": edges(rex.tensor(base.picture_size)[:1])}
    blank = {"edges": torch.zeros_like(shown["edges"])}
    with torch.no_grad(), attach(base, ()) as adapted:
        plain = last(adapted, ["a dog"])
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        assert adapted.reads == {"edges"}
        assert torch.equal(last(adapted, ["a dog"], conditions=shown), plain)  # zero convolutions
    *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)
    tensors = dict(end.snapshot().learned)
    assert end.loss > 0
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors)]) as adapted:
        found, other = last(adapted, ["a dog"], conditions=shown), last(adapted, ["a dog"], conditions=blank)
    assert not torch.allclose(found, plain, atol=1e-3)
    assert not torch.equal(found, other)
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, scale=0.0)]) as adapted:
        assert torch.equal(last(adapted, ["a dog"]), plain)
    assert same(state(base), before)
    assert untouched(base)


def test_features_learn_a_condition(base: Any, rex: Subject) -> None:
    branch = feature_branch("edges", channels=1)
    source = photos(rex, batch=2, conditions={"edges": lambda base, pixels: edges(pixels)})
    recipe = Recipe("a dog", (branch,), (Stage((learned(branch),), (denoising(source),), 2, 1e-2),))
    *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)
    tensors = dict(end.snapshot().learned)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        began = adapted.tensors
    assert all(name.startswith("features.edges.") for name in began)
    assert all(not torch.equal(tensors[n], t) for n, t in began.items() if n.endswith("weight"))
    shown = {"edges": edges(rex.tensor(base.picture_size)[:1])}
    blank = {"edges": torch.zeros_like(shown["edges"])}
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors)]) as adapted:
        first, second = (last(adapted, ["a dog"], conditions=c) for c in (shown, blank))
    assert not torch.allclose(first, second, atol=1e-3)
    assert untouched(base)


def test_each_row_reads_its_own_condition(base: Any, rex: Subject) -> None:
    recipe = controlled(rex)
    shown = {"edges": edges(rex.tensor(base.picture_size)[:2])}
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", shaken(base, recipe))]) as adapted:
        both = last(adapted, ["a dog", "a dog"], conditions=shown)
        turned = last(adapted, ["a dog", "a dog"], conditions={"edges": shown["edges"].flip(0)})
        one = last(adapted, ["a dog"], conditions={"edges": shown["edges"][:1]})
        second = last(adapted, ["a dog", "a dog"], conditions={"edges": shown["edges"][1:]})
    assert torch.allclose(both[:1], one, atol=1e-3)
    assert torch.allclose(both[1:], second[1:], atol=1e-3)
    assert not torch.allclose(turned[:1], one, atol=1e-3)


def test_conditions_that_do_not_fit(base: Any, rex: Subject) -> None:
    size = base.picture_size
    square, wide = Image.new("RGB", (size, size)), Image.new("RGB", (2 * size, size))
    with pytest.raises(InputError, match=r"nothing reads the condition 'depth' on pocket.*--control depth=FOLDER"):
        limner.paint(base, "a dog", conditions={"depth": square}, settings=TWO)
    with pytest.raises(InputError, match=rf"'depth' is {2 * size}x{size} pixels"):
        limner.paint(base, "a dog", conditions={"depth": wide}, settings=TWO)
    with pytest.raises(InputError, match="2 pictures for 3 prompts"):
        limner.paint(base, ["a dog"] * 3, conditions={"depth": [square] * 2}, settings=TWO)
    with torch.no_grad(), attach(base, [Adapter(controlled(rex), "<rex>")]) as adapted:
        for given, said in (
            ({}, "'edges' is read with every prompt and was not given"),
            (
                {"edges": torch.zeros(1, 1, 5, 5)},
                rf"shape \(1, 1, 5, 5\); pocket reads \[1 or 1, 1 or 3, {size}, {size}\]",
            ),
            ({"edges": torch.full((1, 1, size, size), 2.0)}, "from 0 to 1, and are from 2 to 2"),
        ):
            with pytest.raises(InputError, match=said):
                last(adapted, ["a dog"], conditions=given)
        with pytest.raises(UnknownName, match="did you mean 'edges'"):
            last(adapted, ["a dog"], conditions={"egdes": torch.zeros(1, 1, size, size)})


def test_a_source_without_the_condition_is_named(base: Any, rex: Subject) -> None:
    stage = Stage((learned(BRANCH),), (denoising(photos(rex, batch=1)),), 1, 1e-3)
    recipe = Recipe("a dog", (BRANCH,), (stage,))
    with pytest.raises(InputError, match=r"reads the condition 'edges', and its source gives none"):
        list(train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning))


def test_operations_of_painting_read_conditions_too(base: Any, rex: Subject) -> None:
    """In the last step the latents become the source's: each row's own."""

    def pasted(moment: Moment) -> Tensor:
        found: Tensor = (
            base.encode(moment.conditions["source"])[0] if moment.step + 1 == moment.total else moment.latents
        )
        return found

    recipe = Recipe("a dog", painting=Painting(latents=(pasted,), reads=("source",)))
    source = rex.tensor(base.picture_size)[:2]
    wanted = base.encode(source)[0]
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        found = last(adapted, ["a dog", "a cup"], conditions={"source": source})
        other = last(adapted, ["a dog", "a cup"], conditions={"source": source.flip(0)})
        with pytest.raises(InputError, match="'source' is read with every prompt"):
            last(adapted, ["a dog"])
    for rows, shown in ((found, wanted), (other, wanted.flip(0))):
        apart = [[float((a - b).norm()) for b in shown] for a in rows]
        assert apart[0][0] < apart[0][1]
        assert apart[1][1] < apart[1][0]


def test_pictures_become_tensors_of_their_own_kind() -> None:
    deep = Image.fromarray(np.array([[0, 65535], [65535, 0]], dtype=np.uint16))
    assert tensor_of("depth", deep, 2).tolist() == [[[[0.0, 1.0], [1.0, 0.0]]]]
    grey = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8))
    assert tensor_of("mask", grey, 4)[0, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert tensor_of("pose", [Image.new("RGB", (8, 8), "red")] * 2, 4).shape == (2, 3, 4, 4)
    with pytest.raises(InputError, match="some pictures"):
        tensor_of("pose", [grey, Image.new("RGB", (2, 2))], 2)
    wrong: tuple[tuple[Any, str], ...] = (
        ("pose.png", "str"),
        (np.zeros((2, 2)), "ndarray"),
        ({"rex": "left"}, "dict"),
        ([grey, None], "NoneType"),
    )
    for other, kind in wrong:
        with pytest.raises(InputError, match=rf"the condition 'pose' is a {kind}: expected a picture"):
            tensor_of("pose", other, 2)


def test_conditions_move_with_rows_and_flips(base: Any, rex: Subject) -> None:
    from limner.core.streams import streams

    draw = photos(rex, batch=8, flip=0.5, seen=True, conditions={"edges": lambda base, pixels: edges(pixels)}).prepare(
        base
    )
    batch = draw(0, streams(0, 0))
    assert batch.references is not None
    assert torch.equal(batch.conditions["edges"], edges(batch.references.first))
    assert torch.equal(batch.of([3, 1]).conditions["edges"], batch.conditions["edges"][[3, 1]])


def test_edges_are_one_pixel_wide_and_where_brightness_jumps() -> None:
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., 16:] = 1
    found = edges(pixels)[0, 0]
    assert found.sum(1).tolist() == [1.0] * 32
    assert found.argmax(1).unique().item() in (15, 16)
    assert not edges(torch.full((1, 3, 32, 32), 0.5)).any()
    faint = 0.5 + 0.05 * pixels
    assert not edges(faint).any()


def test_depth_is_computed_by_a_network_from_a_folder(tmp_path: Path) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4, 4, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(tmp_path)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    found = computed("depth", torch.rand(2, 3, 24, 24), {"depth": str(tmp_path)})
    assert found.shape == (2, 1, 24, 24)
    assert (float(found.amin()), float(found.amax())) == (0, 1)
    with pytest.raises(InputError, match="--estimator depth=FOLDER"):
        computed("depth", torch.rand(1, 3, 8, 8))
    known = "edges, lines, source, depth, segmentation, pose"
    with pytest.raises(InputError, match=f"computes {known} of a picture.*--condition sketch=FILE"):
        computed("sketch", torch.rand(1, 3, 8, 8))
    # a folder replaces the base's own network
    own = {"depth": lambda pixels: torch.full_like(pixels[:, :1], 0.25)}
    assert computed("depth", torch.rand(1, 3, 24, 24), {}, own).eq(0.25).all()
    assert not computed("depth", torch.rand(1, 3, 24, 24), {"depth": str(tmp_path)}, own).eq(0.25).all()


def test_a_cache_of_keys_belongs_to_one_sampling(base: Any) -> None:
    """Cross-attention's keys and values are the same at every step: read once and kept, they paint what is painted
    without. Two samplings that run by turns do not see each other's."""
    made: list[str] = []

    @acting_in("cross")
    def cached(call: AttentionCall) -> AttentionCall:
        if call.site.kind != "cross":
            return call
        kept = call.run.sampling.state.setdefault("keys and values", {})
        key = call.site.name, call.run.branches
        if key not in kept:
            made.append(call.site.name)
            kept[key] = call.key, call.value
        call.key, call.value = kept[key]
        return call

    recipe = Recipe("a dog", painting=Painting(operations=(cached,)))
    how, texts = PaintSettings(steps=3), ("a red dog", "a blue car")
    with torch.no_grad(), attach(base, ()) as adapted:
        plain = [[at.latents for at in sample(adapted, [t], seeds=[1], settings=how)][-1] for t in texts]
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        first, second = (sample(adapted, [t], seeds=[1], settings=how) for t in texts)
        turns = [(a.latents, b.latents) for a, b in zip(first, second, strict=True)]
    assert all(torch.allclose(found, wanted, atol=1e-5) for found, wanted in zip(turns[-1], plain, strict=True))
    assert len(made) == 2 * len({*made})  # once in each sampling, for all three steps


def test_a_value_is_made_once_for_a_tensor_and_not_while_gradients_are_recorded() -> None:
    sampling, first, second = Sampling(), torch.ones(2), torch.ones(2)
    with torch.no_grad():
        one = sampling.once("twice", first, lambda: 2 * first)
        assert sampling.once("twice", first, lambda: 3 * first) is one
        assert sampling.once("twice", second, lambda: 3 * second)[0] == 3
    assert sampling.once("twice", first, lambda: 4 * first)[0] == 4


def test_rows_of_a_clip_stay_together() -> None:
    batch = Batch(torch.zeros(4, 1, 2, 2), ("",) * 4, frames=2)
    assert len(batch.of([2, 3]).latents) == 2
    with pytest.raises(ValueError, match="cut a clip of 2 frames"):
        batch.of([1, 2])
