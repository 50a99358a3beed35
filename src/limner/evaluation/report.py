"""`report`: one self-contained HTML page about a bench, and the same numbers as CSV and Markdown."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.errors import FileError
from limner.files import COMMENT, GENERATOR, check_place, write_text

from .benchmark import read_results
from .diagnosis import ADVICE
from .summary import MARKS, POLICIES
from .tradeoff import front

COLUMNS = (
    ("H", "H ↑", "2FT / (F+T): likeness and obedience at once"),
    ("F", "F ↑", "anchored fidelity: 0 is the base, 1 is how alike real pictures of the subject are"),
    ("T", "T ↑", "anchored alignment: 0 is a copier of the references, 1 is what the base can follow"),
    ("J", "J ↑", "share of pictures with F and T of a half at least"),
    ("obeyed", "obeyed ↑", "share of pictures with the scene and exactly the accessories asked for"),
    ("identity", "identity ↑", "cosine of the identity network"),
    ("clip_i", "CLIP-I ↑", "cosine of CLIP"),
    ("dino_i", "DINO-I ↑", "cosine of a self-supervised ViT"),
    ("clip_t", "CLIP-T ↑", "cosine with the canonical prompt"),
    ("copy_index", "copy ↓", "1 nearer to a training picture, -1 to another real one"),
    ("drift", "drift ↓", "how far pictures without the subject moved"),
)
COSTS = (
    ("seconds", "s to teach", 1.0),
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
SURVEY = Path(__file__).parent / "survey_table1.csv"

_STYLE = """
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

    Raises `FileError` for results that are damaged, of another version or empty, and where one of the three files is there and was
    not written by limner.
    """
    found, out = read_results(Path(results)), Path(out)
    if not found["units"]:
        raise FileError(f"{results} holds no likeness yet: run `limner bench`")
    csv_file, markdown = out.with_suffix(".csv"), out.with_suffix(".md")
    for path in (out, csv_file, markdown):
        check_place(path, overwrite=overwrite)
    text = page(found, pictures)
    write_text(csv_file, table_csv(found), overwrite=overwrite)
    write_text(markdown, f"{COMMENT}\n\n{table_markdown(found)}", overwrite=overwrite)
    return write_text(out, text, overwrite=overwrite)


def page(found: Mapping[str, Any], pictures: Path | None = None) -> str:
    """The whole page; it fetches nothing."""
    plan = found["plan"]
    found = {**found, "summary": worn_fully(found["summary"])} | {"curves": curves(found["summary"])}
    summary = found["summary"]
    cases = list(dict.fromkeys(u["case"] for u in found["units"]))
    parts = [
        "<h1>limner bench</h1>",
        f'<p class="muted">{_e(found["set"]["name"])}: {len(cases)} subjects, {plan["prompts"]} prompts, seeds '
        f"{_e(plan['seeds'])}, base {_e(plan['base'])} · {len(found['units'])} likenesses in {found['seconds'] / 60:.1f} "
        f"minutes · {_e(' · '.join(f'{k} {v}' for k, v in found['versions'].items()))}</p>",
        "<h2>Leaderboard</h2>",
        f'<div class="scroll">{_leaderboard(summary)}</div>',
        "<p class=muted>Mean over subjects, and below it what 95 % of bootstrap samples of the subjects give.</p>",
        "<h2>Fidelity against alignment</h2>",
        f'<div class="row">{plane(summary)}{cost_plot(summary)}</div>',
        *_curves(found["curves"]),
        "<h2>Above words</h2>",
        "<p>What was gained over telling the base the subject's looks, without any learning; paired over subjects.</p>",
        _above(summary),
        "<h2>Diagnosis</h2>",
        _diagnoses(summary),
        "<h2>Cost</h2>",
        f'<div class="scroll">{_costs(summary)}</div>',
        "<h2>By subject</h2>",
        f'<div class="scroll">{_by_subject(found, cases)}</div>',
        "<h2>By prompt</h2>",
        f'<div class="scroll">{_by_prompt(found)}</div>',
        "<h2>What the usual metrics are worth here</h2>",
        "<p>Rank correlation of each metric with F and with T over all pictures, good and bad.</p>",
        _correlations(found["correlations"]),
        "<h2>Pictures</h2>",
        *_pictures(found, pictures),
        "<h2>Published figures</h2>",
        "<p>Table 1 of the survey arXiv:2405.05538: other bases, subjects and encoders, and not one protocol for all rows. "
        "They are for orientation and cannot be compared with the rows above.</p>",
        _survey(),
        f'<p class="muted">Gaps: {_e(_gaps(found))}</p>',
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{GENERATOR}<title>limner bench</title><style>{_STYLE}</style>'
        + "\n".join(parts)
    )


def table_markdown(
    found: Mapping[str, Any], columns: Sequence[str] = ("H", "F", "T", "obeyed", "identity", "clip_t")
) -> str:
    """The leaderboard as Markdown, best H first, policies that learn nothing last."""
    names = {key: title for key, title, _ in COLUMNS}
    head = ["", *(names[c] for c in columns), "s to teach", "kB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, row in ordered(found["summary"]):
        cells = []
        for c in columns:
            n = row["numbers"].get(c)
            cells.append("" if n is None else f"{n['mean']:.2f} [{n['low']:.2f}, {n['high']:.2f}]")
        lines.append(
            f"| {label} | {' | '.join(cells)} | {row['cost']['seconds']:.0f} | {row['cost']['bytes'] / 1e3:.0f} |"
        )
    return "\n".join(lines) + "\n"


def table_csv(found: Mapping[str, Any]) -> str:
    """One line for each label and number."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["label", "method", "number", "mean", "low", "high", "subjects", "spread"])
    for label, row in ordered(found["summary"]):
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
    """Without likenesses that were worn more or less strongly than they were learned."""
    return {label: row for label, row in summary.items() if row.get("scale", 1.0) == 1}


def curves(summary: Mapping[str, Any]) -> dict[str, list[tuple[float, Any]]]:
    """What was painted at several strengths: label -> (strength, row), by rising strength."""
    found: dict[str, list[tuple[float, Any]]] = {}
    for label, row in summary.items():
        if "F" in row["numbers"]:
            found.setdefault(row.get("lesson", label), []).append((row.get("scale", 1.0), row))
    return {label: sorted(rows, key=lambda pair: pair[0]) for label, rows in found.items() if len(rows) > 1}


# --------------------------------------------------------------------------------------------------------------- drawing


def plane(summary: Mapping[str, Any], size: int = 460) -> str:
    """The (T, F) plane as SVG, with intervals and the Pareto front: Fig. 3 of the survey, measured."""
    rows = [(label, r["numbers"]["T"], r["numbers"]["F"]) for label, r in ordered(summary) if "F" in r["numbers"]]
    rows = [row for row in rows if row[0] not in MARKS]
    at = _places(size)
    shapes = [_axes(size, PAD, at, "T, alignment", "F, fidelity")]
    best = front({label: (t["mean"], f["mean"]) for label, t, f in rows})
    points = {label: (at(t["mean"], False), at(f["mean"], True)) for label, t, f in rows}
    if len(best) > 1:
        line = " ".join(f"{x},{y}" for x, y in (points[b] for b in best))
        shapes.append(f'<polyline points="{line}" fill="none" stroke="#999" stroke-dasharray="4 3"/>')
    for k, (label, t, f) in enumerate(rows):
        colour, (x, y) = COLOURS[k % len(COLOURS)], points[label]
        shapes.append(
            f'<g stroke="{colour}" opacity=".55"><line x1="{at(t["low"], False)}" x2="{at(t["high"], False)}" y1="{y}" y2="{y}"/>'
            f'<line x1="{x}" x2="{x}" y1="{at(f["low"], True)}" y2="{at(f["high"], True)}"/></g>'
            f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"><title>{_e(label)}: T {t["mean"]:.2f}, F {f["mean"]:.2f}</title></circle>'
            f'<text x="{x + 7}" y="{y - 6 + 11 * (k % 2)}">{_e(label)}</text>'
        )
    return _svg(size, shapes)


def curve_plot(found: Mapping[str, Sequence[tuple[float, Any]]], size: int = 460) -> str:
    """The (T, F) plane as SVG: a line for each likeness, its points by strength."""
    at = _places(size)
    shapes = [_axes(size, PAD, at, "T, alignment", "F, fidelity")]
    for k, (label, rows) in enumerate(found.items()):
        colour = COLOURS[k % len(COLOURS)]
        points = [(s, r["numbers"]["T"]["mean"], r["numbers"]["F"]["mean"]) for s, r in rows if "T" in r["numbers"]]
        line = " ".join(f"{at(t, False)},{at(f, True)}" for _, t, f in points)
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        for scale, t, f in points:
            x, y = at(t, False), at(f, True)
            told = f"{_e(label)} at {scale:g}: T {t:.2f}, F {f:.2f}"
            shapes.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"><title>{told}</title></circle>')
            shapes.append(f'<text x="{x + 6}" y="{y - 5}">{scale:g}</text>')
        shapes.append(f'<text x="{PAD + 8}" y="{PAD + 14 * (k + 1)}" style="fill:{colour}">{_e(label)}</text>')
    return _svg(size, shapes)


def cost_plot(summary: Mapping[str, Any], size: int = 460) -> str:
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
        f'<path d="M{pad} {pad}V{size - pad}H{size - pad}" fill="none" stroke="currentColor"/>',
        *(f'<text x="{at(t, False)}" y="{size - pad + 14}" text-anchor="middle">{t:g}</text>' for t in ticks),
        *(f'<text x="{pad - 6}" y="{at(v, True) + 4}" text-anchor="end">{v:g}</text>' for v in (0, 0.5, 1)),
        f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">seconds to the first picture</text>',
        f'<text x="12" y="{size / 2}" transform="rotate(-90 12 {size / 2})" text-anchor="middle">H</text>',
    ]
    for k, (label, row) in enumerate(rows):
        x, y, h = at(times[label], False), at(row["numbers"]["H"]["mean"], True), row["numbers"]["H"]
        colour = COLOURS[k % len(COLOURS)]
        shapes.append(
            f'<line x1="{x}" x2="{x}" y1="{at(h["low"], True)}" y2="{at(h["high"], True)}" stroke="{colour}" opacity=".55"/>'
            f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"><title>{_e(label)}: {times[label]:.1f} s, H {h["mean"]:.2f}</title></circle>'
            f'<text x="{x + 7}" y="{y - 6 + 11 * (k % 2)}">{_e(label)}</text>'
        )
    return _svg(size, shapes)


def _places(size: int) -> Callable[[float, bool], float]:
    """(value, whether up) -> its place on the plane of T and F."""
    low, high = -0.25, 1.25

    def at(value: float, up: bool) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(size - PAD - share * (size - 2 * PAD) if up else PAD + share * (size - 2 * PAD), 1)

    return at


def _axes(size: int, pad: int, at: Any, across: str, up: str) -> str:
    lines = [f'<path d="M{pad} {pad}V{size - pad}H{size - pad}" fill="none" stroke="currentColor"/>']
    for value in (0.0, 0.5, 1.0):
        x, y = at(value, False), at(value, True)
        lines.append(f'<path d="M{x} {pad}V{size - pad}M{pad} {y}H{size - pad}" stroke="currentColor" opacity=".15"/>')
        lines.append(f'<text x="{x}" y="{size - pad + 14}" text-anchor="middle">{value:g}</text>')
        lines.append(f'<text x="{pad - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    lines.append(f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">{across}</text>')
    lines.append(f'<text x="12" y="{size / 2}" transform="rotate(-90 12 {size / 2})" text-anchor="middle">{up}</text>')
    return "".join(lines)


def _svg(size: int, shapes: Sequence[str]) -> str:
    return f'<svg width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img">{"".join(shapes)}</svg>'


# ---------------------------------------------------------------------------------------------------------------- tables


def _leaderboard(summary: Mapping[str, Any]) -> str:
    head = "".join(f'<th title="{_e(about)}">{title}</th>' for _, title, about in COLUMNS)
    rows = []
    for label, row in ordered(summary):
        cells = []
        for key, _, _ in COLUMNS:
            n = row["numbers"].get(key)
            cells.append(
                "<td>·</td>"
                if n is None
                else f"<td>{n['mean']:.2f}<br><small>{n['low']:.2f}–{n['high']:.2f}</small></td>"
            )
        rows.append(f"<tr><td>{_e(label)}</td>{''.join(cells)}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _curves(found: Mapping[str, Sequence[tuple[float, Any]]]) -> list[str]:
    """The section about strengths, where anything was painted at several."""
    if not found:
        return []
    rows = [
        (
            label,
            f"{scale:g}",
            *(f"{r['numbers'][n]['mean']:.2f}" if n in r["numbers"] else "·" for n in ("F", "T", "H")),
        )
        for label, points in found.items()
        for scale, r in points
    ]
    return [
        "<h2>Strength</h2>",
        "<p>One likeness, worn more or less strongly (<code>--scale</code>): what it trades of the prompt for likeness.</p>",
        f'<div class="row">{curve_plot(found)}{_table(("", "scale", "F", "T", "H"), rows)}</div>',
    ]


def _above(summary: Mapping[str, Any]) -> str:
    rows = []
    for label, row in ordered(summary):
        told = row["above words"]
        if told:
            cells = [
                f"{told[n]['mean']:+.2f} [{told[n]['low']:+.2f}, {told[n]['high']:+.2f}]"
                for n in ("F", "H")
                if n in told
            ]
            rows.append((label, *cells, "yes" if told.get("F", {"low": -1})["low"] > 0 else "no"))
    return _table(("", "F", "H", "surely more alike than words"), rows)


def _diagnoses(summary: Mapping[str, Any]) -> str:
    labels = [x for x in ADVICE if any(x in r["diagnoses"] for r in summary.values())]
    rows = [(label, *(row["diagnoses"].get(x, "") for x in labels)) for label, row in ordered(summary)]
    told = "".join(f"<li><b>{x}</b>: {_e(' '.join(ADVICE[x]))}</li>" for x in labels)
    return _table(("", *labels), rows) + f"<ul>{told}</ul>"


def _costs(summary: Mapping[str, Any]) -> str:
    rows = [
        (label, *(f"{row['cost'].get(key, 0) * scale:,.3g}" for key, _, scale in COSTS))
        for label, row in ordered(summary)
    ]
    return _table(("median of a likeness", *(title for _, title, _ in COSTS)), rows)


def _by_subject(found: Mapping[str, Any], cases: Sequence[str]) -> str:
    rows = []
    for label, _ in ordered(found["summary"]):
        own = [u for u in found["units"] if u["label"] == label]
        cells = []
        for case in cases:
            t = [u["tradeoff"] for u in own if u["case"] == case and "tradeoff" in u]
            cells.append(f"{_mean([x['F'] for x in t]):.2f} / {_mean([x['T'] for x in t]):.2f}" if t else "·")
        rows.append((label, *cells))
    return _table(("F / T", *cases), rows)


def _by_prompt(found: Mapping[str, Any]) -> str:
    seeds, count = len(found["plan"]["seeds"]), found["plan"]["prompts"]
    rows = []
    for label, _ in ordered(found["summary"]):
        cells = []
        for k in range(count):
            values = [
                v
                for u in found["units"]
                if u["label"] == label and "each" in u
                for v in u["each"]["T"][k * seeds : (k + 1) * seeds]
                if v is not None
            ]
            cells.append(f"{_mean(values):.2f}" if values else "·")
        rows.append((label, *cells))
    return _table(("T", *(f"prompt {k + 1}" for k in range(count))), rows)


def _correlations(found: Mapping[str, Mapping[str, float]]) -> str:
    rows = [(name, *(f"{row[s]:+.2f}" if s in row else "·" for s in ("F", "T"))) for name, row in found.items()]
    return _table(("", "with F", "with T"), rows)


def _pictures(found: Mapping[str, Any], folder: Path | None) -> list[str]:
    if folder is None or not folder.is_dir():
        return ["<p class=muted>The bench's folder of pictures is not here.</p>"]
    parts = []
    for label, _ in ordered(found["summary"]):
        shown = []
        for unit in found["units"]:
            path = folder / f"{unit['key']}.jpg"
            if unit["label"] == label and path.exists():
                told = f"{unit['case']}, seed {unit['seed']}: {unit['diagnosis']['label']}"
                if "tradeoff" in unit:
                    told += f", F {unit['tradeoff']['F']:.2f}, T {unit['tradeoff']['T']:.2f}"
                data = base64.b64encode(path.read_bytes()).decode()
                shown.append(f'<figure><img src="data:image/jpeg;base64,{data}" alt=""><br>{_e(told)}</figure>')
        parts.append(f'<details><summary>{_e(label)}</summary><div class="row">{"".join(shown)}</div></details>')
    return parts


def _survey() -> str:
    with SURVEY.open(newline="") as file:
        head, *rows = list(csv.reader(file))
    return f"<details><summary>Table 1</summary>{_table(head, rows)}</details>"


def _gaps(found: Mapping[str, Any]) -> str:
    gaps = {f"{n}: {m['gap']}" for u in found["units"] for n, m in u["metrics"].items() if m.get("gap")}
    return "; ".join(sorted(gaps)) or "none"


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{_e(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{_e(v)}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _e(value: Any) -> str:
    return html.escape(value if isinstance(value, str) else json.dumps(value))
