"""A bench with a suite of its own as one HTML page, and the same numbers as CSV and Markdown."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.core.escaping import Markup, html, html_page, html_table, join_html
from limner.core.wording import counted

from .report import _STYLE, _scrolling
from .suites import SUITES, Suite, number_of, table_csv, table_markdown

__all__ = ["page", "table_csv", "table_markdown"]

COSTS = (
    ("seconds", "s to learn", 1.0),
    ("seconds_per_picture", "s a picture", 1.0),
    ("steps", "steps", 1.0),
    ("parameters", "parameters", 1.0),
    ("bytes", "kB stored", 1e-3),
)


def page(results: Mapping[str, Any], pictures: Path | None = None) -> Markup:
    """The whole page; it fetches nothing.

    results: as `read_suite` gives them
    pictures: the folder of the run
    """
    suite, plan = SUITES[results["suite"]], results["plan"]
    cases = dict.fromkeys(unit[suite.case] for unit in results["units"])
    versions = " · ".join(f"{name} {version}" for name, version in results["versions"].items())
    title = f"limner bench: {suite.title}"
    parts = [
        html("<h1>{}</h1>", title),
        html(
            '<p class="muted">{}, {}, seeds {}, base pocket · {} · {}</p>',
            counted(len(cases), suite.case),
            counted(plan["prompts"], "prompt"),
            json.dumps(plan["seeds"]),
            counted(len(results["units"]), "unit"),
            versions,
        ),
        *(html("<p>{}</p>", note) for note in suite.notes),
    ]
    for part in dict.fromkeys(row[suite.part] for row in results["summary"]):
        own = [row for row in results["summary"] if row[suite.part] == part]
        parts += [html("<h2>{}</h2>", part), _scrolling(_numbers(own, suite)), _reasons(own), _costs(own)]
    parts += [
        html("<p class=muted>Mean over cases; below it, the 95 % interval of bootstrap samples of the cases.</p>"),
        html("<h2>By case</h2>"),
        _scrolling(_by_case(results, suite, list(cases))),
        html("<h2>Pictures</h2>"),
        *_pictures(results, suite, pictures),
    ]
    return html_page(title, _STYLE, parts)


def _numbers(rows: list[dict[str, Any]], suite: Suite) -> Markup:
    """The measures of one part, a row for each method that has some."""
    columns = [column for column in suite.columns if any(number_of(row, column.name) for row in rows)]
    head = join_html(html('<th title="{}">{}</th>', column.about, column.title) for column in columns)
    lines = [
        html("<tr><td>{}</td>{}</tr>", row["label"], join_html(_cell(number_of(row, c.name)) for c in columns))
        for row in rows
        if "numbers" in row
    ]
    return html("<table><tr><th></th>{}</tr>{}</table>", head, join_html(lines))


def _cell(number: Mapping[str, float] | None) -> Markup:
    if number is None:
        return html("<td>·</td>")
    if number["cases"] < 2:
        return html("<td>{:.2f}<br><small>1 case</small></td>", number["mean"])
    return html("<td>{mean:.2f}<br><small>{low:.2f}–{high:.2f}</small></td>", **number)


def _reasons(rows: list[dict[str, Any]]) -> Markup:
    """Why methods have no numbers."""
    lines = [html("<li><b>{}</b>: {}</li>", row["label"], row["why_not"]) for row in rows if "why_not" in row]
    return html("<ul>{}</ul>", join_html(lines)) if lines else html("")


def _costs(rows: list[dict[str, Any]]) -> Markup:
    lines = [
        (row["label"], *(f"{row['cost'].get(key, 0) * scale:,.3g}" for key, _, scale in COSTS))
        for row in rows
        if row.get("cost")
    ]
    return html("<details><summary>Cost</summary>{}</details>", html_table(("", *(t for _, t, _ in COSTS)), lines))


def _by_case(results: Mapping[str, Any], suite: Suite, cases: list[str]) -> Markup:
    """The suite's main measure, by case."""
    lines = []
    for row in results["summary"]:
        own = [u for u in results["units"] if (u["label"], u[suite.part]) == (row["label"], row[suite.part])]
        values = {unit[suite.case]: unit.get("values", {}).get(suite.main) for unit in own}
        cells = ["·" if values.get(case) is None else f"{values[case]:.2f}" for case in cases]
        lines.append((row["label"], row[suite.part], *cells))
    return html_table((suite.main, suite.part, *cases), lines)


def _pictures(results: Mapping[str, Any], suite: Suite, folder: Path | None) -> list[Markup]:
    if folder is None or not folder.is_dir():
        return [html("<p class=muted>The bench's folder of pictures is not here.</p>")]
    parts = []
    for label in dict.fromkeys(unit["label"] for unit in results["units"]):
        figures = []
        for unit in (unit for unit in results["units"] if unit["label"] == label):
            path = folder / f"{unit['key']}.jpg"
            if path.exists():
                data = base64.b64encode(path.read_bytes()).decode()
                caption = f"{unit[suite.case]}, {unit[suite.part]}"
                figures.append(
                    html('<figure><img src="data:image/jpeg;base64,{}" alt=""><br>{}</figure>', data, caption)
                )
        row = '<details><summary>{}</summary><div class="row">{}</div></details>'
        parts.append(html(row, label, join_html(figures)))
    return parts
