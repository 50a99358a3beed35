"""Inversion along a sampler's times, and operations after every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.bases.common.paths import Diffusion, Flow
from limner.core.adapted import Moment
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.engine.inversion import inverted_along, null_text_inverted, sampled_along, solved_along
from limner.engine.sample import sample
from limner.errors import InputError

PROMPT = "a photo of a dog"


@pytest.fixture(scope="module")
def clean(base: Any) -> Tensor:
    from limner.pocket.subjects import toy

    with torch.no_grad():
        latents: Tensor = base.encode(toy("dog", 2_000_012, count=2).tensor(base.picture_size))[0]
    return latents


def predicting(base: Any, prompt: str) -> Any:
    with torch.no_grad():
        states = base.text_states([prompt], words={})
    return lambda x, at: base.predict(x, at, states.expand(len(x), -1, -1), context=Pass(time=at))


def lost(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean() / wanted.square().mean())


def test_the_second_order_comes_back_nearer(base: Any, clean: Tensor) -> None:
    """DPM-Solver++ from the noise that it was inverted to, against DDIM from its own."""
    errors = {}
    for name, order in (("ddim", 1), ("dpm", 2)):
        scheduler, predict = base.scheduler(name, steps=12), predicting(base, PROMPT)
        way = inverted_along(base, predict, clean, scheduler.timesteps, order=order)
        assert len(way) == 13
        assert torch.equal(way[-1], clean)
        now = way[0]
        with torch.no_grad():
            for time in scheduler.timesteps:
                now = base.stepped(scheduler, predict(now, time.expand(len(now))), time, now, [torch.Generator()] * 2)
        errors[name] = lost(now, clean)
    assert errors["dpm"] < 0.6 * errors["ddim"]


@pytest.mark.parametrize("iterations", [40, 0])
def test_the_exact_inversion_comes_back_by_the_sampler_itself(base: Any, clean: Tensor, iterations: int) -> None:
    """Against DDIM's, which it is without iterations, by the base's own sampler."""
    scheduler, predict = base.scheduler(steps=8), predicting(base, PROMPT)
    errors = []
    for way in (
        inverted_along(base, predict, clean, scheduler.timesteps),
        solved_along(base, predict, clean, scheduler.timesteps, iterations=iterations),
    ):
        assert len(way) == 9
        assert torch.equal(way[-1], clean)
        now = way[0]
        with torch.no_grad():
            for time in scheduler.timesteps:
                now = base.stepped(scheduler, predict(now, time.expand(len(now))), time, now, [torch.Generator()] * 2)
        errors.append(lost(now, clean))
    assert (errors[1] < errors[0] / 1000) == bool(iterations)


class Network:
    """A base of random linear maps between smooth functions, as far as samplers know it."""

    device = torch.device("cpu")

    def __init__(self, **config: Any) -> None:
        self.scheduler_config: dict[str, Any] = config
        random = torch.Generator().manual_seed(0)
        self.first, self.second = (torch.randn(48, 48, generator=random) / 48**0.5 for _ in range(2))

    def predict(self, x: Tensor, at: Tensor, scale: float = 1.0) -> Tensor:
        return scale * (torch.tanh(x.flatten(1) @ self.first + at[:, None] / 1000) @ self.second).view_as(x)

    def stepped(self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Any) -> Tensor:
        found: Tensor = scheduler.step(output, time, latents).prev_sample
        return found


class DiffusionNetwork(Network, Diffusion):
    pass


class FlowNetwork(Network, Flow):
    pass


NETWORKS = (
    (DiffusionNetwork, {"prediction_type": "epsilon"}),
    (DiffusionNetwork, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
    (FlowNetwork, {"shift": 3.0}),
)


@pytest.mark.parametrize(("kind", "config"), NETWORKS, ids=("noise", "velocity", "flow"))
def test_whatever_is_predicted_the_exact_inversion_comes_back(kind: Any, config: dict[str, Any]) -> None:
    """Euler's steps along a flow, too; and the last step as the schedule has it, which keeps noise by a default."""
    base = kind(**config)
    clean = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    errors = []
    for invert in (inverted_along, solved_along):
        scheduler = base.scheduler(steps=10)
        now = invert(base, base.predict, clean, scheduler.timesteps)[0]
        for time in scheduler.timesteps:
            now = base.stepped(scheduler, base.predict(now, time.expand(2)), time, now, ())
        errors.append(lost(now, clean))
    assert errors[1] < 1e-9
    assert errors[1] < errors[0] / 1000


def test_an_inversion_that_does_not_converge_says_so() -> None:
    base: Any = DiffusionNetwork(prediction_type="epsilon", timestep_spacing="trailing")
    clean = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    times = base.scheduler(steps=4).timesteps
    with pytest.warns(
        UserWarning, match=r"did not converge: step \d of 4 misses .* after 2 iterations.*lower the guidance"
    ):
        solved_along(base, lambda x, at: base.predict(x, at, 3.0), clean, times, iterations=2)


def test_null_text_lets_guided_sampling_come_back(base: Any, clean: Tensor) -> None:
    clean = clean[:1]
    times, text = base.scheduler("ddim", steps=5).timesteps, predicting(base, PROMPT)
    way = inverted_along(base, text, clean, times)
    with torch.no_grad():
        empty = base.text_states([""], words={}).expand(len(clean), -1, -1)

    def negative(x: Tensor, at: Tensor, states: Tensor) -> Tensor:
        output: Tensor = base.predict(x, at, states, context=Pass(time=at))
        return output

    errors = []
    for rounds in (0, 8):
        found = null_text_inverted(base, text, negative, way, empty, times, guidance=5.0, rounds=rounds)
        assert found.negatives.shape == (5, *empty.shape)
        errors.append(lost(found.latents[-1], clean))
    assert errors[1] < 0.5 * errors[0]
    assert not any(p.requires_grad or p.grad is not None for p in base.module("denoiser").parameters())


def test_sampling_along_is_the_samplers_own(base: Any) -> None:
    start = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    times = base.scheduler("ddim", steps=4).timesteps
    way = sampled_along(base, predicting(base, PROMPT), start, times)
    scheduler, now = base.scheduler("ddim", steps=4), start
    with torch.no_grad():
        for step, time in enumerate(times):
            assert torch.allclose(way[step], now, atol=1e-4)
            output = predicting(base, PROMPT)(now, time.expand(1))
            now = base.stepped(scheduler, output, time, now, [torch.Generator()])


def recipe(painting: Painting) -> Recipe:
    return Recipe("dog", painting=painting)


def test_operations_after_steps_act_after_the_last_too(base: Any, rex: Subject) -> None:
    seen: list[tuple[int, float]] = []

    def zeroed(moment: Moment) -> Tensor:
        seen.append((moment.step, float(moment.time)))
        assert moment.times is not None
        assert len(moment.times) == moment.total
        assert moment.sampling is not None
        return torch.zeros_like(moment.latents)

    adapter = Adapter(recipe(Painting(after_steps=(zeroed,))), "<rex>")
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        steps = list(sample(adapted, ["<rex>"], seeds=[0], settings=limner.PaintSettings(steps=3)))
    assert [step for step, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == 0
    assert all(not step.latents.any() for step in steps)


def test_a_recipe_may_name_the_sampler_and_the_user_overrules_it(base: Any) -> None:
    def painted(wanted: str, given: str) -> Tensor:
        adapter = Adapter(recipe(Painting(sampler=wanted)), "<rex>")
        settings = limner.PaintSettings(steps=3, sampler=given)
        with torch.no_grad(), attach(base, [adapter]) as adapted:
            *_, last = sample(adapted, ["<rex>"], seeds=[0], settings=settings)
        return last.latents

    assert torch.equal(painted("dpm", ""), painted("", "dpm"))
    assert torch.equal(painted("dpm", "ddim"), painted("", ""))
    assert torch.equal(painted("none of this base's", ""), painted("", ""))
    assert not torch.allclose(painted("dpm", ""), painted("", ""), atol=1e-3)


def test_two_recipes_cannot_each_name_a_sampler(base: Any) -> None:
    adapters = [Adapter(recipe(Painting(sampler=name)), f"<{name}>") for name in ("dpm", "euler")]
    with attach(base, adapters) as adapted, pytest.raises(InputError, match="a sampler of their own"):
        list(sample(adapted, ["a dog"], seeds=[0], settings=limner.PaintSettings(steps=2)))
