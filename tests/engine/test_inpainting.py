"""A part of a picture is painted, and the rest keeps its bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from limner.engine.inpainting import Region
from limner.errors import InputError


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def masked(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize(
    ("size", "box", "square"),
    [
        ((1000, 800), (400, 300, 600, 400), (350, 200, 300)),  # one and a half times what changes, around it
        ((1000, 800), (500, 400, 510, 410), (473, 373, 64)),  # no smaller than what the base paints
        ((1000, 800), (0, 0, 200, 200), (0, 0, 300)),  # moved into the picture
        ((1000, 800), (900, 700, 1000, 800), (850, 650, 150)),
        ((1000, 800), (0, 0, 1000, 100), (0, -100, 1000)),  # longer than the picture is high
        ((40, 30), (10, 10, 20, 20), (0, 0, 30)),  # smaller than what the base paints
    ],
)
def test_the_square_holds_what_changes_and_its_surroundings(
    size: tuple[int, int], box: tuple[int, int, int, int], square: tuple[int, int, int]
) -> None:
    region = Region.around(noise(*size), masked(*size, box), size=64)
    assert (region.left, region.top, region.side) == square
    image, mask = region.cut
    assert image.size == mask.size == (square[2], square[2])
    assert mask.histogram()[255] == (box[2] - box[0]) * (box[3] - box[1])


@pytest.mark.parametrize("box", [(40, 30, 160, 120), (0, 0, 200, 40), (190, 140, 200, 150)])
def test_outside_of_the_mask_every_bit_stays_and_within_it_all_is_new(box: tuple[int, int, int, int]) -> None:
    image, mask = noise(200, 150), masked(200, 150, box)
    region = Region.around(image, mask, size=64)
    after = region.put_back(Image.new("RGB", (64, 64), (255, 0, 0)))
    assert after.size == image.size
    new, old, may = np.asarray(after), np.asarray(image), np.asarray(mask) > 0
    assert (new[~may] == old[~may]).all()
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    assert after.getpixel(middle) == (255, 0, 0)


def test_the_seam_is_soft_and_lies_within_what_may_change() -> None:
    white = Image.new("RGB", (400, 400), "white")
    region = Region.around(white, masked(400, 400, (100, 100, 300, 300)), size=64)
    row = np.asarray(region.put_back(Image.new("RGB", (64, 64), "black")))[200, :, 0].astype(int)
    assert (row[:100] == 255).all()
    assert row[200] == 0
    assert (np.diff(row[:200]) <= 0).all()
    assert len(np.unique(row[100:130])) > 4


def test_what_is_cut_out_and_put_back_is_the_picture() -> None:
    image = noise(64, 64).resize((256, 256), Image.Resampling.BICUBIC)
    region = Region.around(image, masked(256, 256, (64, 64, 192, 192)), size=64)
    same = region.put_back(region.cut[0])
    assert np.asarray(same).tobytes() == np.asarray(image).tobytes()


def test_a_mask_that_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match="expected one size"):
        Region.around(noise(20, 20), masked(10, 10, (0, 0, 5, 5)), size=8)
    with pytest.raises(InputError, match="empty"):
        Region.around(noise(20, 20), Image.new("L", (20, 20)), size=8)
