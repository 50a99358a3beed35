"""Muon: what it does to matrices, what it leaves to AdamW, and that it resumes to the same bits inside a stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.muon import MOMENTUM, SIZE, Muon, is_matrix, orthogonalised
from limner.engine.train import Checkpoint, train
from limner.parts.objectives import denoising
from limner.parts.parameters import everything
from limner.parts.sources import photos
from tests.helpers import same

RATE = 0.02


def given(shape: tuple[int, ...], seed: int = 0) -> nn.Parameter:
    parameter = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1))
    return parameter


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (7, 300), (48, 96)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = given(shape).detach()
    made = orthogonalised(matrix)
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.25
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    between = u.mT @ made @ v.mT
    assert float((between - between.diagonal().diag()).abs().max()) < 1e-4
    assert torch.allclose(orthogonalised(3 * matrix), made, atol=1e-5)
    assert torch.equal(orthogonalised(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_rounds_are_in_single_precision_under_autocast_and_of_half_weights(kind: torch.dtype) -> None:
    """In bfloat16 the squares of small singular values round below zero, and grow."""
    steep = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -4, 64)[:, None]
    wanted = orthogonalised(steep.to(kind).float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(orthogonalised(steep.to(kind)), wanted)
    assert float(torch.linalg.svdvals(wanted).max()) < 1.25


@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (20, 50)])
def test_an_update_is_as_large_as_adamws_and_decays_as_it_does(shape: tuple[int, ...]) -> None:
    by_muon, by_adam = given(shape), given(shape)
    assert by_adam.grad is not None
    began = by_muon.detach().clone()
    Muon([by_muon], lr=RATE, weight_decay=0.5).step()
    torch.optim.AdamW([by_adam], lr=RATE, weight_decay=0.5).step()
    kept = began * (1 - RATE * 0.5)
    ways = [float((p.detach() - kept).square().mean().sqrt()) for p in (by_muon, by_adam)]
    assert 0.75 < ways[0] / ways[1] / SIZE < 1.25  # AdamW's first is 1, its later ones smaller
    wanted = kept - RATE * SIZE * max(began.flatten(1).shape) ** 0.5 * orthogonalised(
        by_adam.grad.flatten(1) * (1 - MOMENTUM**2)
    ).view(shape)
    assert torch.allclose(by_muon, wanted, atol=1e-5)


def test_vectors_rows_and_plain_groups_learn_as_with_adamw() -> None:
    shapes = (9,), (1, 4, 5), (6, 1, 1), (8, 5)
    assert [is_matrix(torch.zeros(shape)) for shape in shapes] == [False, False, False, True]
    ours, theirs = ([given(shape, k) for k, shape in enumerate(shapes)] for _ in range(2))
    muon = Muon([{"params": ours[:3]}, {"params": ours[3:], "plain": True}], lr=RATE, weight_decay=0.1)
    adam = torch.optim.AdamW(theirs, lr=RATE, weight_decay=0.1)
    for _ in range(3):
        muon.step()
        adam.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_gradients_are_left_and_what_has_none_stays() -> None:
    learns, stays = given((6, 8)), given((6, 8))
    gradient, began = learns.grad, stays.detach().clone()
    stays.grad = None
    Muon([learns, stays], lr=RATE).step()
    assert learns.grad is gradient
    assert torch.equal(stays, began)


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="not from a closure"):
        Muon([given((3, 4))], lr=RATE).step(lambda: 0.0)


def test_it_learns_an_ill_conditioned_map_in_fewer_updates_than_adamw() -> None:
    """A linear map of inputs that differ a thousandfold in power, along no axis: what orthogonal updates are for."""
    at = torch.Generator().manual_seed(3)
    wanted = torch.randn(24, 24, generator=at) / 4
    turn = torch.linalg.qr(torch.randn(24, 24, generator=at))[0]
    inputs = torch.randn(512, 24, generator=at) * torch.logspace(0, -1.5, 24) @ turn
    left = {}
    for kind in (Muon, torch.optim.AdamW):
        weight = nn.Parameter(torch.zeros(24, 24))
        optimizer = kind([weight], lr=0.05, weight_decay=0.0)
        for step in range(150):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 150)
            optimizer.zero_grad()
            off: Tensor = inputs @ (weight - wanted)
            weight.grad = inputs.mT @ off.detach() / len(inputs)
            optimizer.step()
        left[kind] = float((inputs @ (weight.detach() - wanted)).square().mean())
    assert left[Muon] < 0.2 * left[torch.optim.AdamW]


def muon_stage(rex: Subject, steps: int = 4) -> Stage:
    source = photos(rex, batch=2)
    return Stage((everything(),), (denoising(source),), steps=steps, lr=1e-3, decay="cosine", optimizer="muon")


def taught(base: Any, rex: Subject, start: Checkpoint | None = None) -> list[Checkpoint]:
    stage = muon_stage(rex)
    adapter = Adapter(Recipe(says="dog", stages=(stage,)), handle=rex.handle)
    return [p.snapshot() for p in train(base, adapter, stages=(stage,), seed=1, start=start)]


def test_a_stage_that_learns_with_it_resumes_to_the_same_bits(base: Any, rex: Subject) -> None:
    points = taught(base, rex)
    kinds = {name.split(".")[0] for name in points[1].moments}
    assert kinds == {"step", "exp_avg", "exp_avg_sq"}  # the last of vectors alone
    count = {kind: sum(name.startswith(f"{kind}.") for name in points[1].moments) for kind in kinds}
    assert count["exp_avg_sq"] < count["exp_avg"] == count["step"]
    again = taught(base, rex, points[1])
    assert same(again[-1].tensors, points[-1].tensors)
    assert same(again[-1].moments, points[-1].moments)


def test_a_fleet_refuses_it_and_a_stage_any_other(rex: Subject) -> None:
    stage = muon_stage(rex)
    assert Recipe(says="dog", stages=(stage,)).why_not_stackable == "it trains with another optimiser than AdamW"
    with pytest.raises(ValueError, match="'adamw', 'muon' or 'sign', not 'sgd'"):
        replace(stage, optimizer="sgd")  # type: ignore[arg-type]
