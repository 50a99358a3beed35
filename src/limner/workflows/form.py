"""Every method and its settings as data, for forms, tables and pages. Nothing heavy is imported here.

A method's settings are declared once, in its signature. Its framework follows from its recipe, and building a recipe
loads torch: `methods/facts.json` has the framework, the memory and the work of limner's own methods (`python -m
docs.generate` writes it). The recipe of a method that is not in that file is built when its framework is asked for.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limner.methods as registry
from limner.core.method import Setting, settings
from limner.core.subject import Subject
from limner.library.settings import LIMITS, limits
from limner.methods import card, find, methods, place_of, protections

from .choose_method import measured

FACTS = Path(registry.__file__).with_name("facts.json")
PAINTING = "painting"
"""Name of the row of facts.json about a picture of the base alone."""
FREE_TEXT = re.compile(r"FILE|function \(", re.ASCII)
"""Words in a setting's help that say that a user's own file or function may be its value, too."""


@dataclass(frozen=True)
class Field:
    """A setting of a method, as a form shows it."""

    name: str
    type: str  # int, float, str or bool
    default: Any  # on the pocket base
    help: str
    choices: tuple[str, ...] = ()  # the values of a text, where only some are allowed
    full_size_default: Any = None  # on a full-size base
    least: float | None = None  # limits of a number
    greatest: float | None = None


def fields_of(method: str | Callable[..., Any]) -> list[Field]:
    """The settings of a method in the order of its signature.

    method: its name, "FILE.py:function", or the function. Raises `UnknownName` for a method that does not exist.
    """
    function = find(method) if isinstance(method, str) else method
    theirs = card(function).full_size
    return [_field(setting, theirs.get(setting.name, setting.default)) for setting in settings(function)]


def _field(setting: Setting, full_size: Any) -> Field:
    least, greatest = limits(setting.name) if _is_limited(setting) else (None, None)
    choices = _choices(setting)
    kind = setting.type.__name__
    return Field(setting.name, kind, setting.default, setting.help, choices, full_size, least, greatest)


def _is_limited(setting: Setting) -> bool:
    return setting.type in (int, float) and (
        setting.name in LIMITS or setting.name.endswith(("_lr", "_steps")) or setting.name == "lr"
    )


def _choices(setting: Setting) -> tuple[str, ...]:
    """The values of a text that its line of help lists in quotation marks, where the default is one of them."""
    if setting.type is not str or FREE_TEXT.search(setting.help):
        return ()
    quoted = tuple(dict.fromkeys(re.findall(r'"([\w-]+)"', setting.help)))
    return quoted if setting.default in quoted and len(quoted) > 1 else ()


def methods_table(base: str = "pocket") -> list[dict[str, Any]]:
    """A row for each of limner's methods, in alphabetical order.

    Each has "name", "title", "arxiv", "source" (the paper in Markdown), "year", "scope" (kinds of subjects), "reads"
    (names of the conditions that its concepts read), "framework", "together" (whether many subjects learn in one pass),
    "measured" (H, F, T, seconds and bytes on the base's own bench; empty where it was not measured), "full_size",
    "same", "full_size_source", and "settings" (name -> default, help).
    """
    rows, results = [], measured(base)
    for name, function in methods().items():
        about = card(function)
        rows.append({
            "name": name, "title": about.title, "arxiv": about.arxiv, "source": about.source, "year": about.year,
            "scope": list(about.scope), "reads": list(about.reads), **facts_of_method(name),
            "measured": results.get(name, {}),
            "full_size": dict(about.full_size), "same": list(about.same), "full_size_source": about.full_size_source,
            "settings": {s.name: {"default": s.default, "help": s.help} for s in settings(function)},
        })  # fmt: skip
    return rows


def protections_table() -> list[dict[str, Any]]:
    """A row for each method that protects photographs: "name", "title", "arxiv", "source", "year", "about" (the first
    line of its help), and "settings" (name -> default, help)."""
    return [
        {
            **{key: getattr(card(function), key) for key in ("name", "title", "arxiv", "source", "year")},
            "about": (inspect.getdoc(function) or "").partition("\n")[0],
            "settings": {s.name: {"default": s.default, "help": s.help} for s in settings(function)},
        }
        for function in protections().values()
    ]


def facts_of_method(name: str) -> dict[str, Any]:
    """The framework of a method, and whether many subjects learn in one pass of it."""
    row = _facts(name)
    return {"framework": row["framework"], "together": row["together"]}


def memory_of_method(name: str, base: str = "pocket") -> int | None:
    """Peak memory in bytes of learning by a method, where it was measured on this base; else None."""
    row = _stored().get(name, {}) if measured(base) else {}
    memory: int | None = row.get("memory")
    return memory


def work_of_method(name: str, base: str = "pocket") -> float | None:
    """The work of training by a method's defaults in updates of dreambooth, where it was measured on this base; else
    None. 0 for a method that trains nothing."""
    row = _stored().get(name, {}) if measured(base) else {}
    work: float | None = row.get("work")
    return work


def picture_seconds() -> float:
    """Seconds in which the pocket base paints a picture on the machine where its bench was measured."""
    return float(_stored()[PAINTING]["seconds"])


def tuned_by(name: str) -> tuple[str, ...]:
    """The settings of a method that are numbers of updates or learning rates of what is learned for each subject; those
    of its pre-training are left out."""
    return tuple(_facts(name)["tuned_by"])


def compute_facts(name: str) -> dict[str, Any]:
    """The facts of a method, from its recipe. Loads torch."""
    function, subject = find(name), Subject("<rex>", "dog")
    recipe = function(subject)
    usual = [(stage.steps, stage.lr) for stage in recipe.tuning]
    tuned = []
    for setting in settings(function):
        if setting.name in ("steps", "lr") or setting.name.endswith(("_steps", "_lr")):
            changed = function(subject, **{setting.name: 2 * setting.default or 1})
            if [(stage.steps, stage.lr) for stage in changed.tuning] != usual:
                tuned.append(setting.name)
    return {"framework": recipe.framework, "together": not recipe.why_not_stackable, "tuned_by": tuned}


def _facts(name: str) -> dict[str, Any]:
    """The row of a method; that of a user's own method, or of one that facts.json lacks, is computed."""
    known = {} if place_of(find(name)) else _stored()
    return known.get(name) or compute_facts(name)


@functools.cache
def _stored() -> dict[str, dict[str, Any]]:
    """The rows of facts.json."""
    return dict(json.loads(FACTS.read_text(encoding="utf-8"))) if FACTS.is_file() else {}
