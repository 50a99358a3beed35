"""The page of two people in one picture: each method's picture of the first couple, its leakage and its other scores,
from results/couples.json and the pictures of its run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.suites import QUALITY, SIDE
from limner.core.escaping import markdown_text
from limner.core.wording import counted
from limner.evaluation.suites import COUPLES, TRUTH, number_of, read_suite, text_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "couples.json"
SHEETS = ROOT / "docs" / "images" / "couples"
PEOPLE = "the-two-people"
GAP = 2  # between the pictures of a unit's sheet, as `strip` sets them
SHOWN = ("leakage", "swapped", "identity", "consistency", "present", "prompt")
"""Measures of the page's table, the least leakage first."""


def page() -> str:
    """The generated part of the page: the two people, and a row for each method and way, the least leakage first; then
    the reasons of those without numbers."""
    if not RESULTS.exists():
        return "Not measured yet: `limner bench --suite couples`, then `make docs`."
    record = read_suite(RESULTS, name=COUPLES.name)
    columns = {column.name: column.title for column in COUPLES.columns}
    first, count = record["units"][0]["couple"], len({unit["couple"] for unit in record["units"]})
    lines = [
        f"Numbers: {counted(count, 'couple')}, {record['plan']['prompts']} prompts each. Pictures: {first}, not selected.",
        "",
    ]
    if (SHEETS / f"{PEOPLE}.webp").exists():
        lines += [f"![the two people](images/couples/{PEOPLE}.webp)", ""]
    lines += [f"| | method | way | {' | '.join(columns[name] for name in SHOWN)} |", "|---" * (len(SHOWN) + 3) + "|"]
    measured = [row for row in record["summary"] if "numbers" in row]
    for row in sorted(measured, key=lambda row: (row["method"] == TRUTH, _leakage(row))):
        cells = " | ".join(text_of(number_of(row, name)) for name in SHOWN)
        lines.append(f"| {_picture(row)} | {markdown_text(row['label'])} | {row['way']} | {cells} |")
    absent = [row for row in record["summary"] if "why_not" in row]
    lines += ["", "Without numbers:", ""] if absent else []
    lines += [f"* {markdown_text(row['label'])}, {row['way']}: {markdown_text(row['why_not'])}" for row in absent]
    digest = hashlib.sha256(RESULTS.read_bytes()).hexdigest()[:12]
    return "\n".join([*lines, "", f"`results/couples.json`, SHA-256 {digest}."])


def _leakage(row: Mapping[str, Any]) -> float:
    number = number_of(row, "leakage")
    return 1.0 if number is None else number["mean"]


def _picture(row: Mapping[str, Any]) -> str:
    name = sheet_name(row)
    return f"![{row['way']}](images/couples/{name}.webp)" if (SHEETS / f"{name}.webp").exists() else ""


def sheet_name(about: Mapping[str, Any]) -> str:
    """Name of the sheet of a method and way, from a row or a unit."""
    return re.sub(r"[^a-z0-9_]+", "-", f"{about['label']}-{about['way']}".lower()).strip("-")


def sheets(folder: Path) -> None:
    """A sheet for every method and way of the first couple, a picture for each prompt, and one of the two people.

    folder: the pictures of the run, such as out/bench/couples
    """
    from PIL import Image

    from limner.evaluation.datasets.couples import couples

    record = read_suite(RESULTS, name=COUPLES.name)
    SHEETS.mkdir(parents=True, exist_ok=True)
    first, prompts = record["units"][0]["couple"], record["plan"]["prompts"]
    for unit in record["units"]:
        if unit["couple"] != first or not (folder / f"{unit['key']}.jpg").exists():
            continue
        with Image.open(folder / f"{unit['key']}.jpg") as strip:
            side = (strip.height - (prompts - 1) * GAP) // prompts
            tops = [k * (side + GAP) for k in range(prompts)]
            _row([strip.crop((0, top, side, top + side)) for top in tops]).save(
                SHEETS / f"{sheet_name(unit)}.webp", quality=QUALITY, method=6
            )
    couple = next(each for each in couples() if each.name == first)
    _row([member.images[0] for member in couple.members]).save(SHEETS / f"{PEOPLE}.webp", quality=QUALITY, method=6)


def _row(pictures: Any) -> Any:
    """Pictures side by side."""
    from PIL import Image

    sheet = Image.new("RGB", (len(pictures) * SIDE, SIDE), "white")
    for column, picture in enumerate(pictures):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (column * SIDE, 0))
    return sheet
