"""Pictures that an earlier run of the same request saved before it was paused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.decoding import text_of
from limner.core.picture import Picture
from limner.errors import PictureError

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.engine.sample import PaintSettings


def painted_before(
    paths: Sequence[Path],
    prompts: Sequence[str],
    *,
    base: Base,
    handles: Sequence[str],
    seed: int,
    settings: PaintSettings,
) -> list[Picture]:
    """The pictures in these files, where each was painted from its prompt with this base, these handles, this seed and
    these settings; else an empty list."""
    pictures = []
    for path, prompt in zip(paths, prompts, strict=True):
        story = _story(path)
        wanted = {"prompt": prompt, "seed": seed, "concepts": list(handles), "base": base.name}
        own = story.get("settings", {})
        same = all(own.get(name) == value for name, value in settings.metadata.items())
        if not same or any(story.get(name) != value for name, value in wanted.items()):
            return []
        pictures.append(Picture(_image(path), prompt, seed, tuple(handles), base.name, own))
    return pictures


def _story(path: Path) -> dict[str, Any]:
    """limner's record in a picture; empty without the file, and without a record that can be read."""
    try:
        story = json.loads(text_of(path, "limner") or "{}") if path.is_file() else {}
    except (PictureError, ValueError):
        return {}
    return story if isinstance(story, dict) else {}


def _image(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")
