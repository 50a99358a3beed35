"""Seeded ways to damage bytes, JSON values and texts."""

from __future__ import annotations

import copy
import random
import struct
from typing import Any

HUGE = (10**12, 2**31, 2**63, -1, 10**400)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), -1e308, *HUGE, "", "x" * 3000, "../../escaped", "/etc/passwd", "~/x",
    "a\0b", "\ud800", "<script>", "pack/readme.py:x", "{noun.__class__}", [], {}, [[]], [None], {"": None}, "org/model", "<rex>", "\n",
)  # fmt: skip
"""Values that no field expects, one of each kind that somebody once met."""
MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBP",
    b"II*\0",
    b"%!PS-Adobe",
    b"PK\x03\x04",
    b"\x80\x04",
    b"ustar",
)


def damaged_bytes(data: bytes, rng: random.Random, *, head: int = 0) -> bytes:
    """One to four changes: a bit, a byte, a number, a piece cut out, put in, doubled, moved, or the end cut off. Half
    of them fall into the first `head` bytes, where a format says what follows."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        top = min(head, len(found)) if head and rng.random() < 0.5 else len(found)
        at = rng.randrange(max(top, 1))
        other = rng.randrange(max(len(found), 1))
        match rng.randrange(10):
            case 0 if found:
                found[at % len(found)] ^= 1 << rng.randrange(8)
            case 1:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                found[at : at + 4] = struct.pack(
                    rng.choice("<>") + "I", rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 40_000))
                )
            case 3:
                found[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**40, 2**63, 2**64 - 1)))
            case 4:
                del found[at:]
            case 5:
                del found[at : at + rng.randint(1, 64)]
            case 6:
                found[at:at] = rng.randbytes(rng.randint(1, 40))
            case 7:
                found[at:at] = found[other : other + rng.randint(1, 200)]
            case 8:
                found[at : at + 16], found[other : other + 16] = found[other : other + 16], found[at : at + 16]
            case _:
                found[at : at + 1] = rng.choice(MAGIC)
    return bytes(found)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three of its places changed: of another type, huge, deep, gone, renamed or
    added."""
    found = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(found))
        if not places:
            return odd(rng)
        holder, key = rng.choice(places)
        match rng.randrange(7):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[str(key) + rng.choice(("s", "_", "\0", "x" * 600))] = holder.pop(key)
            case 2 if isinstance(holder, dict):
                holder[rng.choice(("method", "trusted", "extra", "scale", "__class__"))] = odd(rng)
            case 3 if isinstance(holder[key], str) and holder[key]:
                holder[key] = damaged_text(holder[key], rng)
            case 4 if isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
                holder[key] = rng.choice(
                    (
                        holder[key] + 1,
                        -holder[key],
                        holder[key] * 10**9,
                        float(holder[key]) if abs(holder[key]) < 1e300 else 0.0,
                    )
                )
            case 5:
                holder[key] = [holder[key]] * rng.randint(0, 3)
            case _:
                holder[key] = odd(rng)
    return found


def odd(rng: random.Random) -> Any:
    """A value that is not expected; seldom one that is very deep."""
    if rng.random() < 0.05:
        deep: Any = 0
        for _ in range(rng.choice((20, 60, 400))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    return copy.deepcopy(rng.choice(ODD))


def damaged_text(text: str, rng: random.Random) -> str:
    """A text with letters changed, doubled, left out, or something put in that other languages read."""
    put = (
        "<",
        ">",
        "{}",
        "{0}",
        "%s",
        "\0",
        "\u202e",
        "\ufeff",
        "é",
        "日本",
        "\U0001f600",
        "\ud800",
        "..",
        "/",
        "\n",
        "\r",
        '"',
        "'",
        ",",
        ";",
        ":",
        "9" * 5000,
        "((",
        "]]",
        "\t",
    )
    found = list(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0:
                found[at : at + 1] = [chr(rng.randrange(1, 0x250))]
            case 1:
                del found[at : at + rng.randint(1, 8)]
            case 2:
                found[at:at] = found[: rng.randint(0, 20)]
            case _:
                found[at:at] = [rng.choice(put)]
    return "".join(found)


def _places(value: Any) -> Any:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield value, key
        yield from _places(below)
