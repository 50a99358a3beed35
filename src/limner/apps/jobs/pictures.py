"""Rows of pictures, from the files that workflows wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tables import Job, Picture


def picture_row(
    path: Path,
    *,
    id: str,
    sha256: str,
    job: Job,
    purpose: str,
    concepts: Sequence[Mapping[str, Any]],
    prompt: str = "",
    seed: int | None = None,
    scores: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    parent: str | None = None,
) -> Picture:
    """The row of a picture. Prompt, seed, base and settings come from the record in the file where they are not given;
    `settings` are added to the file's."""
    story = read_story(path)
    return Picture(
        id=id,
        owner_id=job.owner_id,
        job_id=job.id,
        sha256=sha256,
        prompt=prompt or str(story.get("prompt", "")),
        seed=int(story.get("seed", 0) if seed is None else seed),
        base=str(story.get("base", ""))[:255],
        settings={**story.get("settings", {}), **(settings or {})},
        concepts=[dict(each) for each in concepts],
        parent_id=parent,
        scores=dict(scores or {}),
        purpose=purpose,
    )


def read_story(path: Path) -> dict[str, Any]:
    """limner's record in a picture or a clip; empty where there is none."""
    from PIL import Image
    from PIL.ExifTags import Base

    try:
        with Image.open(path) as image:
            text = image.info.get("limner") or image.getexif().get(Base.ImageDescription, "")
        story = json.loads(text)
    except (OSError, ValueError):
        return {}
    return story if isinstance(story, dict) else {}
