"""The folder layout of kohya's sd-scripts: `10_token class`."""

from __future__ import annotations

import re
from pathlib import Path

from limner.core.subject import pictures_below

from .contents import Found, Item
from .files import pictures_of
from .flat import flat


def kohya_folders(path: Path) -> Found | None:
    """Read folders named `10_token class` (repeats, token, class noun); None for a folder without any."""
    if not path.is_dir():
        return None
    path = path / "img" if (path / "img").is_dir() else path
    own = repeats_of(path.name)
    parts = [path] if own else sorted(p for p in path.iterdir() if p.is_dir() and repeats_of(p.name))
    if not parts:
        return None
    items: list[Item] = []
    stray: list[str] = []
    token = noun = ""
    for part in parts:
        repeats, concept = repeats_of(part.name) or (1, "")
        contents = flat(part)
        items += [Item(i.path, i.caption or concept, i.mask, repeats, concept) for i in contents.items]
        stray += contents.stray
        if not token:
            token, _, noun = concept.partition(" ")
    stray += [] if own else _strange(path, {part.name for part in parts})
    beside = (path.parent if own else path).parent / "reg"
    regular = (
        [p for place in sorted(beside.glob("*")) if place.is_dir() for p in pictures_of(place)]
        if beside.is_dir()
        else []
    )
    return Found(path, "kohya's folders (repeats_token class)", items, noun, token, regular, stray)


def _strange(path: Path, known: set[str]) -> list[str]:
    """Names of pictures outside of the layout's folders."""
    alone = [p.name for p in pictures_of(path)]
    return alone + [
        line for line in pictures_below(path) if Path(line.partition("/,")[0]).parts[0] not in {*known, "reg"}
    ]


def repeats_of(name: str) -> tuple[int, str] | None:
    match = re.fullmatch(r"([0-9]{1,6})_(.+)", name)
    return (int(match[1]), match[2].strip()) if match else None
