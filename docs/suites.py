"""The suites of benches in the docs: a table of each, a method's own rows, and its pictures."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limner.core.wording import counted
from limner.evaluation.suites import BASE, SUITES, TRUTH, UNCHANGED, WORDS, read_suite, table_markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
SHEETS = ROOT / "docs" / "images" / "methods"
SIDE = 96  # pixels of a picture in a sheet
BASELINES = (BASE, WORDS, TRUTH, UNCHANGED)


def table(name: str) -> str:
    """The table of a suite (results/NAME.json): a row for each method and part."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return f"Not measured yet: `limner bench --suite {name}`, then `make docs`."
    text = _markdown(read_suite(path, name=name))
    return f"{text}\n\n`results/{name}.json`, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}."


def _markdown(record: dict[str, Any]) -> str:
    """The table of a suite's results, with the reasons below it in lines of at most 120 characters."""
    lines = table_markdown(record).split("\n")
    wrapped = (textwrap.fill(line, 120, subsequent_indent="  ") if line.startswith("* ") else line for line in lines)
    return "\n".join(wrapped)


def measured() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and results of every suite that was run."""
    for name in SUITES:
        if (RESULTS / f"{name}.json").exists():
            yield name, read_suite(RESULTS / f"{name}.json", name=name)


def of_method(method: str) -> list[str]:
    """The lines of a method's page that hold its scores in the suites, with the baselines of the same parts, and its
    pictures."""
    lines: list[str] = []
    for name, record in measured():
        suite = SUITES[name]
        own = [row for row in record["summary"] if row["method"] == method]
        if not own:
            continue
        parts = {row[suite.part] for row in own if "numbers" in row}
        baselines = [row for row in record["summary"] if row["method"] in BASELINES]
        shown = [*own, *(row for row in baselines if row[suite.part] in parts)]
        cases = {unit[suite.case] for unit in record["units"] if unit["method"] == method}
        lines += [
            f"In the suite of {suite.title} ({counted(len(cases), 'case')}, {record['plan']['prompts']} prompts each; "
            f"[measures](../judging.md)):",
            "",
            _markdown({**record, "summary": shown}),
            "",
        ]
        if (SHEETS / f"{method}-{name}.webp").exists():
            lines += [f"![pictures](../images/methods/{method}-{name}.webp)", ""]
            lines += [f"A {suite.case} of each {suite.part} in a row, a prompt in each column. Not selected.", ""]
    return lines


def standing(method: str) -> str:
    """The line of a page of a method that only suites measured: one case or a few cannot show that it is better than
    the base alone. Empty where no suite has it."""
    for name, record in measured():
        cases = {unit[SUITES[name].case] for unit in record["units"] if unit["method"] == method and "values" in unit}
        if cases:
            return f"**Experimental**: measured by `limner bench --suite {name}`, on {counted(len(cases), 'case')}."
    return ""


def sheets(name: str, folder: Path) -> None:
    """A sheet of pictures for every method of a suite: a row for each of its units, a picture for each prompt.

    name: the suite
    folder: the pictures of its run, such as out/bench/styles
    """
    from PIL import Image

    record = read_suite(RESULTS / f"{name}.json", name=name)
    for method in dict.fromkeys(unit["method"] for unit in record["units"] if unit["method"] not in BASELINES):
        files = [folder / f"{unit['key']}.jpg" for unit in record["units"] if unit["method"] == method]
        strips = [Image.open(file) for file in files if file.exists()]
        if not strips:
            continue
        prompts, gap = record["plan"]["prompts"], 2  # as `strip` sets them
        sheet = Image.new("RGB", (prompts * SIDE, len(strips) * SIDE), "white")
        for row, strip in enumerate(strips):
            side = (strip.height - (prompts - 1) * gap) // prompts
            for column in range(prompts):
                top = column * (side + gap)
                picture = strip.crop((0, top, side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                sheet.paste(picture, (column * SIDE, row * SIDE))
        sheet.save(SHEETS / f"{method}-{name}.webp", quality=80, method=6)
