"""The suites of benches in the docs: a table of each, a method's own rows, and its pictures."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.core.wording import counted
from limner.evaluation.report import table_markdown as faces_markdown
from limner.evaluation.results import read_results
from limner.evaluation.suites import BASE, SUITES, TRUTH, UNCHANGED, WORDS, read_suite, table_markdown
from limner.evaluation.summary import TITLES
from limner.evaluation.table1 import LIKENESS_HEADS, TASKS, by_label, read_table1
from limner.workflows.bench.plan import FACES

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
SHEETS = ROOT / "docs" / "images" / "methods"
SIDE = 96  # pixels of a picture in a sheet
QUALITY = 60  # WebP's, of a sheet
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
        # renders of two subjects have no way of painting, and stand beside all ways
        shown = [*own, *(row for row in baselines if row[suite.part] in (*parts, row["method"]))]
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
    return [*lines, *faces_of(method), *table1_of(method)]


def standing(method: str) -> str:
    """The line of a page of a method that only suites measured: one case or a few cannot show that it is better than
    the base alone. Empty where no suite has it."""
    for name, record in measured():
        cases = {unit[SUITES[name].case] for unit in record["units"] if unit["method"] == method and "values" in unit}
        if cases:
            return f"**Experimental**: measured by `limner bench --suite {name}`, on {counted(len(cases), 'case')}."
    if people := {unit["case"] for unit in (_faces() or {"units": []})["units"] if unit["method"] == method}:
        return f"**Experimental**: measured by `limner bench --suite faces`, on {counted(len(people), 'case')}."
    return ""


# ---------------------------------------------------------------------------------------------------- faces and table 1


def _faces() -> dict[str, Any] | None:
    """The results of the suite of faces; None where it was not run."""
    path = RESULTS / "faces.json"
    return read_results(path) if path.exists() else None


def faces_table() -> str:
    """The table of the suite of faces (results/faces.json): a row for each method."""
    record = _faces()
    if record is None:
        return "Not measured yet: `limner bench --suite faces`, then `make docs`."
    digest = hashlib.sha256((RESULTS / "faces.json").read_bytes()).hexdigest()[:12]
    return f"{_plainly(record)}\n\n{_about_faces(record)} `results/faces.json`, SHA-256 {digest}."


def faces_of(method: str) -> list[str]:
    """The lines of a method's page with its scores on held-out people, beside the baselines, and its pictures."""
    record = _faces()
    if record is None or not any(row["method"] == method for row in record["summary"].values()):
        return []
    shown = {n: row for n, row in record["summary"].items() if row["method"] in (method, *TITLES)}
    lines = [f"In the suite of faces. {_about_faces(record)} ([measures](../judging.md))", ""]
    lines += [_plainly({**record, "summary": shown}), ""]
    if (SHEETS / f"{method}-faces.webp").exists():
        lines += [f"![pictures](../images/methods/{method}-faces.webp)", "", "A person in each row. Not selected.", ""]
    return lines


def _about_faces(record: Mapping[str, Any]) -> str:
    people, plan = len({unit["case"] for unit in record["units"]}), record["plan"]
    seeds = counted(len(plan["seeds"]), "seed")
    return f"{counted(people, 'held-out person', 'held-out people')}, {plan['prompts']} prompts each, {seeds}."


def _plainly(record: Mapping[str, Any]) -> str:
    """The table of a bench of faces with the names of baselines in the words of these pages."""
    text = faces_markdown(record, columns=FACES).rstrip()
    for name, plain in TITLES.items():
        text = text.replace(f"| {name} |", f"| {plain} |")
    return text


def table1_of(method: str) -> list[str]:
    """The lines of a method's page with its rows of Table 1: measured here, and as published."""
    path = RESULTS / "table1.json"
    if not path.exists():
        return []
    record = read_table1(path)
    lines: list[str] = []
    for task in TASKS:
        known = by_label(task)
        for row in record["rows"][task]:
            if row["method"] == method and "numbers" in row:
                here, there = row["numbers"], known[row["row"]]
                lines.append(
                    f"| {row['row']}, {task}s | {_or_dash(here.get('clip_t'))} | {_or_dash(here.get('likeness'))} | "
                    f"{_or_dash(here.get('F'))} | {_or_dash(here.get('T'))} | {there.clip_t:.3f} | {there.likeness:.3f} |"
                )
    if not lines:
        return []
    likeness = " or ".join(dict.fromkeys(LIKENESS_HEADS[task] for task in TASKS))
    head = f"| | CLIP-T | {likeness} | F | T | CLIP-T, published | likeness, published |"
    about = "In [Table 1](../table1.md) of the survey, under one protocol; the published numbers are of other bases:"
    return [about, "", head, "|---" * 7 + "|", *lines, ""]


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def face_sheets(folder: Path) -> None:
    """A sheet of pictures for every method of the suite of faces: a row for each person, a picture for each prompt.

    folder: the pictures of its run, such as out/bench/faces
    """
    record = _faces()
    assert record is not None
    for method in dict.fromkeys(unit["method"] for unit in record["units"]):
        files = [folder / f"{unit['key']}.jpg" for unit in record["units"] if unit["method"] == method]
        if method not in TITLES:
            _sheet([file for file in files if file.exists()], record["plan"]["prompts"], f"{method}-faces")


def sheets(name: str, folder: Path) -> None:
    """A sheet of pictures for every method of a suite: a row for each of its units, a picture for each prompt.

    name: the suite
    folder: the pictures of its run, such as out/bench/styles
    """
    record = read_suite(RESULTS / f"{name}.json", name=name)
    for method in dict.fromkeys(unit["method"] for unit in record["units"] if unit["method"] not in BASELINES):
        files = [folder / f"{unit['key']}.jpg" for unit in record["units"] if unit["method"] == method]
        _sheet([file for file in files if file.exists()], record["plan"]["prompts"], f"{method}-{name}")


def _sheet(files: Sequence[Path], prompts: int, name: str) -> None:
    """A sheet with a row for each unit's file, a picture for each prompt; none without files."""
    from PIL import Image

    if not files:
        return
    gap = 2  # as `strip` sets them
    sheet = Image.new("RGB", (prompts * SIDE, len(files) * SIDE), "white")
    for row, file in enumerate(files):
        with Image.open(file) as strip:
            side = (strip.height - (prompts - 1) * gap) // prompts
            for column in range(prompts):
                top = column * (side + gap)
                picture = strip.crop((0, top, side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                sheet.paste(picture, (column * SIDE, row * SIDE))
    sheet.save(SHEETS / f"{name}.webp", quality=QUALITY, method=6)
