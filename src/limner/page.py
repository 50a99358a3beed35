"""One self-contained HTML page about a taught subject."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import GENERATOR, write_text
from .picture import Picture, html_image

if TYPE_CHECKING:
    from .concept import Concept
    from .evaluation.scoring import Scorecard
    from .subject import Subject

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; font-size: 1.1rem }
img { image-rendering: auto; border-radius: 6px; margin: 2px }
table { border-collapse: collapse } td, th { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
.muted { color: #777 }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } td, th { border-color: #444 } }
"""


def write_page(
    path: Path,
    concept: Concept,
    *,
    subject: Subject,
    pictures: Sequence[Picture],
    scores: Mapping[str, Mapping[str, float]] | None = None,
    card: Scorecard | None = None,
    overwrite: bool = False,
) -> Path:
    """References, diagnosis, pictures by prompt, scores beside the untaught base's, cost and settings."""
    parts = [
        f"<h1>{html.escape(subject.name)}</h1>",
        f'<p class="muted">a {html.escape(subject.noun)}, taught by <b>{html.escape(concept.method)}</b> on '
        f"{html.escape(concept.base['name'])}</p>",
        "<h2>What it learned from</h2>",
        "".join(html_image(p.image, height=128, title=p.name) for p in subject.pictures),
        *_diagnosis(card),
        "<h2>What it paints</h2>",
        *_by_prompt(pictures),
        *_scores(scores or {}),
        "<h2>Cost</h2>",
        _table(("", ""), [(k, f"{v:,.10g}") for k, v in concept.cost.items()]),
        "<h2>Settings</h2>",
        _table(("setting", "value"), [*concept.settings.items(), ("seed", concept.seed), *_painted(pictures)]),
        f'<p class="muted">base fingerprint {concept.base["fingerprint"]} · '
        + " · ".join(f"{k} {v}" for k, v in concept.versions.items())
        + "</p>",
    ]
    title = html.escape(f"{subject.name} — limner")
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{GENERATOR}<title>{title}</title><style>{_STYLE}</style>'
        + "\n".join(parts)
    )
    return write_text(path, text, overwrite=overwrite)


def _diagnosis(card: Scorecard | None) -> list[str]:
    if card is None:
        return []
    told = card.diagnosis
    rows: list[tuple[str, str]] = []
    if card.tradeoff is not None:
        t = card.tradeoff
        rows = [
            ("F, likeness: 0 the untaught base, 1 real pictures among themselves", f"{t.fidelity:.2f}"),
            ("T, obedience: 0 a copy of the references, 1 the untaught base", f"{t.alignment:.2f}"),
            ("H, both at once", f"{t.harmonic:.2f}"),
        ]
    rows += [(m.id, f"{m.value:.3f}") for m in card.measured.values() if m.value is not None]
    notes = "".join(f"<li>{html.escape(n)}</li>" for n in card.notes)
    return [
        "<h2>What it is worth</h2>",
        f"<p><b>{told.label}</b>. {html.escape(told.meaning)} {html.escape(told.advice)}</p>",
        _table(("", ""), rows),
        f"<ul>{notes}</ul>" if notes else "",
    ]


def _by_prompt(pictures: Sequence[Picture]) -> list[str]:
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.prompt, []).append(picture)
    return [
        f"<p>{html.escape(prompt)}<br>" + "".join(html_image(p.image, title=f"seed {p.seed}") for p in row) + "</p>"
        for prompt, row in found.items()
    ]


def _scores(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not scores:
        return []
    columns = list(scores)
    rows = [(name, *(f"{scores[c][name]:.3f}" for c in columns)) for name in scores[columns[0]]]
    return ["<h2>Scores</h2>", _table(("", *columns), rows)]


def _painted(pictures: Sequence[Picture]) -> list[tuple[str, Any]]:
    return [(f"painting: {k}", v) for k, v in pictures[0].settings.items()] if pictures else []


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{html.escape(str(h))}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
