"""Viewpoints: the position of the camera around a subject, and its moves from one picture to another.

A viewpoint [..., 3] is an azimuth and an elevation in radians, and a distance. At azimuth 0 the camera sees the front
of the subject, and the azimuth rises towards the subject's left. The unit of distances is the same for all pictures of
a subject. NaN is unknown. A move [..., 3] is the difference of azimuth and elevation and the logarithm of the ratio of
distances.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from limner.errors import InputError, UnknownName

from .subject import check_name

if TYPE_CHECKING:
    from torch import Tensor

View: TypeAlias = "float | Sequence[float] | str"
"""A move of the camera as a user writes it: degrees of azimuth; or also degrees of elevation and a factor of the
distance; or a side of SIDES, where the subject's first picture counts as its front."""

SIDES: dict[str, float] = {
    "front": 0, "front left": 45, "left": 90, "back left": 135, "back": 180, "back right": -135, "right": -90,
    "front right": -45,
}  # fmt: skip
"""The eight sides from which a subject is seen -> degrees of azimuth. Left and right are the subject's own."""


def move_between(start: Tensor, end: Tensor) -> Tensor:
    """[..., 3]: the move of the camera from one viewpoint [..., 3] to another; its azimuth is from -pi to below pi."""
    import torch

    azimuth, elevation = (end - start)[..., :2].unbind(-1)
    azimuth = torch.remainder(azimuth + math.pi, 2 * math.pi) - math.pi
    return torch.stack([azimuth, elevation, (end[..., 2] / start[..., 2]).log()], -1)


def checked_views(views: Mapping[str, View]) -> dict[str, tuple[float, float, float]]:
    """Handle -> azimuth and elevation in degrees, and the factor of the distance. Raises `InputError` for anything
    else."""
    checked: dict[str, tuple[float, float, float]] = {}
    for name, view in views.items():
        handle = f"<{check_name(name)}>"
        if handle in checked:
            raise InputError(f"{handle} has two viewpoints; give it one")
        view = side_of(view, of=handle) if isinstance(view, str) else view
        numbers = [view] if isinstance(view, (int, float)) else list(view) if isinstance(view, (list, tuple)) else []
        if not 1 <= len(numbers) <= 3 or not all(_is_number(number) for number in numbers):
            raise InputError(
                f"the viewpoint of {handle} is a number of degrees around the subject such as 45, or also degrees of "
                f"elevation and a factor of the distance such as (45, 10, 1.2), or a side such as 'left', not {str(view)[:100]!r}"
            )
        azimuth, elevation, distance = (numbers + [0.0, 0.0, 1.0][len(numbers) :])[:3]
        if abs(azimuth) > 360 or abs(elevation) > 90 or not 0.1 <= distance <= 10:
            raise InputError(
                f"the viewpoint of {handle} goes too far: {azimuth:g}, {elevation:g}, {distance:g}; azimuths are from "
                "-360 to 360 degrees, elevations from -90 to 90, factors of the distance from 0.1 to 10"
            )
        checked[handle] = float(azimuth), float(elevation), float(distance)
    return checked


def side_of(text: str, *, of: str = "a subject") -> float:
    """Degrees of azimuth of a side in words: "left", "from the back left". Raises `UnknownName`, which names the
    subject, for anything else."""
    words = " ".join(text.lower().replace("-", " ").replace("_", " ").split())
    side = words.removeprefix("seen ").removeprefix("from ").removeprefix("the ")
    if side not in SIDES:
        raise UnknownName(f"side for the viewpoint of {of}, named", text[:100], SIDES)
    return SIDES[side]


def read_view(text: str) -> View:
    """A viewpoint from its written form: numbers with commas between them, "90", "45,10,1.2", or a side, "from the
    left". Raises `InputError` for anything else."""
    if re.fullmatch(r"[A-Za-z][A-Za-z _-]*", text.strip()):
        return side_of(text)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"a viewpoint is degrees around the subject such as 90, azimuth, elevation and a factor of the distance "
            f"such as 45,10,1.2, or a side such as 'from the left', not {text[:100]!r}"
        ) from error


def as_moves(views: Mapping[str, View]) -> dict[str, Tensor]:
    """Handle -> the move [3] of the camera."""
    import torch

    return {
        handle: torch.tensor([math.radians(azimuth), math.radians(elevation), math.log(distance)])
        for handle, (azimuth, elevation, distance) in checked_views(views).items()
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
