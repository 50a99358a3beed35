"""The cost of an update in operations, not in seconds: caches hold, and several stacked subjects take one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter
from limner.engine.train import train
from limner.methods import methods
from limner.pocket.subjects import toy
from limner.workflows.learn_many import Job, train_stacked

LORA: dict[str, Any] = {"rank": 4, "layers": "attention", "prior_weight": 0.0, "batch": 1, "steps": 9}


class Counting(TorchDispatchMode):
    """How many operations are dispatched, and how many values they make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        made = [t for t in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(t, torch.Tensor)]
        given = {a.untyped_storage()._cdata for a in args if isinstance(a, torch.Tensor)}
        self.values += sum(t.numel() for t in made if t.untyped_storage()._cdata not in given)
        return out


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [toy("dog", 2_000_030 + k, name=f"rex{'abcd'[k]}", count=2) for k in range(4)]


def counted(running: Any) -> Counting:
    """Counts of the fourth update, when all caches are filled."""
    for _ in range(3):
        next(running)
    with Counting() as found:
        next(running)
    running.close()
    return found


def alone(base: Any, subject: Subject, **more: Any) -> Any:
    recipe = methods()["lora_dreambooth"](subject, **(LORA | more))
    return train(base, Adapter(recipe, subject.handle), stages=recipe.tuning)


def test_a_fleet_of_four_is_one_pass(base: Any, subjects: list[Subject]) -> None:
    one = counted(alone(base, subjects[0]))
    four = counted(train_stacked(base, [Job(s, "lora_dreambooth", k, LORA) for k, s in enumerate(subjects)]))
    assert four.operations < 1.6 * one.operations
    assert four.values < 4.5 * one.values


def test_an_update_does_nothing_twice(base: Any, subjects: list[Subject]) -> None:
    """At most as many times a bare pass as when this was written, and a little: more is something that is no longer
    cached.

    The bare pass, forward and backward to its input, is counted by the same torch: another version dispatches
    otherwise.
    """
    found, bare = counted(alone(base, subjects[0])), counted_pass(base)
    assert found.operations < 1.05 * OPERATIONS * bare.operations
    assert found.values < 1.05 * VALUES * bare.values


OPERATIONS, VALUES = 2.48, 1.473
"""Dispatched operations, and values made, of an update of low-rank matrices in attention (rank 4, batch 1) as multiples
of a bare pass's."""


def counted_pass(base: Any) -> Counting:
    """The denoiser alone on one latent, forward and backward to the latent."""
    latents = torch.randn(1, *base.latent_shape, requires_grad=True)
    states, time = base.text_states(["a dog"], words={}), torch.tensor([500])
    with Counting() as found:
        base.predict(latents, time, states, context=Pass()).square().mean().backward()
    return found


def test_nothing_frozen_is_run_in_an_update(
    base: Any, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("encode", "decode", "text_states"):
        original = getattr(base, name)
        monkeypatch.setattr(
            base, name, lambda *a, _name=name, _run=original, **k: (calls.append(_name), _run(*a, **k))[1]
        )
    running = alone(base, subjects[0])
    for _ in range(2):
        next(running)
    calls.clear()
    for _ in range(3):
        next(running)
    running.close()
    assert calls == []


def test_an_update_does_not_walk_the_network(
    base: Any, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Properties that look through every module of a network (diffusers' `device`, `dtype`) are not asked in an
    update."""
    running, original = alone(base, subjects[0]), torch.nn.Module.named_modules
    for _ in range(2):
        next(running)
    seen: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module,
        "named_modules",
        lambda self, *a, **k: (seen.append(found[0]) or found for found in original(self, *a, **k)),
    )
    next(running)
    running.close()
    assert len(seen) < 100


def test_the_gradient_stops_where_nothing_learns(base: Any, subjects: list[Subject]) -> None:
    """An update's arithmetic is a forward and a backward pass to activations: no gradient of a frozen weight is
    computed."""
    latents, time, states = (
        torch.randn(1, *base.latent_shape),
        torch.tensor([500]),
        base.text_states(["a dog"], words={}),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        base.predict(latents, time, states, context=Pass(fused=False))
    running = alone(base, subjects[0])
    for _ in range(3):
        next(running)
    with FlopCounterMode(display=False) as update:
        next(running)
    running.close()
    assert update.get_total_flops() < 2.25 * forward.get_total_flops()
