"""The suite table1 as a page, as Markdown and as CSV: our table, the published one beside it, and how they compare."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.core.escaping import Markup, html, html_page, html_table, join_html, markdown_text
from limner.core.wording import counted

from .report import _STYLE, _costs, _diagnoses, _pictures, _scrolling, cost_plot, plane
from .survey import differences, explanation, rows_of
from .table1 import COLUMNS, LIKENESS_HEADS, TASKS, Row, about_missing, by_label, places

TITLES = {"object": "Objects", "face": "Faces"}
SOURCE = "arXiv:2405.05538"
HEADS = {"clip_t": "CLIP-T ↑", "F": "F ↑", "T": "T ↑", "H": "H ↑", "copy_index": "copying ↓"}
COST_HEADS = {
    "seconds": ("s to learn", 1.0),
    "seconds_per_picture": ("s a picture", 1.0),
    "bytes": ("kB", 1e-3),
    "pretraining_steps": ("steps of pre-training", 1.0),
}
APART = (
    f"The published numbers are those of Table 1 of the survey {SOURCE}: other bases, subjects and encoders, and not one "
    "protocol for all rows. Values of the two tables cannot be compared; their order can."
)
SHARED = (
    "Here every row has the same prompts, seeds, base and judges; CLIP-T reads the canonical prompt (the class noun for the "
    "subject) whatever the method's own prompt is, and likeness is measured on pictures that were held out from learning. "
    "Where the table has one method on two bases, both rows hold its one measurement."
)


def table_markdown(results: Mapping[str, Any]) -> str:
    """Everything as Markdown: for each task our table, the published one, rank correlations, and the differences of
    protocol."""
    return "\n".join([SHARED, "", APART, ""] + [_task_markdown(results, task) for task in TASKS])


def _task_markdown(results: Mapping[str, Any], task: str) -> str:
    rows, part = results["rows"][task], results["parts"].get(task)
    blocks = [f"## {TITLES[task]}", "### Measured here", about_part(part), _markdown(*measured_table(task, rows))]
    absent = absent_rows(rows)
    blocks += [absent] if absent else []
    blocks += [f"### Published ({SOURCE}, Table 1)", _markdown(*published_table(task))]
    blocks += ["### Rank correlation", _markdown(*correlation_table(task, results["correlations"][task]))]
    blocks += ["### Differences of protocol", explanation(rows_of(task)), _markdown(*difference_table(task, rows))]
    return "\n\n".join(blocks) + "\n"


def protocol_markdown() -> str:
    """The published numbers and their protocols, without any measurement."""
    blocks = []
    for task in TASKS:
        blocks += [f"## {TITLES[task]}", f"### Published ({SOURCE}, Table 1)", _markdown(*published_table(task))]
        blocks += ["### Differences of protocol", explanation(rows_of(task)), _markdown(*difference_table(task, ()))]
    return "\n\n".join(blocks)


def table_csv(results: Mapping[str, Any]) -> str:
    """Our numbers, one line for each."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["task", "row", "method", "number", "mean"])
    for task in TASKS:
        for row in results["rows"][task]:
            about = (task, row["row"], row["method"])
            writer.writerows((*about, name, value) for name, value in row.get("numbers", {}).items())
            writer.writerows((*about, f"cost {name}", value) for name, value in row.get("cost", {}).items())
    return out.getvalue()


def page(results: Mapping[str, Any], pictures: Path | None = None) -> Markup:
    """The whole page; it fetches nothing.

    results: as `read_table1` gives them
    pictures: the folder of the run, with a folder for each task
    """
    parts = [html("<h1>limner bench: Table 1</h1>"), html("<p>{}</p>", SHARED), html("<p>{}</p>", APART)]
    for task in TASKS:
        parts += _task_html(results, task, pictures)
    return html_page("limner bench: Table 1", _STYLE, parts)


def _task_html(results: Mapping[str, Any], task: str, pictures: Path | None) -> list[Markup]:
    rows, part = results["rows"][task], results["parts"].get(task)
    beside = '<div class="row"><div><h3>Measured here</h3>{}</div><div><h3>Published ({}, Table 1)</h3>{}</div></div>'
    tables = _html(*measured_table(task, rows)), SOURCE, _html(*published_table(task))
    blocks = [
        html("<h2>{}</h2>", TITLES[task]),
        html("<p class=muted>{}</p>", about_part(part)),
        _scrolling(html(beside, *tables)),
        html("<p>{}</p>", absent_rows(rows)),
        html("<h3>Rank correlation</h3>"),
        _html(*correlation_table(task, results["correlations"][task])),
        html("<h3>Differences of protocol</h3>"),
        html("<p>{}</p>", explanation(rows_of(task))),
        _scrolling(_html(*difference_table(task, rows))),
    ]
    if part is not None and part["units"]:
        summary, folder = part["summary"], pictures / task if pictures else None
        blocks += [
            html("<h3>Fidelity against alignment, and cost</h3>"),
            html('<div class="row">{}{}</div>', plane(summary), cost_plot(summary)),
            _scrolling(_costs(summary)),
            html("<h3>Diagnosis</h3>"),
            _diagnoses(summary),
            html("<h3>Pictures</h3>"),
            *_pictures(part, folder),
        ]
    return blocks


def about_part(part: Mapping[str, Any] | None) -> str:
    """A sentence on the size of a task's bench.

    part: its results, or None where nothing of the task was run
    """
    if part is None:
        return "Nothing of this task was run."
    plan, subjects = part["plan"], len({unit["case"] for unit in part["units"]})
    pictures = counted(len(plan["seeds"]), "picture")
    prompts = counted(min(plan["prompts"], _num_prompts(part)), "prompt")
    text = f"Data set {part['set']['name']}: {counted(subjects, 'subject')}, {prompts}, {pictures} of each, base {plan['base']}."
    absent = len(part["set"]["absent"])
    return (
        f"{text} {counted(absent, 'prompt or subject', 'prompts or subjects')} of the set could not be used."
        if absent
        else text
    )


def _num_prompts(part: Mapping[str, Any]) -> int:
    """Prompts of each subject, by the number of its judged pictures."""
    seeds = len(part["plan"]["seeds"])
    counts = [len(unit["each"]["F"]) // seeds for unit in part["units"] if "each" in unit]
    return max(counts, default=int(part["plan"]["prompts"]))


def absent_rows(rows: Sequence[Row]) -> str:
    """A sentence that names the rows without numbers, and why; empty where every row has some."""
    absent = about_missing(rows)
    if not absent:
        return ""
    return "No numbers: " + "; ".join(f"{name} ({why})" for name, why in absent.items()) + "."


# --------------------------------------------------------------------------------------------------------------- tables

Table = tuple[list[str], list[list[str]]]
"""Heads, and the cells of each row, as plain text; a cell between backquotes is code."""


def measured_table(task: str, rows: Sequence[Row]) -> Table:
    """Our numbers and costs.

    task: "object" or "face"
    rows: those of `measured_rows`
    """
    columns = [LIKENESS_HEADS[task] + " ↑" if c == "likeness" else HEADS[c] for c in COLUMNS]
    head = ["row", "method", *columns, *(title for title, _ in COST_HEADS.values())]
    cells = []
    for row in rows:
        numbers, cost = row.get("numbers", {}), row.get("cost")
        values = [f"{numbers[c]:.3f}" if c in numbers else "·" for c in COLUMNS]
        spent = [f"{cost[name] * scale:,.3g}" if cost else "·" for name, (_, scale) in COST_HEADS.items()]
        cells.append([row["row"], f"`{row['concept'] or row['method']}`", *values, *spent])
    return head, cells


def published_table(task: str) -> Table:
    """The survey's numbers, as printed."""
    head = ["row", "framework", "base", "CLIP-T ↑", "CLIP-I ↑" if task == "object" else "FaceNet ↑"]
    cells = [[r.label, r.framework, r.base, f"{r.clip_t:.3f}", f"{r.likeness:.3f}"] for r in rows_of(task)]
    return head, cells


def correlation_table(task: str, correlations: Sequence[Row]) -> Table:
    """Rank correlation of each of our columns with the two published ones.

    task: "object" or "face"
    correlations: those of `limner.evaluation.table1.correlations`
    """
    likeness = "CLIP-I" if task == "object" else "FaceNet"
    head = ["our column", "with published CLIP-T", f"with published {likeness}", "rows"]
    cells = []
    for column in COLUMNS:
        own = {c["published"]: c for c in correlations if c["ours"] == column}
        values = [
            "·" if own[name]["value"] is None else f"{own[name]['value']:+.2f}" for name in ("clip_t", "likeness")
        ]
        title = LIKENESS_HEADS[task] if column == "likeness" else HEADS[column].rstrip(" ↑↓")
        cells.append([title, *values, str(own["clip_t"]["rows"])])
    return head, cells


def difference_table(task: str, rows: Sequence[Row]) -> Table:
    """How the protocol of each published row differs from this bench's, with its places in both tables.

    task: "object" or "face"
    rows: ours; without any, no places are shown
    """
    text, image = places(task, rows, "clip_t"), places(task, rows, "likeness")
    likeness = "CLIP-I" if task == "object" else "FaceNet"
    by = [f"place by {name}, published → here" for name in ("CLIP-T", likeness)]
    head = ["row", *(by if rows else []), "the published row's protocol"]
    cells = []
    for label, published in by_label(task).items():
        moved = [_places(text.get(label)), _places(image.get(label))] if rows else []
        protocol = "; ".join(differences(published)) or "as here, as far as the script says"
        cells.append([label, *moved, protocol])
    return head, cells


def _places(pair: tuple[int, int] | None) -> str:
    return "·" if pair is None else f"{pair[0]} → {pair[1]}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return html_table(head, [[join_html(_marked(cell)) for cell in row] for row in rows])


def _marked(text: str) -> list[object]:
    """A cell's text as HTML: pieces between backquotes are code."""
    return [html("<code>{}</code>", piece) if k % 2 else piece for k, piece in enumerate(text.split("`"))]


def _cell(text: str) -> str:
    """A cell's text escaped for Markdown, but for what stands between backquotes."""
    return "".join(f"`{piece}`" if k % 2 else _escaped(piece) for k, piece in enumerate(text.split("`")))


def _escaped(text: str) -> str:
    """`markdown_text` that keeps a space at either end."""
    inner = text.strip()
    start, _, end = text.partition(inner) if inner else (text, "", "")
    return f"{start}{markdown_text(inner)}{end}"
