"""One self-contained HTML page about a concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from limner.core.escaping import Markup, html, html_page, html_table, join_html
from limner.core.files import write_text
from limner.core.picture import Picture, html_image
from limner.core.wording import with_article

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.subject import Subject
    from limner.evaluation.score import Scorecard

_STYLE: LiteralString = """
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
    """Write reference images, diagnosis, pictures by prompt, scores beside the untrained base's, cost and settings."""
    parts = [
        html("<h1>{}</h1>", subject.name),
        html(
            '<p class="muted">{}, learned by <b>{}</b> on {}</p>',
            with_article(subject.noun),
            concept.method,
            concept.base["name"],
        ),
        html("<h2>Reference images</h2>"),
        join_html(html_image(p.image, height=128, title=p.name) for p in subject.pictures),
        *_diagnosis(card),
        html("<h2>Previews</h2>"),
        *_by_prompt(pictures),
        *_scores(scores or {}),
        html("<h2>Cost</h2>"),
        html_table(("", ""), [(k, f"{v:,.10g}") for k, v in concept.cost.items()]),
        html("<h2>Settings</h2>"),
        html_table(("setting", "value"), [*concept.settings.items(), ("seed", concept.seed), *_painted(pictures)]),
        html(
            '<p class="muted">base fingerprint {} · {}</p>',
            concept.base["fingerprint"],
            " · ".join(f"{k} {v}" for k, v in concept.versions.items()),
        ),
    ]
    text = html_page(f"{subject.name} — limner", _STYLE, parts)
    return write_text(path, text, overwrite=overwrite)


def _diagnosis(card: Scorecard | None) -> list[Markup]:
    if card is None:
        return []
    diagnosis = card.diagnosis
    rows: list[tuple[str, str]] = []
    if card.tradeoff is not None:
        t = card.tradeoff
        rows = [
            ("F, subject fidelity: 0 is the untrained base, 1 is real pictures among themselves", f"{t.fidelity:.2f}"),
            ("T, prompt alignment: 0 is a copy of the reference images, 1 is the untrained base", f"{t.alignment:.2f}"),
            ("H, harmonic mean of F and T", f"{t.harmonic:.2f}"),
        ]
    rows += [(m.id, f"{m.value:.3f}") for m in card.measured.values() if m.value is not None]
    notes = join_html(html("<li>{}</li>", n) for n in card.notes)
    return [
        html("<h2>Diagnosis</h2>"),
        html("<p><b>{}</b>. {} {}</p>", diagnosis.label, diagnosis.meaning, diagnosis.advice),
        html_table(("", ""), rows),
        html("<ul>{}</ul>", notes) if notes else Markup(),
    ]


def _by_prompt(pictures: Sequence[Picture]) -> list[Markup]:
    rows: dict[str, list[Picture]] = {}
    for picture in pictures:
        rows.setdefault(picture.prompt, []).append(picture)
    return [
        html("<p>{}<br>{}</p>", prompt, join_html(html_image(p.image, title=f"seed {p.seed}") for p in row))
        for prompt, row in rows.items()
    ]


def _scores(scores: Mapping[str, Mapping[str, float]]) -> list[Markup]:
    if not scores:
        return []
    columns = list(scores)
    rows = [(name, *(f"{scores[c][name]:.3f}" for c in columns)) for name in scores[columns[0]]]
    return [html("<h2>Scores</h2>"), html_table(("", *columns), rows)]


def _painted(pictures: Sequence[Picture]) -> list[tuple[str, Any]]:
    return [(f"painting: {k}", v) for k, v in pictures[0].settings.items()] if pictures else []
