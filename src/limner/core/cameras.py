"""Cameras of a subject's pictures, as a user gives them: in order, or in a file beside the pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import InputError

from .untrusted import inside

if TYPE_CHECKING:
    from torch import Tensor

Camera: TypeAlias = "tuple[float, float, float]"
"""Azimuth and elevation in degrees, and distance."""
CAMERAS = "cameras.json"
"""File in a folder of pictures: name of each picture -> azimuth and elevation in degrees, and distance."""


def cameras_beside(source: object) -> Mapping[str, Any]:
    """The table in the file CAMERAS of a folder; empty without one. Raises `InputError` for a file that holds none."""
    file = Path(source).expanduser() / CAMERAS if isinstance(source, (str, Path)) else None
    if file is None or not file.is_file():
        return {}
    try:
        cameras = json.loads(inside(file, file.parent).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {str(error)[:100]}") from error
    if not isinstance(cameras, dict):
        raise InputError(f'{file} must hold a table such as {{"0.jpg": [45, 10, 2.5]}}')
    return cameras


def views_by_picture(pictures: Sequence[str], views: Mapping[str, Any] | Sequence[Any]) -> list[Camera | None]:
    """The camera of each picture, from those given by name or in the pictures' order. Raises `InputError` for another
    number of views, a name without a picture and a view that is not three numbers."""
    if not isinstance(views, Mapping):
        if views and len(views) != len(pictures):
            raise InputError(f"there are {len(views)} views for {len(pictures)} pictures: give one for each")
        given = [_checked(name, view) for name, view in zip(pictures, views, strict=False)]
        return list(given) or [None] * len(pictures)
    strange = sorted(set(views) - set(pictures))
    if strange:
        raise InputError(f"a view is given for {strange[0][:100]!r}, and there is no such picture")
    return [_checked(name, views[name]) if name in views else None for name in pictures]


def _checked(name: str, view: object) -> Camera:
    numbers = list(view) if isinstance(view, (list, tuple)) else []
    good = [float(n) for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)]
    if len(numbers) != 3 or len(good) != 3 or abs(good[1]) > 90 or good[2] <= 0:
        raise InputError(
            f"the view of {name} is azimuth and elevation in degrees and a distance above 0, such as [45, 10, 2.5], not "
            f"{str(view)[:100]}"
        )
    return good[0], good[1], good[2]


def viewpoints_of(cameras: Sequence[tuple[str, Camera | None]], handle: str) -> Tensor:
    """[n, 3]: azimuth and elevation in radians, and distance (`core.views`), from the name and the camera of every
    picture. Raises `InputError` for a picture whose camera is unknown."""
    import torch

    unknown = next((name for name, camera in cameras if camera is None), None)
    if unknown is not None:
        raise InputError(
            f"this method learns {handle} from pictures with known cameras, and that of {unknown} is unknown: put a file "
            f"{CAMERAS} beside the pictures, {{{unknown!r}: [azimuth, elevation, distance], ...}} with angles in degrees, "
            "or give Subject.of(views=...)"
        )
    views = [camera for _, camera in cameras if camera is not None]
    return torch.tensor([[math.radians(around), math.radians(above), away] for around, above, away in views])
