"""`limner score`, `bench` and `report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, UnknownName
from limner.methods import find, methods
from limner.recipe import settings

from .common import ROLES, base_of, encoders, opened, out, read_concept, say

if TYPE_CHECKING:
    pass


def score(given: argparse.Namespace) -> None:

    from limner.evaluation.scoring import score
    from limner.files import check_folder, check_ours
    from limner.picture import Pictures, save_sheet

    sheets = [given.out / name for name in ("with-it.png", "base-alone.png")] if given.out else []
    for path in sheets:
        check_folder(path.parent)
        check_ours(path)
    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    learned, held_out = (_images(folder) for folder in (given.photos, given.held_out))
    card = score(
        base,
        concept,
        training=learned,
        held_out=held_out,
        prompts=given.prompts or (),
        seeds=tuple(range(given.seed, given.seed + given.count)),
        encoders=encoders(given),
    )
    for path, pictures in zip(sheets, (card.pictures, card.base), strict=False):
        save_sheet(Pictures(pictures).grid(given.count), path)
    out(given, card.record, str(card))


def _images(folder: Path | None) -> list[Any]:
    """The pictures of a file or folder, in any layout that `learn` reads."""
    from limner.formats.datasets import recognised
    from limner.subject import Subject

    if folder is None:
        return []
    if folder.is_dir() or folder.suffix in (".json", ".toml"):
        return [reference.image for reference in recognised(folder).references]
    return [picture.image for picture in Subject.of(folder, noun="thing", handle="rex").pictures]


def bench(given: argparse.Namespace) -> None:
    from limner.evaluation.benchmark import bench
    from limner.evaluation.plan import SIZES, Plan
    from limner.evaluation.report import table_markdown
    from limner.evaluation.summary import MARKS, POLICIES
    from limner.interrupts import standing

    size = SIZES[given.size]
    every = (
        [*POLICIES, *given.curve] if given.curve else [*POLICIES, *methods(), *(MARKS if given.data == "toys" else ())]
    )
    named = [*(given.methods or every)]
    names = [*named, *(name for name in given.curve if name not in named)]
    results = given.results or Path("results/curve.json" if given.curve else "results/bench.json")
    where = dict(_pair(w) for w in given.where)
    encoders = tuple((role, getattr(given, role)) for role in ROLES if getattr(given, role))
    plan = Plan(
        tuple(_with_settings(name) for name in names),
        data=given.data,
        where=tuple(where.items()),
        cases=given.cases or size.cases,
        prompts=given.prompts or size.prompts,
        seeds=tuple(range(given.seeds)) if given.seeds else size.seeds,
        teaching_seeds=tuple(range(given.teaching_seeds)),
        base=given.base or "pocket",
        encoders=encoders,
        device=given.device or "cpu",
        curves=tuple(given.curve),
    )
    folder = given.folder or Path("out/bench") / results.stem
    standing(lambda: f"every likeness that is done is kept in {folder}; the same command runs what is missing")
    found = bench(plan, results=results, folder=folder, workers=given.workers, on=given.on, say=say)
    out(given, found["summary"], table_markdown(found))


def _with_settings(text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """ "dreambooth:steps=50,lr=1e-5" or "FILE.py:function:steps=50" -> its name and settings, typed as the method's signature says."""
    from limner.evaluation.summary import MARKS, POLICIES

    name, _, rest = text.partition(":")
    if name.endswith(".py"):  # found again from any folder
        function, _, rest = rest.partition(":")
        name = f"{Path(name).expanduser().resolve()}:{function}"
    if name in (*POLICIES, *MARKS) or not rest:
        return name, ()
    known = {s.name: s for s in settings(find(name))}
    found = []
    for part in rest.split(","):
        key, value = _pair(part)
        if key not in known:
            raise UnknownName(f"setting of {name}", key, known)
        found.append((key, _typed(name, key, value, known[key].type)))
    return name, tuple(found)


def _typed(name: str, key: str, value: str, kind: type) -> Any:
    """A setting's value as the method's signature says. Raises `InputError` for text that is none."""
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"{key} of {name} is true or false, not {value!r}")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number"}.get(kind, f"of type {kind.__name__}")
        raise InputError(f"{key} of {name} is {wanted}, not {value!r}") from error


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"expected NAME=VALUE, not {text!r}")
    return key.strip(), value.strip()


def report(given: argparse.Namespace) -> None:
    from limner.evaluation.report import report

    folder = given.pictures or Path("out/bench") / given.results.stem
    path = report(given.results, given.out, pictures=folder)
    out(given, {"page": str(path)}, str(path))
