"""Plain words for times, sizes, jobs, scores and diagnoses: what the templates print."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from limner.evaluation.diagnose import is_trained, words_about

KINDS_OF_WORK = {
    "learn": "Teaching",
    "paint": "Painting",
    "score": "Scoring",
    "check": "Certifying",
    "export": "Exporting",
    "import": "Importing",
    "merge": "Merging",
    "publish": "Publishing",
    "swap": "Swapping into a photo",
    "protect": "Protecting photos of",
    "try-on": "Trying on",
    "compare": "Comparing",
    "look": "Looking at the photos",
    "estimate": "Estimating",
    "states": "Painting the states of",
    "converse": "Answering",
}
STATES = {
    "queued": "waiting",
    "running": "running",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
SCORES = {
    "F": ("Likeness", "0: like any member of the class. 1: like another photo of the subject."),
    "T": ("Follows the prompt", "1: as well as the base alone."),
    "H": ("Both together", "The harmonic mean of likeness and prompt: high where both are."),
    "obeyed": ("Prompt accuracy", "Share of pictures in which everything asked for is there."),
    "identity": ("Same individual", "Cosine to the photos, by the network that tells individuals apart."),
    "dino_i": ("Looks like the photos", "Cosine to the photos in DINO features."),
    "clip_i": ("Resembles the photos", "Cosine to the photos in CLIP features."),
    "clip_t": ("Matches the words", "Cosine of picture and prompt in CLIP features."),
    "quality": ("Picture quality", "Quality of the pictures, by the judge."),
    "diversity": ("Variety", "Difference between pictures of one prompt."),
    "copy_index": ("Copying", "Above 0.5 the pictures repeat the photos."),
    "background_leak": ("Background leak", "Above 0.15 the photos' backgrounds come along."),
}
MAIN_SCORES = ("F", "T", "H")
DONE = {
    "saved": "Saved.",
    "deleted": "Deleted.",
    "shared": "Shared.",
    "unshared": "No longer shared.",
    "moved": "The queue has a new order.",
    "state": "The chosen state is now the one that paints.",
    "user": "The user is changed.",
    "revoked": "The token no longer works.",
}


class ScoreRow(NamedTuple):
    name: str
    value: str
    width: float  # percent of the bar
    words: str
    help: str


def score_values(scores: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a concept's scores, by metric: those with the concept attached, where there are others."""
    inner = scores.get("with it", scores)
    inner = inner if isinstance(inner, Mapping) else scores
    return {name: float(v) for name, v in inner.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def score_rows(scores: Mapping[str, Any]) -> list[ScoreRow]:
    values = score_values(scores)
    known = [name for name in SCORES if name in values]
    return [
        ScoreRow(
            SCORES[name][0],
            f"{values[name]:.2f}",
            round(100 * min(1.0, max(0.0, values[name])), 1),
            grade(values[name]) if name in MAIN_SCORES else "",
            SCORES[name][1],
        )
        for name in known
    ]


def main_scores(scores: Mapping[str, Any]) -> list[ScoreRow]:
    """Likeness, prompt and their mean."""
    values = score_values(scores)
    return score_rows({name: values[name] for name in MAIN_SCORES if name in values})


def picture_scores(scores: Mapping[str, Any]) -> list[ScoreRow]:
    """The scores that stand beside a picture: likeness and prompt, by whichever metric has them."""
    names = {"likeness": "Likeness", "prompt_accuracy": "Prompt", "clip_t": "Prompt"}
    rows: dict[str, ScoreRow] = {}
    values = score_values(scores)
    for name, title in names.items():
        if name in values and title not in rows:
            value = values[name]
            rows[title] = ScoreRow(title, f"{value:.2f}", round(100 * min(1.0, max(0.0, value)), 1), "", name)
    return list(rows.values())


def grade(value: float) -> str:
    for least, words in ((0.8, "very good"), (0.6, "good"), (0.4, "fair"), (0.2, "weak")):
        if value >= least:
            return words
    return "hardly any"


def diagnosis_words(
    diagnosis: Mapping[str, Any], scores: Mapping[str, Any], header: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Label, finding, advice and reasons of a concept's diagnosis; None where it was never scored. `header` is that of
    the concept's file."""
    inner = scores.get("with it", scores)
    label = diagnosis.get("label") or (inner.get("diagnosis", "") if isinstance(inner, Mapping) else "")
    if not label:
        return None
    cost = header.get("cost", {})
    has_updates = not isinstance(cost, Mapping) or is_trained(cost)
    finding, advice = words_about(str(label), has_updates=has_updates)
    return {
        "label": label,
        "finding": diagnosis.get("finding") or finding,
        # the advice of a label without updates replaces that of an older version
        "advice": advice or diagnosis.get("advice", ""),
        "because": list(diagnosis.get("because", [])),
        "good": label == "balanced",
    }


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 1:
        return "under 1 s" if value else "0 s"
    if value < 90:
        return f"{value:.0f} s"
    if value < 5400:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if value < 172_800 else f"{value / 86_400:.0f} days"


def size(num_bytes: float | None) -> str:
    if num_bytes is None:
        return "–"
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit in ("bytes", "kB") else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-0.000", "0.000")


def ago(time: datetime | None) -> str:
    if time is None:
        return "never"
    past = (datetime.now(UTC) - time).total_seconds()
    return "just now" if past < 45 else f"{seconds(max(60, past))} ago" if past < 86_400 * 14 else f"{time:%d %b %Y}"


def job_title(kind: str, payload: Mapping[str, Any]) -> str:
    what = KINDS_OF_WORK.get(kind, kind)
    about = payload.get("name") or payload.get("title") or ""
    if not about and payload.get("prompts"):
        about = f"“{str(payload['prompts'][0])[:60]}”"
    return f"{what} {about}".strip()


def nested_rows(name: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of a settings table for a setting that holds settings; those deeper down are left out."""
    return [(f"{name}: {key}", number(each)) for key, each in values.items() if not isinstance(each, (dict, list))]


def number(value: Any) -> str:
    """A value of a settings table, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
