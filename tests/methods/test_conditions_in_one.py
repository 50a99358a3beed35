"""Uni-ControlNet and Context Diffusion: several maps in one adapter, and pictures as context beside the text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders.conditions import computed, soft_edges
from limner.parts.modifiers import control_branch
from limner.parts.modifiers.stacked_control import kept_maps
from limner.parts.sources import STRUCTURE, any_map, pairs
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy
from tests.helpers import adapter, same, state

HOW = PaintSettings(steps=3)
FEW = toys(individuals=16)


def over(recipe: Recipe) -> Recipe:
    """The recipe with a small corpus."""
    stages = tuple(
        replace(s, loss=tuple(replace(t, source=t.source.over(FEW)) for t in s.loss if t.source.over is not None))
        for s in recipe.stages
    )
    return replace(recipe, stages=stages)


ZERO = ("controlnet_", ".features.ends.", ".gamma.", ".beta.")
"""Parts of the names of layers that start at zero, or that read layers that do."""


def begun(base: Any, recipe: Recipe, much: float = 0.02) -> dict[str, Tensor]:
    """The recipe's tensors as pre-training begins, each moved a little, and further where it starts at zero."""
    at = torch.Generator().manual_seed(0)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        tensors = {n: t.detach().clone() for n, t in adapted.tensors.items()}
    for name, tensor in tensors.items():
        if not name.endswith(".features"):
            far = 15 * much if any(part in name for part in ZERO) else much
            tensor += far * torch.randn(tensor.shape, generator=at)
    return tensors


def end(base: Any, recipe: Recipe, tensors: dict[str, Tensor], prompt: str = "a dog", **more: Any) -> Tensor:
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", tensors, **more.pop("about", {}))]) as adapted:
        *_, last = sample(adapted, [prompt], seeds=[1], settings=HOW, **more)
    return last.latents


def bare(base: Any, prompt: str = "a dog") -> Tensor:
    with torch.no_grad(), attach(base, []) as adapted:
        *_, last = sample(adapted, [prompt], seeds=[1], settings=HOW)
    return last.latents


@pytest.fixture(scope="module")
def shown(base: Any, rex: Subject) -> dict[str, Tensor]:
    pixels = rex.tensor(base.picture_size)[:1]
    return {"edges": computed("edges", pixels), "lines": soft_edges(pixels)}


# ------------------------------------------------------------------------------------------------------- Uni-ControlNet


def test_no_map_and_no_strength_is_the_base(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    before = state(base)
    recipe = methods()["uni_controlnet"](rex, strength=0.0)
    tensors, plain = begun(base, recipe), bare(base)
    assert torch.equal(end(base, recipe, tensors), plain)
    zeros = {name: torch.zeros_like(c) for name, c in shown.items()}
    assert torch.equal(end(base, recipe, tensors, conditions=zeros), plain)
    assert not torch.allclose(end(base, recipe, tensors, conditions=shown), plain, atol=1e-3)
    whole = methods()["uni_controlnet"](rex)
    assert not torch.allclose(end(base, whole, tensors), plain, atol=1e-3)
    assert same(state(base), before)


def test_one_adapter_reads_any_maps_with_the_same_parameters(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    recipe = methods()["uni_controlnet"](rex, strength=0.0)
    tensors = begun(base, recipe)
    ends = [
        end(base, recipe, tensors, conditions={n: shown[n] for n in names}) for names in (["edges"], ["lines"], shown)
    ]
    assert not torch.allclose(ends[0], ends[1], atol=1e-3)
    assert not torch.allclose(ends[0], ends[2], atol=1e-3)

    def count(modifiers: tuple[Any, ...]) -> int:
        with attach(base, [Adapter(Recipe("a dog", modifiers), "<rex>")]) as adapted:
            return sum(t.numel() for t in adapted.tensors.values())

    ours = count(recipe.modifiers[:1])
    theirs = [count(tuple(control_branch(name) for name in names)) for names in (["a"], ["a", "b"], ["a", "b", "c"])]
    assert ours < 1.5 * theirs[0] < theirs[1] < theirs[2]


def test_features_modulate_normalisations(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    """Without gamma and beta, maps do not count; at the start they do not either."""
    recipe = methods()["uni_controlnet"](rex, strength=0.0)
    tensors, plain = begun(base, recipe), bare(base)
    flat = {n: torch.zeros_like(t) if ".gamma." in n or ".beta." in n else t for n, t in tensors.items()}
    first, second = (end(base, recipe, flat, conditions={"edges": shown["edges"].flip(k)}) for k in (0, 3))
    assert torch.equal(first, second)
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        start = {n: t.detach().clone() for n, t in adapted.tensors.items()}
    assert torch.allclose(end(base, recipe, start, conditions=shown), plain, atol=1e-5)


def test_both_adapters_learn_apart(base: Any, rex: Subject) -> None:
    recipe = over(methods()["uni_controlnet"](rex, steps=2, batch=4))
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        before = {n: t.detach().clone() for n, t in adapted.tensors.items()}
    for stage, own in zip(recipe.stages, ("control.stacked.", "image.global."), strict=True):
        *_, done = train(base, Adapter(recipe, "<rex>"), stages=(stage,))
        moved = {n for n, t in done.snapshot().learned.items() if not torch.equal(t, before[n])}
        assert moved
        assert all(name.startswith(own) for name in moved)


def test_maps_are_dropped_as_the_authors_drop_them() -> None:
    kept = kept_maps(20_000, 4, torch.Generator().manual_seed(0)).float()
    assert float(kept.mean()) == pytest.approx(0.1 + 0.8 * 0.5, abs=0.01)
    assert float((kept.sum(1) == 0).float().mean()) == pytest.approx(0.1 + 0.8 / 16, abs=0.01)
    assert float((kept.sum(1) == 4).float().mean()) == pytest.approx(0.1 + 0.8 / 16, abs=0.01)


def test_a_corpus_gives_the_maps_of_its_targets(base: Any) -> None:
    source = pairs(batch=4, conditions={**STRUCTURE, "query": any_map}, corpus=FEW)
    batch = source.prepare(base)(0, streams(0, 0))
    size = base.picture_size
    assert {name: tuple(c.shape) for name, c in batch.conditions.items()} == dict.fromkeys(
        (*STRUCTURE, "query"), (4, 1, size, size)
    )
    assert all(0 <= float(c.min()) <= float(c.max()) <= 1 for c in batch.conditions.values())
    # the toy stands nearer than what is around it, on the whole
    near, mask = batch.conditions["depth"], batch.conditions["segmentation"]
    assert float((near * mask).sum() / mask.sum()) > float((near * (1 - mask)).sum() / (1 - mask).sum())
    for row, name in enumerate(STRUCTURE):
        assert torch.equal(batch.conditions["query"][row], batch.conditions[name][row])


def test_a_map_that_it_does_not_read_is_named(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    recipe = methods()["uni_controlnet"](rex)
    with pytest.raises(InputError, match="edges"):
        end(base, recipe, {}, conditions={"edgse": shown["edges"]})


# ---------------------------------------------------------------------------------------------------- Context Diffusion


def test_the_order_of_context_pictures_does_not_count(base: Any, rex: Subject) -> None:
    turned = replace(rex, pictures=rex.pictures[::-1])
    fewer = replace(rex, pictures=rex.pictures[:1])
    tensors = [begun(base, methods()["context_diffusion"](subject), 0.0) for subject in (rex, turned, fewer)]
    name = "image.context.features"
    assert torch.allclose(tensors[0][name], tensors[1][name], atol=1e-5)
    assert not torch.allclose(tensors[0][name], tensors[2][name], atol=1e-2)


def test_an_empty_prompt_follows_the_context_and_the_query(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    recipe = methods()["context_diffusion"](rex)
    tensors = begun(base, recipe, 0.05)
    other = methods()["context_diffusion"](toy("dog", 2_000_099))
    theirs = tensors | {n: t for n, t in begun(base, other, 0.0).items() if n.endswith("features")}
    first, second = (end(base, recipe, own, "") for own in (tensors, theirs))
    assert not torch.allclose(first, second, atol=1e-3)
    asked = {"query": shown["edges"]}
    third, fourth = (
        end(base, recipe, tensors, "", conditions={"query": c}) for c in (asked["query"], 1 - asked["query"])
    )
    assert not torch.allclose(third, first, atol=1e-3)
    assert not torch.allclose(third, fourth, atol=1e-3)
    # with neither context nor query it is the base but for the change of cross-attention
    without = replace(recipe, modifiers=recipe.modifiers[1:2])
    alone = {n: t for n, t in tensors.items() if n.startswith("control.")}
    assert torch.equal(end(base, without, alone, ""), bare(base, ""))


def test_it_learns_from_context_and_query(base: Any, rex: Subject) -> None:
    recipe = over(methods()["context_diffusion"](rex, steps=2, batch=4))
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        before = {n: t.detach().clone() for n, t in adapted.tensors.items()}
    *_, done = train(base, Adapter(recipe, "<rex>"), stages=recipe.stages)
    moved = {n for n, t in done.snapshot().learned.items() if not torch.equal(t, before[n])}
    for part in ("image.context.weight", "control.query.", "context.reading"):
        assert any(name.startswith(part) for name in moved), part


# ------------------------------------------------------------------------------------------------ picture and structure


def test_an_image_adapter_and_a_control_branch_act_together(base: Any, rex: Subject, shown: dict[str, Tensor]) -> None:
    """IP-Adapter and a ControlNet in one picture: unlike each alone, and unlike the base."""
    branch = Recipe("a dog", (control_branch("edges", channels=1),))
    strong = begun(base, branch, 0.005)  # a stronger one would drown the picture
    both = [adapter(base, "ip_adapter", rex), Adapter(branch, "<control>", strong, everywhere=True)]
    ends = []
    for worn in (both, both[:1], both[1:], []):
        with torch.no_grad(), attach(base, worn) as adapted:
            given = {"edges": shown["edges"]} if both[1] in worn else {}
            *_, last = sample(adapted, ["a dog"], seeds=[1], settings=HOW, conditions=given)
        assert bool(last.latents.isfinite().all())
        ends.append(last.latents)
    for k, one in enumerate(ends):
        assert all(not torch.allclose(one, other, atol=1e-3) for other in ends[k + 1 :])
