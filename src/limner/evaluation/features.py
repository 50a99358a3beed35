"""Features by the content of the picture and the network that made them, in one SQLite file of the cache folder."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from limner.core.cache import cache_folder

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

NAME = "features.sqlite"
VERSION = 1


def cached_features(
    network: tuple[str, ...], images: Sequence[Image.Image], make: Callable[[Sequence[Image.Image]], Tensor]
) -> Tensor:
    """[N, D] float32: `make` is called once, with the pictures that this network has not seen. Order is kept.

    A cache that cannot be read or written only costs the time to make the features again.
    """
    import torch

    if not images:
        raise ValueError("there are no pictures to look at")
    keys = [_key(network, image) for image in images]
    known = _read(set(keys))
    new = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
    if new:
        made = make(list(new.values()))
        fresh = dict(zip(new, made, strict=True))
        known |= fresh
        _write(fresh)
    return torch.stack([known[key] for key in keys])


def _key(network: tuple[str, ...], image: Image.Image) -> str:
    digest = hashlib.sha256(repr((VERSION, *network, image.mode, image.size)).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _connect() -> sqlite3.Connection:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(folder / NAME, timeout=20)
    db.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    return db


def _read(keys: set[str]) -> dict[str, Tensor]:
    import numpy as np
    import torch

    vectors: dict[str, Tensor] = {}
    try:
        with closing(_connect()) as db:
            for key in keys:
                row = db.execute("SELECT value FROM features WHERE key = ?", (key,)).fetchone()
                if row:
                    vectors[key] = torch.from_numpy(np.frombuffer(row[0], dtype=np.float32).copy())
    except (sqlite3.Error, OSError):
        return {}
    return vectors


def _write(features: dict[str, Tensor]) -> None:
    rows = [(key, value.detach().cpu().float().numpy().tobytes()) for key, value in features.items()]
    try:
        with closing(_connect()) as db, db:
            db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
    except (sqlite3.Error, OSError):
        return
