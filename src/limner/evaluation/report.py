"""`report`: one self-contained HTML page about a bench, and the same numbers as CSV and Markdown."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, LiteralString

from limner.core.escaping import Markup, html, html_page, html_table, join_html, markdown_text
from limner.core.files import COMMENT, check_place, write_text
from limner.core.wording import counted
from limner.errors import FileError

from .diagnose import ADVICE
from .results import read_results
from .suites import SUITES, read_suite
from .summary import MARKS, POLICIES
from .survey import SURVEY
from .table1 import SUITE, read_table1, suite_of
from .tradeoff import front

COLUMNS = (
    ("H", "H ↑", "2FT / (F+T): harmonic mean of fidelity and alignment"),
    ("F", "F ↑", "anchored fidelity: 0 is the base, 1 is how alike real pictures of the subject are"),
    ("T", "T ↑", "anchored alignment: 0 is a copier of the references, 1 is what the base can follow"),
    ("J", "J ↑", "share of pictures with F and T of a half at least"),
    ("obeyed", "prompt accuracy ↑", "share of pictures with the scene and exactly the accessories asked for"),
    ("identity", "identity ↑", "cosine of the identity network"),
    ("clip_i", "CLIP-I ↑", "cosine of CLIP"),
    ("dino_i", "DINO-I ↑", "cosine of a self-supervised ViT"),
    ("clip_t", "CLIP-T ↑", "cosine with the canonical prompt"),
    ("copy_index", "copy ↓", "1 nearer to a training picture, -1 to another real one"),
    ("drift", "drift ↓", "change of pictures without the subject"),
)
OF_FACES = (
    ("face_identity", "face identity ↑", "cosine of the face network, 0 where it finds no face"),
    ("landmark_freedom", "freedom ↑", "the pose follows the prompt (1) or repeats a training picture (0)"),
)
"""Columns that only benches of faces have."""
COSTS = (
    ("seconds", "s to learn", 1.0),
    ("seconds_per_picture", "s a picture", 1.0),
    ("steps", "steps", 1.0),
    ("denoiser_rows", "denoiser rows", 1.0),
    ("parameters", "parameters", 1.0),
    ("bytes", "kB stored", 1e-3),
    ("peak_bytes", "MB peak", 1e-6),
    ("pretraining_steps", "steps of pre-training", 1.0),
)
COLOURS = ("#4878d0", "#ee854a", "#6acc64", "#d65f5f", "#956cb4", "#8c613c", "#dc7ec0", "#797979", "#d5bb67", "#82c6e2")
PAD = 40  # around a plot

_STYLE: LiteralString = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; color: #222; background: #fff }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem }
table { border-collapse: collapse; font-size: .9rem } td, th { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .muted { color: #777 } small { color: #888 }
img { image-rendering: auto; border-radius: 4px } details { margin: .4rem 0 } summary { cursor: pointer }
.scroll { overflow-x: auto } .row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: start }
figure { margin: 0; font-size: .8rem } svg text { font: 11px system-ui, sans-serif; fill: currentColor }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } td, th { border-color: #444 } }
"""


def report(results: Path | str, out: Path | str, *, pictures: Path | None = None, overwrite: bool = True) -> Path:
    """Write `out` (HTML), and beside it the same name in .csv and .md. `pictures` is the bench's folder.

    Raises `FileError` for results that are damaged, of another version or empty, and where one of the three files is
    there and was not written by limner.
    """
    record, out, shown = _read(Path(results)), Path(out), _shown_by(Path(results))
    csv_file, markdown = out.with_suffix(".csv"), out.with_suffix(".md")
    for path in (out, csv_file, markdown):
        check_place(path, overwrite=overwrite)
    text = shown.page(record, pictures)
    write_text(csv_file, shown.table_csv(record), overwrite=overwrite)
    write_text(markdown, f"{COMMENT}\n\n{shown.table_markdown(record)}", overwrite=overwrite)
    return write_text(out, text, overwrite=overwrite)


def _shown_by(results: Path) -> Any:
    """The module with the functions that show a results file: this one, or that of its suite."""
    suite = suite_of(results)
    name = "report_table1" if suite == SUITE else "report_suites" if suite in SUITES else "report"
    return import_module(f"limner.evaluation.{name}")


def _read(results: Path) -> dict[str, Any]:
    """A results file of a bench, of the suite table1 or of one of SUITES. Raises `FileError` for one without any
    concept."""
    suite = suite_of(results)
    if suite == SUITE or suite in SUITES:
        return read_table1(results) if suite == SUITE else read_suite(results)
    content = read_results(results)
    if not content["units"]:
        raise FileError(f"{results} holds no concept yet: run `limner bench`")
    return content


def page(record: Mapping[str, Any], pictures: Path | None = None) -> Markup:
    """The whole page; it fetches nothing."""
    plan = record["plan"]
    record = {**record, "summary": worn_fully(record["summary"])} | {"curves": curves(record["summary"])}
    summary = record["summary"]
    cases = list(dict.fromkeys(u["case"] for u in record["units"]))
    versions = " · ".join(f"{name} {version}" for name, version in record["versions"].items())
    parts = [
        html("<h1>limner bench</h1>"),
        html(
            '<p class="muted">{}: {}, {}, seeds {}, base {} · {} in {:.1f} minutes · {}</p>',
            record["set"]["name"],
            counted(len(cases), "subject"),
            counted(plan["prompts"], "prompt"),
            json.dumps(plan["seeds"]),
            plan["base"],
            counted(len(record["units"]), "likeness"),
            record["seconds"] / 60,
            versions,
        ),
        html("<h2>Leaderboard</h2>"),
        _scrolling(_leaderboard(summary)),
        html(
            "<p class=muted>Mean over subjects; below it, the 95 % interval of bootstrap samples of the subjects.</p>"
        ),
        html("<h2>Fidelity against alignment</h2>"),
        html('<div class="row">{}{}</div>', plane(summary), cost_plot(summary)),
        *_curves(record["curves"]),
        html("<h2>Above words</h2>"),
        html(
            "<p>Difference from the base with the subject's looks in the prompt (description baseline), paired over "
            "subjects.</p>"
        ),
        _above(summary),
        html("<h2>Diagnosis</h2>"),
        _diagnoses(summary),
        html("<h2>Cost</h2>"),
        _scrolling(_costs(summary)),
        html("<h2>By subject</h2>"),
        _scrolling(_by_subject(record, cases)),
        html("<h2>By prompt</h2>"),
        _scrolling(_by_prompt(record)),
        html("<h2>Correlation of the usual metrics with F and T</h2>"),
        html("<p>Rank correlation of each metric with F and with T over all pictures, good and bad.</p>"),
        _correlations(record["correlations"]),
        html("<h2>Pictures</h2>"),
        *_pictures(record, pictures),
        html("<h2>Published figures</h2>"),
        html(
            "<p>Table 1 of the survey arXiv:2405.05538: other bases, subjects and encoders, and not one protocol for all "
            "rows. They are for orientation and cannot be compared with the rows above.</p>"
        ),
        _survey(),
        html('<p class="muted">Gaps: {}</p>', _gaps(record)),
    ]
    return html_page("limner bench", _STYLE, parts)


def _scrolling(table: Markup) -> Markup:
    return html('<div class="scroll">{}</div>', table)


def table_markdown(
    record: Mapping[str, Any], columns: Sequence[str] = ("H", "F", "T", "obeyed", "identity", "clip_t")
) -> str:
    """The leaderboard as Markdown, best H first, policies that learn nothing last."""
    names = {key: title for key, title, _ in (*COLUMNS, *OF_FACES)}
    head = ["", *(names[c] for c in columns), "s to learn", "kB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, row in ordered(record["summary"]):
        cells = []
        for c in columns:
            n = row["numbers"].get(c)
            cells.append("" if n is None else with_interval(n))
        lines.append(
            f"| {markdown_text(label)} | {' | '.join(cells)} | {row['cost']['seconds']:.0f} | {row['cost']['bytes'] / 1e3:.0f} |"
        )
    return "\n".join(lines) + "\n"


def with_interval(number: Mapping[str, float], form: str = ".2f") -> str:
    """A mean with its interval over subjects; one subject has none."""
    mean, low, high = (format(number[name], form) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if is_interval(number) else f"{mean} (1 subject)"


def is_interval(number: Mapping[str, float]) -> bool:
    """Whether a number is a mean over more than one subject."""
    return number.get("subjects", 2) > 1


def table_csv(record: Mapping[str, Any]) -> str:
    """One line for each label and number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["label", "method", "number", "mean", "low", "high", "subjects", "spread"])
    for label, row in ordered(record["summary"]):
        for name, n in row["numbers"].items():
            writer.writerow(
                [label, row["method"], name, n["mean"], n["low"], n["high"], n["subjects"], n.get("spread", "")]
            )
        for name, value in row["cost"].items():
            writer.writerow([label, row["method"], f"cost {name}", value, "", "", "", ""])
    return out.getvalue()


def ordered(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """By falling H; what learns nothing comes last."""
    return sorted(
        summary.items(),
        key=lambda item: (item[1]["method"] in (*POLICIES, *MARKS), -item[1]["numbers"].get("H", {"mean": -1})["mean"]),
    )


def worn_fully(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Only concepts at strength 1."""
    return {label: row for label, row in summary.items() if row.get("scale", 1.0) == 1}


def curves(summary: Mapping[str, Any]) -> dict[str, list[tuple[float, Any]]]:
    """Rows at several strengths: label -> (strength, row), by rising strength."""
    rows_by_label: dict[str, list[tuple[float, Any]]] = {}
    for label, row in summary.items():
        if "F" in row["numbers"]:
            rows_by_label.setdefault(row.get("lesson", label), []).append((row.get("scale", 1.0), row))
    return {label: sorted(rows, key=lambda pair: pair[0]) for label, rows in rows_by_label.items() if len(rows) > 1}


# -------------------------------------------------------------------------------------------------------------- drawing


def plane(summary: Mapping[str, Any], size: int = 460) -> Markup:
    """The (T, F) plane as SVG, with intervals and the Pareto front: Fig. 3 of the survey, measured."""
    rows = [(label, r["numbers"]["T"], r["numbers"]["F"]) for label, r in ordered(summary) if "F" in r["numbers"]]
    rows = [row for row in rows if row[0] not in MARKS]
    at = _places(size)
    shapes = [_axes(size, PAD, at, "T, alignment", "F, fidelity")]
    best = front({label: (t["mean"], f["mean"]) for label, t, f in rows})
    points = {label: (at(t["mean"], False), at(f["mean"], True)) for label, t, f in rows}
    if len(best) > 1:
        line = " ".join(f"{x},{y}" for x, y in (points[b] for b in best))
        shapes.append(html('<polyline points="{}" fill="none" stroke="#999" stroke-dasharray="4 3"/>', line))
    for k, (label, t, f) in enumerate(rows):
        colour, (x, y) = COLOURS[k % len(COLOURS)], points[label]
        across = html('<line x1="{}" x2="{}" y1="{y}" y2="{y}"/>', at(t["low"], False), at(t["high"], False), y=y)
        up = html('<line x1="{x}" x2="{x}" y1="{}" y2="{}"/>', at(f["low"], True), at(f["high"], True), x=x)
        shapes.append(html('<g stroke="{}" opacity=".55">{}{}</g>', colour, across, up))
        shapes.append(_point(x, y, colour, f"{label}: T {t['mean']:.2f}, F {f['mean']:.2f}"))
        shapes.append(_beside(x, y, k, label))
    return _svg(size, shapes)


def curve_plot(rows_by_label: Mapping[str, Sequence[tuple[float, Any]]], size: int = 460) -> Markup:
    """The (T, F) plane as SVG: a line for each likeness, its points by strength."""
    at = _places(size)
    shapes = [_axes(size, PAD, at, "T, alignment", "F, fidelity")]
    for k, (label, rows) in enumerate(rows_by_label.items()):
        colour = COLOURS[k % len(COLOURS)]
        points = [(s, r["numbers"]["T"]["mean"], r["numbers"]["F"]["mean"]) for s, r in rows if "T" in r["numbers"]]
        line = " ".join(f"{at(t, False)},{at(f, True)}" for _, t, f in points)
        shapes.append(html('<polyline points="{}" fill="none" stroke="{}"/>', line, colour))
        for scale, t, f in points:
            x, y = at(t, False), at(f, True)
            shapes.append(_point(x, y, colour, f"{label} at {scale:g}: T {t:.2f}, F {f:.2f}", radius=4))
            shapes.append(html('<text x="{}" y="{}">{:g}</text>', x + 6, y - 5, scale))
        shapes.append(html('<text x="{}" y="{}" style="fill:{}">{}</text>', PAD + 8, PAD + 14 * (k + 1), colour, label))
    return _svg(size, shapes)


def cost_plot(summary: Mapping[str, Any], size: int = 460) -> Markup:
    """H against the seconds to a first picture, on a logarithmic scale."""
    import math

    pad, rows = 40, [(label, r) for label, r in ordered(summary) if "H" in r["numbers"] and label not in MARKS]
    times = {label: r["cost"]["seconds"] + r["cost"].get("seconds_per_picture", 0.0) for label, r in rows}
    ends = math.log10(max(min(times.values(), default=1), 0.01)), math.log10(max(*times.values(), 10))

    def at(value: float, up: bool) -> float:
        if up:
            return round(size - pad - min(max(value, 0), 1) * (size - 2 * pad), 1)
        share = (math.log10(max(value, 0.01)) - ends[0]) / max(ends[1] - ends[0], 1e-6)
        return round(pad + share * (size - 2 * pad), 1)

    ticks = [10.0**k for k in range(math.ceil(ends[0]), math.floor(ends[1]) + 1)]
    shapes = [
        html('<path d="M{0} {0}V{1}H{1}" fill="none" stroke="currentColor"/>', pad, size - pad),
        *(_across(at(t, False), size - pad + 14, f"{t:g}") for t in ticks),
        *(_before(pad - 6, at(v, True) + 4, v) for v in (0, 0.5, 1)),
        *_titles(size, "seconds to the first picture", "H"),
    ]
    for k, (label, row) in enumerate(rows):
        x, y, h = at(times[label], False), at(row["numbers"]["H"]["mean"], True), row["numbers"]["H"]
        colour = COLOURS[k % len(COLOURS)]
        line = '<line x1="{x}" x2="{x}" y1="{}" y2="{}" stroke="{}" opacity=".55"/>'
        shapes.append(html(line, at(h["low"], True), at(h["high"], True), colour, x=x))
        shapes.append(_point(x, y, colour, f"{label}: {times[label]:.1f} s, H {h['mean']:.2f}"))
        shapes.append(_beside(x, y, k, label))
    return _svg(size, shapes)


def _places(size: int) -> Callable[[float, bool], float]:
    """(value, whether up) -> its place on the plane of T and F."""
    low, high = -0.25, 1.25

    def at(value: float, up: bool) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(size - PAD - share * (size - 2 * PAD) if up else PAD + share * (size - 2 * PAD), 1)

    return at


def _axes(size: int, pad: int, at: Any, across: str, up: str) -> Markup:
    lines = [html('<path d="M{0} {0}V{1}H{1}" fill="none" stroke="currentColor"/>', pad, size - pad)]
    for value in (0.0, 0.5, 1.0):
        x, y = at(value, False), at(value, True)
        grid = '<path d="M{0} {2}V{3}M{2} {1}H{3}" stroke="currentColor" opacity=".15"/>'
        lines += [html(grid, x, y, pad, size - pad), _across(x, size - pad + 14, f"{value:g}")]
        lines.append(_before(pad - 6, y + 4, value))
    return join_html([*lines, *_titles(size, across, up)])


def _titles(size: int, across: str, up: str) -> list[Markup]:
    """The names of a plot's axes."""
    turned = '<text x="12" y="{0}" transform="rotate(-90 12 {0})" text-anchor="middle">{1}</text>'
    return [_across(size / 2, size - 6, across), html(turned, size / 2, up)]


def _across(x: float, y: float, text: str) -> Markup:
    """An SVG text, centred at (x, y)."""
    return html('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, y, text)


def _before(x: float, y: float, value: float) -> Markup:
    """An SVG number that ends at (x, y)."""
    return html('<text x="{}" y="{}" text-anchor="end">{:g}</text>', x, y, value)


def _point(x: float, y: float, colour: str, title: str, *, radius: int = 5) -> Markup:
    return html('<circle cx="{}" cy="{}" r="{}" fill="{}"><title>{}</title></circle>', x, y, radius, colour, title)


def _beside(x: float, y: float, place: int, label: str) -> Markup:
    """A point's label; those of neighbours stand at two heights."""
    return html('<text x="{}" y="{}">{}</text>', x + 7, y - 6 + 11 * (place % 2), label)


def _svg(size: int, shapes: Sequence[Markup]) -> Markup:
    return html('<svg width="{0}" height="{0}" viewBox="0 0 {0} {0}" role="img">{1}</svg>', size, join_html(shapes))


# --------------------------------------------------------------------------------------------------------------- tables


def _leaderboard(summary: Mapping[str, Any]) -> Markup:
    numbers = {name for row in summary.values() for name in row["numbers"]}
    faces = OF_FACES if "landmark_freedom" in numbers else ()
    columns = (*COLUMNS, *faces)
    head = join_html(html('<th title="{}">{}</th>', about, title) for _, title, about in columns)
    rows = []
    for label, row in ordered(summary):
        cells = [_interval(row["numbers"].get(key)) for key, _, _ in columns]
        rows.append(html("<tr><td>{}</td>{}</tr>", label, join_html(cells)))
    return html("<table><tr><th></th>{}</tr>{}</table>", head, join_html(rows))


def _interval(number: Mapping[str, float] | None) -> Markup:
    if number is None:
        return html("<td>·</td>")
    if not is_interval(number):
        return html("<td>{:.2f}<br><small>1 subject</small></td>", number["mean"])
    return html("<td>{mean:.2f}<br><small>{low:.2f}–{high:.2f}</small></td>", **number)


def _curves(rows_by_label: Mapping[str, Sequence[tuple[float, Any]]]) -> list[Markup]:
    """The section about strengths, where anything was painted at several."""
    if not rows_by_label:
        return []
    rows = [
        (
            label,
            f"{scale:g}",
            *(f"{r['numbers'][n]['mean']:.2f}" if n in r["numbers"] else "·" for n in ("F", "T", "H")),
        )
        for label, points in rows_by_label.items()
        for scale, r in points
    ]
    return [
        html("<h2>Strength</h2>"),
        html(
            "<p>One concept at several strengths (<code>--scale</code>): fidelity to the subject against alignment with the "
            "prompt.</p>"
        ),
        html('<div class="row">{}{}</div>', curve_plot(rows_by_label), html_table(("", "scale", "F", "T", "H"), rows)),
    ]


def _above(summary: Mapping[str, Any]) -> Markup:
    rows = []
    for label, row in ordered(summary):
        differences = row["above words"]
        if differences:
            cells = [with_interval(differences[n], "+.2f") for n in ("F", "H") if n in differences]
            fidelity = differences.get("F", {"low": -1})
            sure = fidelity["low"] > 0 and is_interval(fidelity)
            rows.append((label, *cells, "yes" if sure else "no"))
    return html_table(("", "F", "H", "surely more alike than words"), rows)


def _diagnoses(summary: Mapping[str, Any]) -> Markup:
    labels = [x for x in ADVICE if any(x in r["diagnoses"] for r in summary.values())]
    rows = [(label, *(row["diagnoses"].get(x, "") for x in labels)) for label, row in ordered(summary)]
    advice = join_html(html("<li><b>{}</b>: {}</li>", x, " ".join(ADVICE[x])) for x in labels)
    return html("{}<ul>{}</ul>", html_table(("", *labels), rows), advice)


def _costs(summary: Mapping[str, Any]) -> Markup:
    rows = [
        (label, *(f"{row['cost'].get(key, 0) * scale:,.3g}" for key, _, scale in COSTS))
        for label, row in ordered(summary)
    ]
    return html_table(("median of a likeness", *(title for _, title, _ in COSTS)), rows)


def _by_subject(record: Mapping[str, Any], cases: Sequence[str]) -> Markup:
    rows = []
    for label, _ in ordered(record["summary"]):
        own = [u for u in record["units"] if u["label"] == label]
        cells = []
        for case in cases:
            t = [u["tradeoff"] for u in own if u["case"] == case and "tradeoff" in u]
            cells.append(f"{_mean([x['F'] for x in t]):.2f} / {_mean([x['T'] for x in t]):.2f}" if t else "·")
        rows.append((label, *cells))
    return html_table(("F / T", *cases), rows)


def _by_prompt(record: Mapping[str, Any]) -> Markup:
    seeds, count = len(record["plan"]["seeds"]), record["plan"]["prompts"]
    rows = []
    for label, _ in ordered(record["summary"]):
        cells = []
        for k in range(count):
            values = [
                v
                for u in record["units"]
                if u["label"] == label and "each" in u
                for v in u["each"]["T"][k * seeds : (k + 1) * seeds]
                if v is not None
            ]
            cells.append(f"{_mean(values):.2f}" if values else "·")
        rows.append((label, *cells))
    return html_table(("T", *(f"prompt {k + 1}" for k in range(count))), rows)


def _correlations(by_metric: Mapping[str, Mapping[str, float]]) -> Markup:
    rows = [(name, *(f"{row[s]:+.2f}" if s in row else "·" for s in ("F", "T"))) for name, row in by_metric.items()]
    return html_table(("", "with F", "with T"), rows)


def _pictures(record: Mapping[str, Any], folder: Path | None) -> list[Markup]:
    if folder is None or not folder.is_dir():
        return [html("<p class=muted>The bench's folder of pictures is not here.</p>")]
    parts = []
    for label, _ in ordered(record["summary"]):
        shown = []
        for unit in record["units"]:
            path = folder / f"{unit['key']}.jpg"
            if unit["label"] == label and path.exists():
                caption = f"{unit['case']}, seed {unit['seed']}: {unit['diagnosis']['label']}"
                if "tradeoff" in unit:
                    caption += f", F {unit['tradeoff']['F']:.2f}, T {unit['tradeoff']['T']:.2f}"
                data = base64.b64encode(path.read_bytes()).decode()
                shown.append(html('<figure><img src="data:image/jpeg;base64,{}" alt=""><br>{}</figure>', data, caption))
        row = '<details><summary>{}</summary><div class="row">{}</div></details>'
        parts.append(html(row, label, join_html(shown)))
    return parts


def _survey() -> Markup:
    with SURVEY.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    return html("<details><summary>Table 1</summary>{}</details>", html_table(head, rows))


def _gaps(record: Mapping[str, Any]) -> str:
    gaps = {f"{n}: {m['gap']}" for u in record["units"] for n, m in u["metrics"].items() if m.get("gap")}
    return "; ".join(sorted(gaps)) or "none"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
