"""Table 1 of the survey arXiv:2405.05538: its published numbers, and the protocol behind each row.

Both are data of this package: `survey_table1.csv` has the numbers as printed, `survey_table1_protocol.csv` the protocol
as the survey's published scripts have it. For eleven rows no script was published.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SURVEY = Path(__file__).parent / "survey_table1.csv"
PROTOCOL = Path(__file__).parent / "survey_table1_protocol.csv"

CANONICAL = "clean class prompt"
"""The text for CLIP-T in which the class noun stands for the subject and nothing else is added: that of this bench."""
USUAL_CLIP = "ViT-B/32"
USUAL_PICTURES = "4"
ROUNDING = 0.0006
"""Largest difference that printing a number with three digits makes, and a little."""


@dataclass(frozen=True)
class Published:
    """One row of the survey's Table 1. Fields of the protocol are empty where no script says them."""

    task: str  # "object" or "face"
    title: str  # the method as the table names it
    method: str  # the method's name in limner
    framework: str  # TTF (test-time fine-tuning) or PTA (pre-trained adaptation)
    base: str
    clip_t: float
    likeness: float  # CLIP-I of objects, FaceNet similarity of faces
    script: str  # "published", "empty submodule" or "none"
    script_base: str  # the base that the script loads, where it is another than the table's
    seed: str
    pictures: str  # for each prompt
    references: str  # reference images that the method reads
    text: str  # for CLIP-T
    clip: str
    stored: tuple[float, float] | None  # CLIP-T and image score in the output stored with the script
    note: str

    @property
    def label(self) -> str:
        """The row's name; a method that has several rows of a task is named with its base."""
        twice = sum((row.task, row.title) == (self.task, self.title) for row in published()) > 1
        return f"{self.title} ({self.base})" if twice else self.title


@functools.cache
def published() -> tuple[Published, ...]:
    """The 23 rows in the order of the table: 15 of objects, 8 of faces."""
    numbers, protocols = _rows(SURVEY), _rows(PROTOCOL)
    return tuple(_row(number, protocol) for number, protocol in zip(numbers, protocols, strict=True))


def rows_of(task: str) -> tuple[Published, ...]:
    """The rows of one task.

    task: "object" or "face"
    """
    return tuple(row for row in published() if row.task == task)


def methods_of(task: str) -> tuple[str, ...]:
    """Names of the methods of a task's rows in limner, each once.

    task: "object" or "face"
    """
    return tuple(dict.fromkeys(row.method for row in rows_of(task)))


def differences(row: Published) -> tuple[str, ...]:
    """Clauses on how the protocol of a published row differs from this bench's: canonical prompts read by one CLIP, one
    base, four pictures a prompt of the same seeds for all methods, all reference images learned from."""
    if row.script != "published":
        folder = " (its folder is an empty submodule)" if row.script == "empty submodule" else ""
        return (f"no script published{folder}: text, seeds, encoder and number of pictures are unknown",)
    first, second = row.stored or (row.clip_t, row.likeness)
    differs = abs(first - row.clip_t) > ROUNDING or abs(second - row.likeness) > ROUNDING
    clauses = [
        f"CLIP-T reads {_as_code(row.text)}" if row.text != CANONICAL else "",
        f"CLIP-T by CLIP {row.clip}, where all other scripts have {USUAL_CLIP}" if row.clip != USUAL_CLIP else "",
        f"the script loads {row.script_base}" if row.script_base else "",
        _about_seed(row.seed),
        f"{row.pictures} pictures a prompt" if row.pictures != USUAL_PICTURES else "",
        f"reference images: {row.references}" if row.references != "all" else "",
        f"the output stored with the script has {first:.3f} and {second:.3f}" if differs else "",
        row.note,
    ]
    return tuple(clause for clause in clauses if clause)


def explanation(rows: Sequence[Published]) -> str:
    """Sentences on what the published rows have in common, counted from their protocols.

    rows: those of one task
    """
    scripts = [row for row in rows if row.script == "published"]
    others = sum(row.text != CANONICAL for row in scripts)
    bases = sum(bool(row.script_base) for row in scripts)
    unseeded = sum(row.seed == "no" for row in scripts)
    few = sum(row.references != "all" for row in scripts)
    return (
        f"{len(scripts)} of the {len(rows)} published rows have a script. Among these, CLIP-T reads another text than the "
        f"canonical prompt in {others}, the base is another than the table says in {bases}, no seed is set in {unseeded}, "
        f"and the method reads only some of the reference images in {few}. The table has {len({r.base for r in rows})} "
        "bases, and its image score compares with the pictures that were learned from; here they are held out."
    )


def _about_seed(seed: str) -> str:
    if seed == "no":
        return "no seed is set"
    return f"every picture of a prompt has seed {seed.split()[0]}" if "every sample" in seed else ""


def _as_code(text: str) -> str:
    """A text of a script with the quoted prompt between backquotes, and the remark after it."""
    _, _, rest = text.partition("'")
    prompt, quote, remark = rest.partition("' ")
    return f"`{prompt}` {remark}" if quote else text


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(number: dict[str, str], protocol: dict[str, str]) -> Published:
    """One row from the two files. Raises `ValueError` where they do not speak of the same row."""
    for name in ("task", "method", "base"):
        if number[name] != protocol[name]:
            raise ValueError(f"{PROTOCOL.name} has {protocol[name]!r} where {SURVEY.name} has {number[name]!r}")
    stored = [protocol[f"{score} in the script's output"] for score in ("CLIP-T", "image score")]
    return Published(
        number["task"],
        number["method"],
        protocol["limner"],
        number["framework"],
        number["base"],
        float(number["CLIP-T"]),
        float(number["CLIP-I or FaceNet"]),
        protocol["script"],
        protocol["script base"],
        protocol["seed"],
        protocol["images a prompt"],
        protocol["reference images"],
        protocol["CLIP-T text"],
        protocol["CLIP"],
        (float(stored[0]), float(stored[1])) if all(stored) else None,
        protocol["note"],
    )
