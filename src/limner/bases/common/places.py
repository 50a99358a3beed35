"""Paths of the bases on this machine. A concept names its base by name and fingerprint; the path, which is private, is
kept here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from limner.core.cache import cache_folder
from limner.core.files import write_text
from limner.errors import FileError

POCKET = "pocket"
MOST = 200
"""Number of paths in the list; the oldest are dropped."""


class Place(NamedTuple):
    """The source of a base on this machine."""

    source: str  # folder, file or hub id that `load` opens
    config: str | None = None  # folder or hub id with the settings for a single file


def remember(fingerprint: str, source: str | Path, *, config: str | Path | None = None) -> None:
    """Record the path that a base was opened from. Nothing is recorded for `pocket`, which ships with limner, or for a
    hub id, which is the base's name."""
    path = Path(source).expanduser()
    if str(source) == POCKET or not path.exists():
        return
    place = {"source": str(path.resolve()), "config": _whole(config)}
    known = _known()
    if known.get(fingerprint) == place:
        return
    known = {key: value for key, value in known.items() if key != fingerprint} | {fingerprint: place}
    write_text(_file(), json.dumps(dict(list(known.items())[-MOST:]), indent=1), overwrite=True)


def place_of(base: Mapping[str, str]) -> Place | None:
    """Path on this machine of the base that a concept's header names; None where its name is enough to open it
    (`pocket` or a hub id).

    Raises `FileError` for a base in a folder or file that is not on record, or no longer exists.
    """
    name = base["name"]
    record = _known().get(base["fingerprint"])
    if record is not None and Path(str(record["source"])).exists():
        config = record.get("config")
        return Place(str(record["source"]), None if config is None else str(config))
    if name == POCKET or _is_hub_id(name):
        return None
    gone = (
        f"it was at {record['source']}, which is gone"
        if record is not None
        else "it was opened from a folder or file on another machine"
    )
    raise FileError(
        f"the base {name!r} that it was learned on is not known here ({gone}): name it with --base FOLDER, --base FILE "
        "or --base HUB/ID"
    )


def _is_hub_id(name: str) -> bool:
    owner, slash, rest = name.partition("/")
    return bool(owner and slash and rest) and "/" not in rest and not name.startswith((".", "~")) and "\\" not in name


def _known() -> dict[str, dict[str, str | None]]:
    """Fingerprint -> place; empty where the file is damaged, since the user can name the bases again."""
    try:
        places = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(places, dict):
        return {}
    return {
        key: place for key, place in places.items() if isinstance(place, dict) and isinstance(place.get("source"), str)
    }


def _whole(config: str | Path | None) -> str | None:
    if config is None:
        return None
    path = Path(config).expanduser()
    return str(path.resolve() if path.exists() else config)


def _file() -> Path:
    return cache_folder() / "bases.json"
