"""Find near-duplicates among pictures: quickly by difference hashes, for copies with the same crop, or thoroughly by
correlation, for copies that were mirrored, shifted or saved again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import PictureError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Slopes: TypeAlias = "np.ndarray[Any, Any]"
LIKE = 6
"""Largest Hamming distance, out of 64 bits, between the difference hashes of near-duplicates."""


def near_pairs(images: Sequence[Image.Image]) -> list[tuple[int, int]]:
    """Index pairs of near-duplicates, by their difference hashes."""
    signs = [difference_signs(image) for image in images]
    pairs = ((one, other) for one in range(len(signs)) for other in range(one + 1, len(signs)))
    return [(one, other) for one, other in pairs if (signs[one] ^ signs[other]).bit_count() <= LIKE]


def difference_signs(image: Image.Image) -> int:
    """Difference hash of 64 bits: whether the grey value rises from each pixel to the next in its row, at 9 x 8
    pixels."""
    import numpy as np

    small = np.asarray(image.convert("L").resize((9, 8)), dtype=int)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def split(images: Sequence[Image.Image], *, held_out: int = 1) -> tuple[list[int], list[int]]:
    """Indices of the training pictures and of the held-out pictures. Near-duplicates (see `doubles`) are on one side.

    images: the pictures to split
    held_out: number of pictures to hold out; none are held out where all pictures are near-duplicates
    """
    groups = doubles(images)
    if len(groups) < 2:
        return sorted(k for g in groups for k in g), []
    training: list[int] = []
    out: list[int] = []
    for group in reversed(groups):  # the last pictures are held out
        (out if len(out) < held_out and len(groups) > 1 and group is not groups[0] else training).extend(group)
    return sorted(training), sorted(out)


def doubles(images: Sequence[Image.Image], *, alike: float = 0.7) -> list[list[int]]:
    """Groups of indices: mirrored, shifted or newly saved copies of one photograph share a group.

    images: the pictures to compare
    alike: two pictures are copies when the normalised correlation of their 64-pixel grey versions' gradients, maximised
        over mirroring and shifts of up to three eighths, is at least this

    Raises `PictureError` for an empty sequence.
    """
    if not images:
        raise PictureError("there are no pictures to compare")
    slopes = [_slopes(image) for image in images]
    groups: list[list[int]] = []
    for k, one in enumerate(slopes):
        home = next((g for g in groups if any(_correlation(one, slopes[j]) >= alike for j in g)), None)
        if home is None:
            groups.append([k])
        else:
            home.append(k)
    return groups


def likeness(first: Image.Image, second: Image.Image) -> float:
    """Similarity of two pictures, from -1 to 1 (see `doubles`)."""
    return _correlation(_slopes(first), _slopes(second))


# Side of the grey versions, and largest shift, in pixels.
SIDE, MOST = 64, 24


def _slopes(image: Image.Image) -> Slopes:
    """Gradients down and to the right, of the picture and of its mirror image: [2 (plain, mirrored), 2, SIDE, SIDE]."""
    import numpy as np
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return np.stack([np.stack(list(np.gradient(side))) for side in (grey, grey[:, ::-1])])


def _correlation(first: Slopes, second: Slopes) -> float:
    """The greatest normalised correlation of the overlap, over shifts and mirroring, by Fourier transform."""
    import numpy as np

    def spectrum(x: Slopes) -> Slopes:
        return np.fft.rfft2(x, s=(2 * SIDE, 2 * SIDE))

    one = np.ones((SIDE, SIDE))
    a, b = first[0], second  # [2, S, S], [2 (mirror), 2, S, S]
    product = np.fft.irfft2((spectrum(a) * spectrum(b).conj()).sum(1))
    of_a = np.fft.irfft2(spectrum((a * a).sum(0)) * spectrum(one).conj())
    of_b = np.fft.irfft2(spectrum(one) * spectrum((b * b).sum(1)).conj())
    shifts = np.r_[0 : MOST + 1, -MOST:0]
    near = (slice(None), shifts[:, None], shifts[None, :])
    scale = np.sqrt(np.maximum(of_a[None][near] * of_b[near], 1e-9))
    if scale.max() < 1.0:  # both pictures are nearly uniform
        return 1.0
    return float((product[near] / np.maximum(scale, 1.0)).max())
