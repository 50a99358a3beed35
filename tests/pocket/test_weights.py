"""The weights that ship: standard formats, small, quick to open, and as good as their file of scores says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limner.bases.common.loading import POCKET
from limner.pocket import SIZE, judges
from limner.pocket.labels import labels
from limner.pocket.world import SPLITS, draw, individual, sample, showing

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "results" / "pocket.json"


@pytest.fixture(scope="module")
def renders() -> tuple[Any, torch.Tensor]:
    graphs = [sample(700_000_000 + k, split="held-out") for k in range(64)]
    return graphs, draw(graphs).pixels.float() / 255


def test_they_are_small() -> None:
    files = [f for f in judges.WEIGHTS.rglob("*") if f.is_file()]
    base_and_judges = [f for f in files if not {"methods", "multimodal", "estimators"} & {*f.parts}]
    assert sum(f.stat().st_size for f in base_and_judges) <= 64e6
    assert sum(f.stat().st_size for f in files) <= 90e6
    assert not [f for f in files if f.suffix in (".bin", ".pt", ".ckpt", ".pickle")]


def test_stock_libraries_open_them_without_limner() -> None:
    code = f"""
import sys
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel, ViTModel
pipeline = StableDiffusionPipeline.from_pretrained({str(POCKET)!r}, safety_checker=None)
pipeline.set_progress_bar_config(disable=True)
import torch
image = pipeline("a red dog on the beach", num_inference_steps=2, height=128, width=128, generator=torch.Generator().manual_seed(0)).images[0]
assert image.size == (128, 128)
CLIPModel.from_pretrained({str(judges.WEIGHTS / "clip")!r})
ViTModel.from_pretrained({str(judges.WEIGHTS / "dino")!r})
assert not [name for name in sys.modules if name.startswith("limner")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_autoencoder_keeps_pictures(base: Any, renders: Any) -> None:
    pixels = renders[1][:32]
    with torch.no_grad():
        back = base.decode(base.encode(pixels)[0])
    psnr = -10 * (back - pixels).square().mean((1, 2, 3)).log10()
    assert psnr.mean() > json.loads(RESULTS.read_text())["autoencoder"]["psnr"] - 1.0


def test_the_judge_reads_held_out_toys(renders: Any) -> None:
    graphs, pixels = renders
    seen = judges.read(pixels)
    recorded = json.loads(RESULTS.read_text())["questions"]["core"]["renders"]
    for field in ("class", "scene", "colour"):
        right = np.mean([row[field] == labels(graph)[field] for row, graph in zip(seen, graphs, strict=True)])
        assert right > recorded[field] - 0.08, field


def test_identity_tells_held_out_toys_apart() -> None:
    toys = [individual("dog", SPLITS["held-out"].start + 300 + k) for k in range(12)]
    views = [
        judges.identities(
            draw([showing(t, seed=50 * n + k, scene=("beach", "snow")[n]) for k, t in enumerate(toys)]).pixels.float()
            / 255
        )
        for n in (0, 1)
    ]
    near = views[0] @ views[1].T
    assert near.diagonal().mean() > near[~torch.eye(12, dtype=torch.bool)].mean() + 0.2


def test_individual_styles_of_one_family_are_told_apart() -> None:
    hands, pictures = 4, 4
    for family in ("watercolour", "oil painting"):
        shown = [
            sample(
                600_000_000 + 10 * hand + k, split="held-out", style=family, style_seed=SPLITS["held-out"].start + hand
            )
            for hand in range(hands)
            for k in range(pictures)
        ]
        vectors = judges.manners(draw(shown).pixels.float() / 255)
        near, hand = vectors @ vectors.T, torch.arange(hands).repeat_interleave(pictures)
        same = hand[:, None] == hand[None]
        others = near[same & ~torch.eye(len(hand), dtype=torch.bool)]
        assert (others[:, None] > near[~same][None]).float().mean() > 0.9


def test_masks_find_the_toy(renders: Any) -> None:
    graphs, pixels = renders
    truth, found = draw(graphs[:16]).masks, judges.masks(pixels[:16]) > 0.5
    overlap = (truth & found).sum() / (truth | found).sum()
    assert overlap > 0.7


def test_text_and_pictures_meet(renders: Any) -> None:
    from limner.pocket.world import caption

    graphs, pixels = renders
    said = [caption(graph) for graph in graphs[:64]]
    right = judges.text_similarity(pixels[:64], said)
    wrong = judges.text_similarity(pixels[:64], said[1:] + said[:1])
    assert (right > wrong).float().mean() > 0.85


def test_the_base_paints_the_scene_it_is_asked_for(base: Any) -> None:
    import limner
    from limner.core.pixels import to_tensor

    scenes = {"on the beach": "beach", "in the snow": "snow", "in the desert": "desert", "in a meadow": "meadow"}
    pictures = limner.paint(
        base,
        [f"a photo of a dog {place}" for place in scenes],
        count=2,
        seed=0,
        settings=limner.PaintSettings(steps=12),
    )
    seen = [row["scene"] for row in judges.read(to_tensor([p.image for p in pictures], SIZE))]
    wanted = [scene for scene in scenes.values() for _ in range(2)]
    assert np.mean([a == b for a, b in zip(seen, wanted, strict=True)]) > 0.6
