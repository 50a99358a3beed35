"""The picture of the rooms: which folder of `src/limner/` imports which, drawn from the imports themselves.

python -m docs.rooms    write docs/images/rooms.svg (`make docs` does so too)
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "limner"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

ROOMS = {
    "errors": "the tree of exceptions",
    "core": "the vocabulary: recipe, method, subject, concept, picture, base",
    "pocket": "the embedded toy world, its judges and weights",
    "bases": "generators behind one interface; a module for each family",
    "engine": "attach, train, sample; several subjects stacked",
    "parts": "components of recipes: modifiers, sources, objectives, guidance",
    "data": "folders, shards and tables of pictures; masks and captions",
    "evaluation": "encoders, metrics, data sets, scores, reports",
    "methods": "one file for each published method",
    "library": "opening concepts; settings of methods",
    "formats": "weight files of other tools",
    "workflows": "learn, paint, score, bench, certify, publish",
    "apps": "the command line",
}
"""Room -> its contents in a few words, from the ground up."""

LEFT, TOP, ROW, COLUMN = 690, 120, 34, 30
DOWN, UP = "#2f6690", "#d9822b"


def imports() -> Counter[tuple[str, str]]:
    """(importing room, imported room) -> number of import statements."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(path)
        if room in ROOMS:
            counts.update((room, other) for other in imported(path) if other in ROOMS and other != room)
    return counts


def room_of(path: Path) -> str:
    """The first folder under `src/limner/`, or the module that stands there."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """The room of every import in a file, wherever in the file it stands."""
    package = ("limner", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else ()
            full = [*home, *(node.module or "").split(".")]
            names = [part for part in full if part]
            if names[:1] == ["limner"]:
                yield from [names[1]] if len(names) > 1 else (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("limner."))


def picture() -> str:
    """The SVG: a row for each room with the ground at the bottom, and a dot for each room that it imports."""
    counts, rooms = imports(), list(ROOMS)
    up = [pair for pair in counts if rooms.index(pair[0]) < rooms.index(pair[1])]
    width, height = LEFT + COLUMN * len(rooms) + 40, TOP + ROW * len(rooms) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="20" y="34" font-size="18" font-weight="bold">The rooms of src/limner</text>',
        '<text x="20" y="58" fill="#555">A dot: the room of this row imports the room of that column, '
        "which lies below.</text>",
        f'<text x="20" y="80" fill="{UP}">Orange: still up, one by one in tests/test_rooms.py.</text>' if up else "",
    ]
    for column, room in enumerate(rooms):
        x = LEFT + COLUMN * column + COLUMN / 2
        lines.append(f'<text x="{x}" y="{TOP - 8}" transform="rotate(-45 {x} {TOP - 8})" fill="#333">{room}</text>')
    for row, room in enumerate(reversed(rooms)):
        lines += row_of(row, room, rooms, counts)
    return "\n".join([line for line in lines if line] + ["</svg>"]) + "\n"


def row_of(row: int, room: str, rooms: list[str], counts: Counter[tuple[str, str]]) -> list[str]:
    """The box of a room and its dots, whose area grows with the number of imports."""
    y = TOP + ROW * row
    lines = [
        f'<rect x="20" y="{y + 3}" width="{LEFT - 40}" height="{ROW - 6}" rx="5" fill="#eef3f8" stroke="#9db4c8"/>',
        f'<text x="34" y="{y + 22}" font-weight="bold">{room}</text>',
        f'<text x="140" y="{y + 22}" fill="#333">{escape(ROOMS[room])}</text>',
    ]
    for column, other in enumerate(rooms):
        x, count = LEFT + COLUMN * column + COLUMN / 2, counts[room, other]
        if other == room:
            lines.append(f'<rect x="{x - 5}" y="{y + 12}" width="10" height="10" fill="#9db4c8"/>')
        elif count:
            radius = min(11.0, 2.5 + 0.9 * count**0.5)
            title = f"<title>{room} imports {other}: {count}</title>"
            colour = DOWN if column < rooms.index(room) else UP
            lines.append(f'<circle cx="{x}" cy="{y + 17}" r="{radius:.1f}" fill="{colour}">{title}</circle>')
    return lines


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
