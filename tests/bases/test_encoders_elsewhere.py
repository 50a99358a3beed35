"""Encoders of styles and references on tiny pipelines, whose CLIP is not as wide as their text's states."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.errors import InputError
from limner.methods import methods
from limner.pocket.corpus import toys
from tests.helpers import untouched

from .families import save_tiny

FAMILIES = ("stable_diffusion", "sdxl", "sd3", "pixart")


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(save_tiny(request.param, tmp_path_factory.mktemp("tiny") / request.param), device="cpu")


@pytest.fixture(scope="module")
def shown() -> Subject:
    pixels, masks = toys(1).drawn(range(2), 16)
    assert masks is not None
    return Subject.of(
        pixels.float() / 255, noun="dog", handle="rex", masks=list(masks.float().expand(-1, 3, -1, -1) / 255)
    )


@torch.no_grad()
@pytest.mark.parametrize("name", ["styleadapter", "artadapter", "prompt_free_diffusion", "visconet"])
def test_it_acts_on_the_base_or_says_why_not(tiny: Any, shown: Subject, name: str) -> None:
    recipe = methods()[name](shown)
    x = torch.randn(2, *tiny.latent_shape, generator=torch.Generator().manual_seed(0))
    time, refused = tiny.draw_times(1, torch.Generator().manual_seed(0)).expand(2), ""
    try:
        with attach(tiny, (Adapter(recipe, "<rex>"),)) as adapted:
            states = adapted.text_states(["<rex> on the beach", ""])
            about = {"prompts": ("dog on the beach", ""), "branches": ("text", "negative")}
            outputs = []
            for on in (True, False):
                for live in adapted.live.values():
                    live.on = on
                run = adapted.run(time=time, latents=x, **about)
                outputs.append(tiny.predict(x, time, states, context=run))
            for live in adapted.live.values():
                live.on = True
    except InputError as error:
        refused = str(error)
    assert untouched(tiny)
    if refused:
        why = {
            "artadapter": ("resolutions", "cross attention"),
            "visconet": ("takes no residuals",),
            "prompt_free_diffusion": ("cross attention",),
        }
        assert any(words in refused for words in why[name])
        assert name == "artadapter" or tiny.family not in FAMILIES[:2]
        return
    assert bool(outputs[0].isfinite().all())
    # the branch of ViscoNet is silent before it has learned anything
    assert torch.equal(outputs[0], outputs[1]) == (name == "visconet")
