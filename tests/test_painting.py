"""One sampling loop: seeded picture by picture, loud about prompts it cannot paint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limner
from limner.errors import InputError, PromptError
from limner.painting import inverted, sample
from limner.subject import Subject
from limner.wearing import Outfit, wear

from .helpers import same, state

QUICK = limner.PaintSettings(steps=3)


def test_the_same_seed_paints_the_same_picture_whatever_the_batch(base: Any) -> None:
    many = limner.paint(base, ["a dog", "a red car"], count=3, seed=7, settings=QUICK)
    one = limner.paint(base, "a red car", count=1, seed=8, settings=QUICK)
    assert (many[4].prompt, many[4].seed) == ("a red car", 8)
    difference = np.asarray(many[4].image, dtype=int) - np.asarray(one[0].image, dtype=int)
    assert np.abs(difference).max() <= 1
    again = limner.paint(base, ["a dog", "a red car"], count=3, seed=7, settings=QUICK)
    assert [p.image.tobytes() for p in again] == [p.image.tobytes() for p in many]


def test_sampling_can_be_dropped_half_way(base: Any, rex: Subject) -> None:
    from limner.methods import find

    before = state(base)
    outfit = Outfit(find("lora_dreambooth")(rex), rex.handle)
    with torch.no_grad(), wear(base, [outfit]) as worn:
        steps = sample(worn, ["<rex>"], seeds=[0], settings=QUICK)
        first = next(steps)
        assert (first.step, first.total) == (0, 3)
        steps.close()
    assert same(state(base), before)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("<rex> on the beach", "nothing answers to <rex>"),
        ("a very " * 40 + "long dog", "tokens"),
    ],
)
def test_prompts_that_cannot_be_painted(base: Any, prompt: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        limner.paint(base, prompt, settings=QUICK)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"steps": 10**5}, {"guidance": -1}, {"guidance": float("inf")}, {"batch": 0}]
)
def test_senseless_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must"):
        limner.PaintSettings(**bad)
    with pytest.raises(InputError, match="sampler"):
        raise InputError("sampler")


def test_an_unknown_sampler_suggests(base: Any) -> None:
    with pytest.raises(InputError, match="ddim"):
        limner.paint(base, "a dog", settings=limner.PaintSettings(steps=1, sampler="ddmi"))
    with pytest.raises(InputError, match="count"):
        limner.paint(base, "a dog", count=0)


def test_guidance_of_one_never_runs_the_negative_branch(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    real = base.predict
    monkeypatch.setattr(base, "predict", lambda x, *a, **k: (rows.append(len(x)), real(x, *a, **k))[1])
    limner.paint(base, "a dog", settings=limner.PaintSettings(steps=2, guidance=1.0))
    assert rows == [1, 1]
    limner.paint(base, "a dog", settings=limner.PaintSettings(steps=2, guidance=3.0))
    assert rows[2:] == [2, 2]


def test_pictures_know_their_story_and_show_themselves(base: Any, tmp_path: Path) -> None:
    from PIL import Image

    pictures = limner.paint(base, "a dog", count=2, seed=3, settings=QUICK)
    paths = pictures.save(tmp_path)
    assert [p.name for p in pictures.save(tmp_path)] == ["002.png", "003.png"]
    assert [p.name for p in pictures.save(tmp_path, overwrite=True)] == ["000.png", "001.png"]
    story = json.loads(Image.open(paths[1]).info["limner"])
    assert (story["prompt"], story["seed"], story["base"]) == ("a dog", 4, "pocket")
    assert pictures[0]._repr_png_().startswith(b"\x89PNG")
    assert pictures._repr_html_().count("<img") == 2
    assert pictures.grid(2, height=64).size == (132, 64)


def test_inversion_leads_back_to_the_picture(base: Any, rex: Subject) -> None:
    """Sampling from the noisiest latents of the inverted way, without guidance, comes back near the picture."""
    with torch.no_grad():
        latents = base.encode(rex.tensor(base.picture_size)[:1])[0]
        way = inverted(base, latents, "a dog", 50)
        scheduler = base.scheduler("ddim", steps=50)
        states = base.text_states(["a dog"], words={})
        from limner.bases.attention import Pass

        x = way[10][None]
        for time in scheduler.timesteps[10:]:
            out = base.predict(x, time.expand(1), states, context=Pass(time=time.expand(1)))
            x = scheduler.step(out, time, x).prev_sample
    assert (x - latents).square().mean() < 0.25 * latents.square().mean()
