"""Regions: where in the picture each of several subjects is to appear.

A region is a word ("left"), a box (left, top, right, bottom as shares of the picture) or a mask, a picture that is
white where the subject may be. Edges of words and boxes are hard: a position of the latents belongs to a box by the
share of its area inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import FileError, InputError, PictureError, UnknownName

from .subject import check_name
from .wording import listed

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Box: TypeAlias = "tuple[float, float, float, float]"
"""Left, top, right, bottom, as shares of the picture from 0 to 1."""

Where: TypeAlias = "str | Sequence[float] | Image.Image"
"""A word of WORDS, a box, or a mask."""

WORDS: dict[str, Box] = {
    "left": (0, 0, 1 / 2, 1), "right": (1 / 2, 0, 1, 1), "top": (0, 0, 1, 1 / 2), "bottom": (0, 1 / 2, 1, 1),
    "middle": (1 / 4, 1 / 4, 3 / 4, 3 / 4), "left third": (0, 0, 1 / 3, 1), "middle third": (1 / 3, 0, 2 / 3, 1),
    "right third": (2 / 3, 0, 1, 1), "top left": (0, 0, 1 / 2, 1 / 2), "top right": (1 / 2, 0, 1, 1 / 2),
    "bottom left": (0, 1 / 2, 1 / 2, 1), "bottom right": (1 / 2, 1 / 2, 1, 1),
}  # fmt: skip
"""Named regions: halves, thirds and quarters of the picture, and its middle."""

MOST_OVERLAP = 0.1
"""Largest share of the smaller of two regions that the other may cover. Where two overlap, each gets half."""
SMALLEST = 1.0
"""Area of the smallest region, in positions of the latents."""


def whole_word(word: str) -> str:
    """A pattern of this word or phrase where no letter or digit stands at either end."""
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def names_word(prompt: str, word: str) -> bool:
    """Whether a prompt has this plain word or phrase; upper case counts as lower case."""
    return bool(re.search(whole_word(word), prompt, re.IGNORECASE))


def region_masks(
    regions: Mapping[str, Where], *, handles: Sequence[str], size: tuple[int, int], words: Collection[str] = ()
) -> dict[str, Tensor]:
    """Handle or word -> [1, 1, h, w] in [0, 1] at the latents' `size` (h, w): the share of each position that belongs
    to it.

    Args:
        regions: handle, with or without its angle brackets, or plain word of the prompt -> region of its subject.
        handles: the handles of the attached concepts, "<rex>".
        size: rows and columns of the latents.
        words: those of the names in `regions` that are plain words.

    At each position, the shares of all regions sum to at most 1. Raises `InputError` for a handle of no attached
    concept, a region that is empty or extends beyond the picture, and two regions that overlap by more than
    MOST_OVERLAP of the smaller.
    """
    import torch

    masks: dict[str, Tensor] = {}
    for name, where in regions.items():
        handle = name if name in words else f"<{check_name(name)}>"
        if not handles and handle not in words:
            raise InputError(
                f"{handle} has a region and no concept is attached: choose one, or on the command line --with FILE"
            )
        if handle not in (*handles, *words):
            raise UnknownName("concept to give a region to, named", handle, handles)
        if handle in masks:
            raise InputError(f"{handle} has two regions; give it one")
        masks[handle] = _mask(where, size, handle)
    _check_apart(masks)
    if not masks:
        return masks
    total = torch.stack(list(masks.values())).sum(0).clamp_min(1)
    return {handle: mask / total for handle, mask in masks.items()}


def _mask(where: Where, size: tuple[int, int], handle: str) -> Tensor:
    """[1, 1, h, w] in [0, 1]. Raises `InputError` that names the handle."""
    picture = hasattr(where, "convert")
    mask = _of_picture(where, size, handle) if picture else _of_box(checked_box(where, handle), size)
    if float(mask.sum()) < SMALLEST:
        raise InputError(
            f"the region of {handle} is empty: it covers {float(mask.sum()):.2f} of {size[0]} x {size[1]} positions of "
            "the latents, and one is the least; make it larger"
        )
    return mask


def checked_box(where: object, handle: str) -> Box:
    """The box of a word or of four numbers. Raises `InputError` for anything else."""
    if isinstance(where, str):
        word = " ".join(where.lower().replace("-", " ").replace("_", " ").split())
        if word not in WORDS:
            raise UnknownName(f"region for {handle} named", where, WORDS)
        return WORDS[word]
    wanted = f"the region of {handle} must be a word ({listed(list(WORDS)[:5])}, …), a mask, or a box of four shares"
    if not isinstance(where, (list, tuple)) or len(where) != 4:
        raise InputError(f"{wanted} such as (0, 0, 0.5, 1), not {str(where)[:100]!r}")
    if any(isinstance(edge, bool) or not isinstance(edge, (int, float)) for edge in where):
        raise InputError(f"{wanted}, not {str(where)[:100]!r}")
    left, top, right, bottom = (float(edge) for edge in where)
    if not all(0 <= edge <= 1 for edge in (left, top, right, bottom)):
        raise InputError(
            f"the region of {handle} reaches out of the picture: {tuple(where)} is left, top, right, bottom, as shares from 0 to 1"
        )
    if not (left < right and top < bottom):
        raise InputError(
            f"the region of {handle} is empty: {tuple(where)} must rise from left to right and from top to bottom"
        )
    return left, top, right, bottom


def _of_box(box: Box, size: tuple[int, int]) -> Tensor:
    """[1, 1, h, w]: the share of every position's area that lies in the box."""
    import torch

    shares = []
    for count, start, stop in ((size[0], box[1], box[3]), (size[1], box[0], box[2])):
        edges = torch.arange(count + 1) / count
        shares.append(((edges[1:].clamp(max=stop) - edges[:-1].clamp(min=start)) * count).clamp(0, 1))
    return (shares[0][:, None] * shares[1])[None, None]


def _of_picture(where: Any, size: tuple[int, int], handle: str) -> Tensor:
    import numpy as np
    import torch
    import torch.nn.functional as F

    wide, tall = where.size
    if abs(wide / tall - size[1] / size[0]) > 0.02:
        raise InputError(
            f"the mask of {handle} is {wide} x {tall} pixels, and pictures are {size[1]} wide to {size[0]} high; crop it to their shape"
        )
    pixels = torch.from_numpy(np.array(where.convert("L"), dtype=np.float32) / 255)
    return F.interpolate(pixels[None, None], size, mode="area")


def _check_apart(masks: Mapping[str, Tensor]) -> None:
    import torch

    handles = list(masks)
    for k, first in enumerate(handles):
        for second in handles[k + 1 :]:
            both = float(torch.minimum(masks[first], masks[second]).sum())
            share = both / min(float(masks[first].sum()), float(masks[second].sum()))
            if share > MOST_OVERLAP:
                raise InputError(
                    f"the regions of {first} and {second} overlap by {share:.0%} of the smaller; {MOST_OVERLAP:.0%} is the most: move "
                    "them apart"
                )


def read_layout(path: Path) -> dict[str, Where]:
    """The regions in a JSON file: {"rex": "left", "bo": [0.5, 0, 1, 1], "kit": "kit-mask.png"}.

    Paths of masks are relative to the file's folder. Raises `FileError` for a file that holds no such table, and
    `PictureError` for a mask that cannot be read.
    """
    try:
        regions = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(
            f'{path} is not JSON ({str(error)[:100]}); expected a table such as {{"rex": "left"}}'
        ) from error
    if not isinstance(regions, dict) or not regions:
        raise FileError(
            f'{path} must hold a table of handles and regions such as {{"rex": "left", "bo": [0.5, 0, 1, 1]}}'
        )
    return {name: read_region(where, handle=name, folder=path.parent) for name, where in regions.items()}


def read_region(where: object, *, handle: str, folder: Path) -> Where:
    """A region from its written form: a word, four numbers (also as a text, "0,0,0.5,1"), or the file of a mask in
    `folder`."""
    if isinstance(where, str) and where.lower().endswith(MASKS):
        return _read_mask(folder / where, handle)
    if isinstance(where, str) and "," in where:
        try:
            return checked_box([float(edge) for edge in where.split(",")], handle)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the region of {handle} is four numbers such as 0,0,0.5,1, not {where[:100]!r}"
            ) from error
    return checked_box(where, handle)


MASKS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of the files of masks."""


def _read_mask(path: Path, handle: str) -> Where:
    from .subject import read_picture

    try:
        image = read_picture(path)[0].image
    except (InputError, FileError, OSError) as error:
        raise PictureError(f"the mask of {handle} cannot be read: {error}") from error
    assert image is not None
    return image
