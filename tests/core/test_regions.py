"""Regions at the door: what they cover, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from limner.core.regions import WORDS, read_layout, read_region, region_masks
from limner.errors import FileError, InputError, PictureError, UnknownName

BOTH = ("<rex>", "<bo>")


def test_halves_share_the_picture() -> None:
    masks = region_masks({"rex": "left", "<bo>": "right"}, handles=BOTH, size=(4, 4))
    assert torch.equal(masks["<rex>"][0, 0], torch.tensor([[1.0, 1, 0, 0]] * 4))
    assert torch.equal(masks["<rex>"] + masks["<bo>"], torch.ones(1, 1, 4, 4))


def test_a_box_covers_places_by_their_share() -> None:
    masks = region_masks({"rex": (0, 0, 0.375, 0.5)}, handles=BOTH, size=(4, 4))
    assert torch.allclose(masks["<rex>"][0, 0, 0], torch.tensor([1.0, 0.5, 0, 0]))
    assert float(masks["<rex>"].mean()) == pytest.approx(0.375 * 0.5)


def test_every_word_is_a_region_and_thirds_fill_the_picture() -> None:
    for word in WORDS:
        assert float(region_masks({"rex": word}, handles=BOTH, size=(12, 12))["<rex>"].sum()) > 1
    thirds = {name: f"{name} third" for name in ("left", "middle", "right")}
    masks = region_masks(thirds, handles=[f"<{name}>" for name in thirds], size=(16, 16))
    assert torch.allclose(sum(masks.values(), torch.zeros(1)), torch.ones(1, 1, 16, 16), atol=1e-5)


def test_a_mask_is_read_by_area_and_an_overlap_is_shared() -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 34, 64))
    masks = region_masks({"rex": mask, "bo": "right"}, handles=BOTH, size=(16, 16))
    assert float(sum(masks.values(), torch.zeros(1)).max()) <= 1
    assert torch.allclose(masks["<rex>"][0, 0, :, 8], torch.full((16,), 1 / 3))


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ({"rex": "left", "bo": (0.3, 0, 1, 1)}, "<rex> and <bo> overlap by 40% of the smaller; 10% is the most"),
        ({"rex": "left", "<rex>": "right"}, "<rex> has two regions"),
        ({"rex": (0, 0, 1.2, 1)}, "reaches out of the picture"),
        ({"rex": (-0.1, 0, 1, 1)}, "reaches out of the picture"),
        ({"rex": (float("nan"), 0, 1, 1)}, "reaches out of the picture"),
        ({"rex": (0.5, 0, 0.5, 1)}, "region of <rex> is empty"),
        ({"rex": (0.5, 0, 0.501, 0.01)}, "region of <rex> is empty: it covers 0.00 of 16 x 16"),
        ({"rex": Image.new("L", (64, 64))}, "region of <rex> is empty"),
        ({"rex": Image.new("L", (64, 32), 255)}, "mask of <rex> is 64 x 32 pixels"),
        ({"rex": (0, 0, 1)}, "must be a word"),
        ({"rex": [0, 0, True, 1]}, "must be a word"),
        ({"rex": None}, "must be a word"),
    ],
)
def test_regions_that_cannot_be(regions: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        region_masks(regions, handles=BOTH, size=(16, 16))


def test_unknown_handles_and_words_suggest() -> None:
    with pytest.raises(UnknownName, match="'<rox>'; did you mean '<rex>'"):
        region_masks({"rox": "left"}, handles=BOTH, size=(16, 16))
    with pytest.raises(UnknownName, match="'lefft'; did you mean 'left'"):
        region_masks({"rex": "lefft"}, handles=BOTH, size=(16, 16))
    with pytest.raises(InputError, match="no concept is attached"):
        region_masks({"rex": "left"}, handles=(), size=(16, 16))


def test_a_layout_is_read_from_json(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "kit.png")
    file = tmp_path / "layout.json"
    file.write_text(json.dumps({"rex": "top left", "bo": [0.5, 0, 1, 1], "kit": "kit.png"}))
    found: Any = read_layout(file)
    assert (found["rex"], found["bo"], found["kit"].size) == ((0, 0, 0.5, 0.5), (0.5, 0, 1, 1), (8, 8))
    assert read_region("0,0,0.5,1", handle="rex", folder=tmp_path) == (0, 0, 0.5, 1)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("left", FileError, "is not JSON"),
        ("[" * 3000, FileError, "is not JSON"),
        ("[1]", FileError, "must hold a table"),
        ("{}", FileError, "must hold a table"),
        ('{"rex": {"box": 1}}', InputError, "must be a word"),
        ('{"rex": "0,0,x,1"}', InputError, "four numbers"),
        ('{"rex": "none.png"}', PictureError, "mask of rex cannot be read"),
    ],
)
def test_files_that_are_no_layout(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    file = tmp_path / "layout.json"
    file.write_text(text)
    with pytest.raises(error, match=said):
        read_layout(file)
    with pytest.raises(FileError, match="cannot be read"):
        read_layout(tmp_path / "not there.json")
