"""Small copies of stored pictures, for lists."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import Any, Protocol

from starlette.responses import Response

from limner.core.decoding import decoded, picture_size

from .uploads import room_for

SIZES = (64, 128, 256, 512, 1024)
MOST_BYTES = 64_000_000  # small copies in memory, together


class Thumbnails:
    """The small copies that were asked for last."""

    def __init__(self) -> None:
        self.copies: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self.num_bytes, self.lock = 0, threading.Lock()

    def get(self, key: tuple[str, int]) -> bytes | None:
        with self.lock:
            if key in self.copies:
                self.copies.move_to_end(key)
            return self.copies.get(key)

    def put(self, key: tuple[str, int], data: bytes) -> None:
        with self.lock:
            if key not in self.copies:
                self.copies[key] = data
                self.num_bytes += len(data)
            while self.num_bytes > MOST_BYTES:
                self.num_bytes -= len(self.copies.popitem(last=False)[1])


class Services(Protocol):
    """The parts of the server's services that are used here."""

    files: Any
    thumbnails: Thumbnails


def thumbnail(services: Services, sha256: str, size: int) -> Response:
    """A stored picture reduced to fit into a square, as WebP. `size` is rounded up to one of `SIZES`."""
    size = next((each for each in SIZES if each >= size), SIZES[-1])
    data = services.thumbnails.get((sha256, size))
    if data is None:
        stored = services.files.read(sha256)
        width, height = picture_size(stored, name="the picture")
        with room_for(width * height):
            image = decoded(stored, name="the picture").rgb
            image.thumbnail((size, size))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=85)
        data = buffer.getvalue()
        services.thumbnails.put((sha256, size), data)
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(data, media_type="image/webp", headers=headers)
