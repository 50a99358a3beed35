"""Style-Friendly SNR sampler: training times whose log signal-to-noise ratio is normal around -6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update, begin_update
from limner.errors import InputError
from limner.methods import methods
from limner.parts.sources import at_log_snr, photos, times_of_log_snr
from tests.bases.families import save_tiny
from tests.helpers import style

ROWS = 4000


@pytest.fixture(scope="module")
def sty() -> Subject:
    return style(count=2)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random base of Stable Diffusion 3's family."""
    return limner.load(str(save_tiny("sd3", tmp_path_factory.mktemp("sd3"))), device="cpu")


def recipe_of(sty: Subject, *, log_snr: float = -6.0, **more: Any) -> Recipe:
    return methods()["style_friendly_snr"](sty, batch=ROWS, log_snr=log_snr, **more)


def times(base: Any, recipe: Recipe) -> Tensor:
    """Training times of many rows, as the engine draws them. # [ROWS] float64"""
    source = recipe.stages[0].loss[0].source
    with attach(base, [Adapter(recipe, "<sty>")]) as adapted:
        return begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0).time.double()


def test_on_a_flow_the_log_ratio_is_normal_around_minus_six(flow: Any, sty: Subject) -> None:
    shares = times(flow, recipe_of(sty)) / flow.num_train_times
    ratios = 2 * ((1 - shares) / shares).log()
    assert ratios.mean() == pytest.approx(-6, abs=0.15)
    assert ratios.std() == pytest.approx(2, abs=0.1)


def test_with_mean_zero_they_are_the_logit_normal_times_of_stable_diffusion_3(flow: Any, sty: Subject) -> None:
    shares = times(flow, recipe_of(sty, log_snr=0.0)) / flow.num_train_times
    normal = torch.randn(100_000, generator=torch.Generator().manual_seed(1)).sigmoid().double()
    levels = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    assert torch.allclose(shares.quantile(levels), normal.quantile(levels), atol=0.02)


def test_in_diffusion_the_nearest_time_is_taken_and_the_ends_clamp(base: Any, sty: Subject) -> None:
    alpha_bar = base.schedule.alphas_cumprod.double()
    table = (alpha_bar / (1 - alpha_bar)).log()
    last = int(table.isfinite().nonzero().max())  # the noisiest time may be noise alone
    for ratio, expected in ((-50.0, last), (50.0, 0), (float(table[300]) + 1e-4, 300)):
        share = times_of_log_snr(base)(torch.tensor([ratio]))
        assert int(share * base.num_train_times) == expected
    drawn = times(base, recipe_of(sty))
    assert drawn.frac().eq(0).all()
    draws = -6 + 2 * torch.randn(100_000, generator=torch.Generator().manual_seed(1)).double()
    mean = draws.clamp(float(table[last]), float(table.max())).mean()
    assert table[drawn.long()].mean() == pytest.approx(float(mean), abs=0.1)
    plain = methods()["lora_dreambooth"](sty, batch=ROWS, prior_weight=0.0)
    assert abs(float(table[times(base, plain).long()].mean()) - float(mean)) > 1


def test_frames_of_a_clip_share_their_time(base: Any, sty: Subject) -> None:
    from dataclasses import replace

    source = photos(sty, batch=4)
    clips = replace(source, prepare=lambda on: lambda step, at: replace(source.prepare(on)(step, at), frames=2))
    batch = at_log_snr(clips, -6.0, 2.0).prepare(base)(0, streams(0, "clips"))
    assert batch.times is not None
    assert batch.times.shape == (4, 2)
    assert batch.times[0].equal(batch.times[1])
    assert not batch.times[0].equal(batch.times[2])


def test_where_there_is_no_noise_it_is_refused(sty: Subject, tmp_path: Path) -> None:
    masked = limner.load(str(save_tiny("amused", tmp_path)), device="cpu")
    with pytest.raises(InputError, match=r"predicts tokens, which have no signal-to-noise ratio"):
        limner.learn(masked, sty, method="style_friendly_snr", steps=1)
    with pytest.raises(InputError, match="above 0, not 0"):
        recipe_of(sty, deviation=0.0)
