"""Inpainting a part of a large picture: a square around the part is cut out, painted at the base's size and put back;
the rest of the picture stays unchanged bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

CONTEXT = 1.5
"""Side of the painted square, as a multiple of the longer side of the masked area: the surroundings are context."""
SOFT = 0.02
"""Width of the soft seam, as a share of the square's side; it lies within the masked area."""


@dataclass(frozen=True)
class Region:
    """A square of a picture around the masked area. It may extend beyond the picture, whose edge pixels are then
    repeated."""

    image: Image.Image  # the whole picture, RGB
    mask: Image.Image  # "L", its size, white where it may change
    left: int
    top: int
    side: int

    @classmethod
    def around(cls, image: Image.Image, mask: Image.Image, *, size: int) -> Region:
        """The square for a mask, of at least `size` pixels where the picture is large enough, so that no more detail is
        lost than necessary. Raises `InputError` for a mask of another size than the picture, or without white."""
        light = mask.convert("L").point(lambda value: 255 if value >= 128 else 0)
        if light.size != image.size:
            raise InputError(f"the mask is {light.size} and the picture {image.size}; expected one size")
        box = light.getbbox()
        if box is None:
            raise InputError("the mask is empty: expected white where the picture may change")
        longest = max(box[2] - box[0], box[3] - box[1])
        side = max(round(CONTEXT * longest), min(size, *image.size))
        side = max(longest, min(side, *image.size))
        left = _within((box[0] + box[2] - side) // 2, side, image.width)
        top = _within((box[1] + box[3] - side) // 2, side, image.height)
        return cls(image.convert("RGB"), light, left, top, side)

    @property
    def cut(self) -> tuple[Image.Image, Image.Image]:
        """The square of the picture and of the mask."""
        return self._square(self.image, edge=True), self._square(self.mask, edge=False)

    def put_back(self, painted: Image.Image) -> Image.Image:
        """The whole picture with the painted square in the masked area. All other pixels are unchanged."""
        from PIL import Image, ImageChops, ImageFilter

        large = painted.convert("RGB").resize((self.side, self.side), Image.Resampling.LANCZOS)
        new = self.image.copy()
        new.paste(large, (self.left, self.top))  # parts outside of the picture are dropped
        soft = self.mask.filter(ImageFilter.GaussianBlur(max(1.0, SOFT * self.side)))
        inward = ImageChops.darker(soft.point(lambda value: max(0, 2 * value - 255)), self.mask)
        return Image.composite(new, self.image, inward)

    def _square(self, image: Image.Image, *, edge: bool) -> Image.Image:
        import numpy as np
        from PIL import Image

        box = (self.left, self.top, self.left + self.side, self.top + self.side)
        if not edge:
            return image.crop(box)  # the mask is black outside of the picture
        rows = np.arange(box[1], box[3]).clip(0, image.height - 1)
        columns = np.arange(box[0], box[2]).clip(0, image.width - 1)
        return Image.fromarray(np.asarray(image)[rows][:, columns])


def _within(start: int, side: int, length: int) -> int:
    """The start of a span of length `side`, moved to lie within `length`; a longer span is centred."""
    return (length - side) // 2 if side > length else min(max(start, 0), length - side)
