"""Values and files that no honest client sends."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

MARK = "limnerxss"
"""Part of every script that a page must never hold unescaped."""
SCRIPTS = (
    f"<script>{MARK}()</script>",
    f"<img src=x onerror={MARK}()>",
    f'"><svg onload={MARK}()>',
    f"javascript:{MARK}()",
    f"'-{MARK}()-'",
    f"{{{{ {MARK}.__class__ }}}}",
    f"</title><script>{MARK}()</script>",
    f"<zippy><iframe srcdoc='<script>{MARK}()</script>'>",
)
CLIMBS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "..\\..\\windows\\win.ini",
    "%00",
    "~/.ssh/id_rsa",
    "studio.db",
    "/proc/self/environ",
    "a" * 3000,
)


def odd_value(chance: random.Random) -> Any:
    """A value of the wrong kind, size or sign."""
    nested: Any = 1
    for _ in range(chance.choice((5, 60))):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    return chance.choice(
        (
            None,
            True,
            -1,
            0,
            10**30,
            -(10**30),
            1e308,
            0.1,
            "",
            "\x00",
            "a" * 10_000,
            "‮\u202e\ufeff",
            "\ud7ff",
            [],
            {},
            [None] * 500,
            nested,
            chance.choice(SCRIPTS),
            chance.choice(CLIMBS),
            "'; DROP TABLE users; --",
            "9" * 400,
            {"$ne": None},
            "NaN",
            "<zippy>" * 500,
        )
    )


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _honest(chance: random.Random) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: tuple[Callable[[random.Random], tuple[str, bytes]], ...] = (
    lambda c: ("bomb.png", png(60_000, 60_000, zlib.compress(b"\0" * 20_000_000))),
    lambda c: ("huge.png", png(2**31 - 1, 2**31 - 1, b"")),
    lambda c: ("zero.png", png(0, 0, b"")),
    lambda c: ("cut.png", _honest(c)[: c.randrange(1, 400)]),
    lambda c: ("noise.jpg", bytes(c.randrange(256) for _ in range(2000))),
    lambda c: ("empty.png", b""),
    lambda c: ("drawing.svg", f"<svg xmlns='http://www.w3.org/2000/svg' onload='{MARK}()'/>".encode()),
    lambda c: ("page.html", f"<script>{MARK}()</script>".encode()),
    lambda c: ("pickle.safetensors", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
    lambda c: ("long.safetensors", struct.pack("<Q", 2**62) + b"{}"),
    lambda c: ("../../../tmp/x.png", _honest(c)[:-20]),
    lambda c: (f"{SCRIPTS[1]}.png", b"GIF89a" + bytes(40)),
    lambda c: ("a" * 400 + ".png", b"\xff\xd8\xff\xe0" + bytes(50)),
    lambda c: ("archive.zip", b"PK\x03\x04" + bytes(60)),
    lambda c: ("deep.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(200)),
)
