"""Benches with a suite of their own: their columns, the summary of their units, and their results files.

A unit is one method on one case, and on one part of the suite (a way of painting two subjects, a kind of style, a kind
of meaning, a condition). A row of the summary is one method on one part, with the mean over cases of every measure.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from limner.core.escaping import markdown_text
from limner.errors import FileError

from .tradeoff import interval

FORMAT = 2
"""Format of the results files."""
BASE, WORDS, TRUTH = "base alone", "description baseline", "ground-truth renders"
"""Baselines: the prompt without the subject, the subject in words, and pictures that answer the prompt right."""
UNCHANGED = "the source as it is"
"""Baseline of the conditions that change a source picture: nothing is changed."""


class Column(NamedTuple):
    """One measure of a suite."""

    name: str
    title: str  # with an arrow to its better side
    about: str


@dataclass(frozen=True)
class Suite:
    """The measures of a suite, and the names of its fields."""

    name: str
    title: str
    part: str  # field of a unit that names its part
    case: str  # field of a unit that names its case
    main: str  # the measure that is listed by case
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()  # for the reader of the numbers


PAIRS = Suite(
    "pairs",
    "two subjects in a picture",
    "way",
    "pair",
    "identity",
    (
        Column("identity", "identity ↑", "likeness of each subject to its real pictures"),
        Column("consistency", "consistency ↑", "that likeness as a share of the likeness alone"),
        Column("leakage", "leakage ↓", "how far the subjects look like each other"),
        Column("colour_leakage", "colour leakage ↓", "share of a subject in colours of the other"),
        Column("present", "present ↑", "both subjects are in the picture"),
        Column("relation", "relation ↑", "they are placed as the prompt says"),
        Column("prompt", "prompt accuracy ↑", "subjects, relation and scene are as the prompt says"),
    ),
)
COUPLES = Suite(
    "couples",
    "two people in a picture",
    "way",
    "couple",
    "identity",
    (
        Column("identity", "identity ↑", "likeness of each person, in the half of the picture where it belongs"),
        Column("consistency", "consistency ↑", "that likeness as a share of the likeness alone"),
        Column("leakage", "leakage ↓", "how far the person in each half looks like the other one"),
        Column("swapped", "swapped ↓", "a half shows the other person rather than its own"),
        Column("colour_leakage", "colour leakage ↓", "share of a person in colours of the other"),
        Column("present", "present ↑", "somebody is in each half"),
        Column("scene", "scene ↑", "the judge reads the scene that the prompt asks for"),
        Column("prompt", "prompt accuracy ↑", "both"),
    ),
    (
        "The first person of a prompt belongs into the left half, as in the captions that the base was trained on; in "
        "ways with regions the halves are the regions.",
        "Faces are compared by the face network. The row of the ground-truth renders is the measures' own accuracy.",
    ),
)
STYLES = Suite(
    "styles",
    "styles",
    "family",
    "case",
    "style",
    (
        Column("style", "style ↑", "likeness to held-out renders: 0 is a render without style, 1 is the style itself"),
        Column("individual", "individual ↑", "nearer to this individual style than to others of its family"),
        Column(
            "family",
            "family ↑",
            "the judge reads the family; no number for families that its edition was not trained on",
        ),
        Column("style_network", "style network ↑", "cosine of the style network to held-out renders"),
        Column("class", "class ↑", "the judge reads the class that the prompt asks for"),
        Column("scene", "scene ↑", "the judge reads the scene that the prompt asks for"),
        Column("content", "content ↑", "both"),
        Column("leakage", "leakage ↓", "the judge reads the class or scene of a reference image"),
        Column("copy_index", "copying ↓", "1 nearer to a reference image, -1 to another picture in the style"),
    ),
    (
        "Style is read from Gram matrices of the judge's second block and from the picture's palette, neither of which "
        "was fitted to individual styles. The style network, which looks past the content, is a measure of its own.",
        "The judge that reads class and scene saw eight families of style, and none of the held-out ones: compare "
        "class and scene with the ground-truth renders of the same part.",
    ),
)
MEANINGS = Suite(
    "meanings",
    "meanings: relations and actions",
    "kind",
    "case",
    "meaning",
    (
        Column("meaning", "meaning ↑", "nearer to renders of this relation or action than to those of any other"),
        Column("judge", "judge ↑", "the judge reads the relation or action"),
        Column("places", "places ↑", "the two subjects are placed as the relation demands"),
        Column("subjects", "subjects ↑", "every subject that the prompt asks for is in the picture"),
        Column("leakage", "leakage ↓", "a subject of the reference images is in the picture, and was not asked for"),
        Column("scene", "scene ↑", "the judge reads the scene that the prompt asks for"),
        Column("prompt", "prompt accuracy ↑", "meaning, subjects and scene are as the prompt says"),
        Column("copy_index", "copying ↓", "1 nearer to a reference image, -1 to another picture of the meaning"),
    ),
    (
        "A meaning is read by comparison: the prompt is rendered with every relation or action of the world, and the "
        "one whose renders are nearest counts as read. The row of the ground-truth renders is the reading's accuracy.",
        "The judge is a second reader where its edition was trained on the word; otherwise there is no number.",
    ),
)
CONDITIONS = Suite(
    "conditions",
    "conditions",
    "condition",
    "case",
    "condition",
    (
        Column("background", "background error ↓", "mean absolute difference from the source where nothing may change"),
        Column("identity", "identity ↑", "likeness of the subject to its real pictures; 0 where it is absent"),
        Column("condition", "condition ↑", "the measure of this condition, one of the next six"),
        Column("silhouette", "silhouette ↑", "IoU of the subject's mask with that of the condition's picture"),
        Column("depth", "depth ↑", "share of pixels whose inverse depth is within a factor of 1.25 of the condition's"),
        Column("edges", "edges ↑", "F-measure of the edges with those of the condition, within two pixels"),
        Column("box", "box ↑", "IoU of the subject's box with the box that was asked for"),
        Column("view", "view ↑", "the judge reads the view that was asked for, in quarters"),
        Column("garment", "garment ↑", "nearer to the render in the garment: 0 is the source, 1 that render"),
        Column("colour", "colour error ↓", "difference of the mean colour from that of the garment in the render"),
        Column("pattern", "pattern error ↓", "mean absolute difference from the render there, mean colours aside"),
        Column("class", "class ↑", "the judge reads the subject's class"),
        Column("scene", "scene ↑", "the judge reads the scene that the prompt asks for"),
        Column("prompt", "prompt accuracy ↑", "both"),
    ),
    (
        "Depth is that of the shipped estimator, which is not exact: compare with the row of the ground-truth renders.",
        "Views are read in quarters; left and right are the same to the judge unless its edition reads azimuths.",
        "A garment is compared with the render of the same person in it. Its identity is the likeness to that render.",
    ),
)
SUITES = {suite.name: suite for suite in (PAIRS, COUPLES, STYLES, MEANINGS, CONDITIONS)}


def summary(units: Sequence[Mapping[str, Any]], suite: Suite) -> list[dict[str, Any]]:
    """A row for each method and part: the mean over cases of every measure with its 95 % interval, and the median
    cost; or the reason why there are no numbers."""
    rows: list[dict[str, Any]] = []
    for label, part in dict.fromkeys((unit["label"], unit[suite.part]) for unit in units):
        own = [unit for unit in units if (unit["label"], unit[suite.part]) == (label, part)]
        done = [unit for unit in own if "values" in unit]
        row: dict[str, Any] = {"label": label, "method": own[0]["method"], suite.part: part, "cases": len(done)}
        if done:
            names = dict.fromkeys(name for unit in done for name in unit["values"])
            row["numbers"] = {name: _number([unit["values"].get(name) for unit in done]) for name in names}
            costs = dict.fromkeys(name for unit in done for name in unit.get("cost", {}))
            row["cost"] = {n: round(statistics.median(u["cost"].get(n, 0.0) for u in done), 4) for n in costs}
        else:
            row["why_not"] = own[0]["why_not"]
        rows.append(row)
    return rows


def _number(values: Sequence[float | None]) -> dict[str, float] | None:
    """Mean, interval and number of the values that are not None; None where all are."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    estimate = interval(numbers)
    ends = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {**{name: round(value, 4) for name, value in ends.items()}, "cases": estimate.count}


def as_values(measures: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The fields `values` and `each` of a unit from the value of every picture by measure: NaN is no value, and the
    mean of no value is None."""
    each = {name: [_or_none(value) for value in values] for name, values in measures.items()}
    numbers = {name: [value for value in values if value is not None] for name, values in each.items()}
    return {"values": {name: round(statistics.fmean(v), 4) if v else None for name, v in numbers.items()}, "each": each}


def _or_none(value: float) -> float | None:
    number = float(value)
    return round(number, 4) if number == number else None


def read_suite(path: Path, *, name: str = "") -> dict[str, Any]:
    """A suite's results file. Raises `FileError` for one that is damaged, of another version or no suite's; with a
    `name`, also for one of another suite."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is no results file that can be read: {error}") from error
    if not isinstance(content, dict) or content.get("suite") not in SUITES or content.get("format") != FORMAT:
        raise FileError(
            f"{path} is no results file of the suites {', '.join(SUITES)} in format {FORMAT}: run `limner bench --suite "
            f"NAME` again"
        )
    suite = SUITES[content["suite"]]
    if name and name != suite.name:
        raise FileError(f"{path} holds results of the suite {suite.name}, not {name}")
    whole = isinstance(content.get("plan"), dict) and isinstance(content.get("versions"), dict)
    listed = all(isinstance(content.get(name), list) and content[name] for name in ("summary", "units"))
    if not whole or not listed or not all(is_unit(unit, suite) for unit in content["units"]):
        raise FileError(
            f"{path} is damaged, it lacks its plan, versions, summary or units: run `limner bench --suite {suite.name}` "
            "again"
        )
    results: dict[str, Any] = content
    return results


def is_unit(record: Any, suite: Suite) -> bool:
    """Whether a JSON value is a unit of the suite, with the fields that summary and page need."""
    if not isinstance(record, dict):
        return False
    named = all(isinstance(record.get(field), str) for field in ("key", "method", "label", suite.part, suite.case))
    measured = isinstance(record.get("values"), dict) and isinstance(record.get("cost"), dict)
    return named and (measured or isinstance(record.get("why_not"), str))


def table_markdown(results: Mapping[str, Any]) -> str:
    """The summary as Markdown: a row for each method and part with numbers, then the reasons of those without. The
    interval of a mean over several cases stands behind it."""
    suite = SUITES[results["suite"]]
    columns = [column for column in suite.columns if any(number_of(row, column.name) for row in results["summary"])]
    heads = ["method", suite.part, *(column.title for column in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in results["summary"]:
        if "why_not" in row:
            reasons.setdefault(row["why_not"], {}).setdefault(row["label"], []).append(row[suite.part])
            continue
        cells = [text_of(number_of(row, column.name)) for column in columns]
        lines.append("| " + " | ".join([markdown_text(row["label"]), markdown_text(row[suite.part]), *cells]) + " |")
    lines += ["", "Without numbers:", ""] if reasons else []
    for why, methods in reasons.items():
        without = ", ".join(f"{label} ({', '.join(parts)})" for label, parts in methods.items())
        lines.append(f"* {markdown_text(without)}: {markdown_text(why)}")
    return "\n".join(lines)


def number_of(row: Mapping[str, Any], name: str) -> dict[str, float] | None:
    """A row's mean with its interval; None where there is none."""
    number: dict[str, float] | None = row.get("numbers", {}).get(name)
    return number


def text_of(number: Mapping[str, float] | None) -> str:
    """A mean, with its interval where it is over several cases; "-" for None."""
    if number is None:
        return "-"
    ends = f" [{number['low']:.2f}, {number['high']:.2f}]" if number["cases"] > 1 else ""
    return f"{number['mean']:.3f}{ends}"


def table_csv(results: Mapping[str, Any]) -> str:
    """The numbers of the summary, one line for each."""
    suite, out = SUITES[results["suite"]], io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["method", suite.part, "number", "mean", "low", "high", "cases"])
    for row in results["summary"]:
        about = (row["label"], row[suite.part])
        for name, number in row.get("numbers", {}).items():
            if number is not None:
                writer.writerow([*about, name, *(number[key] for key in ("mean", "low", "high", "cases"))])
        writer.writerows((*about, f"cost {name}", value, "", "", "") for name, value in row.get("cost", {}).items())
    return out.getvalue()
