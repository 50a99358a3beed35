"""Runs of benches with a suite of their own: plans, units and their files, and the concepts that units share.

Every unit has a JSON file and a sheet of pictures in the run's folder, written whole or not at all; concepts are
trained once for all units that paint with them and lie beside them. Units with a file are not run again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.core.files import atomic_write, check_folder, write_text
from limner.core.interrupts import ending
from limner.core.versions import versions
from limner.core.wording import counted
from limner.errors import FileError, InputError, LimnerError
from limner.evaluation.suites import BASE, FORMAT, SUITES, TRUTH, WORDS, is_unit, read_suite, summary
from limner.evaluation.summary import MARKS, POLICIES

from .run import set_aside
from .unit import _opened, compact, strip

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.subject import Subject
    from limner.engine.sample import PaintSettings
    from limner.evaluation.suites import Suite

Settings: TypeAlias = "tuple[tuple[str, Any], ...]"
Say: TypeAlias = "Callable[[str], object]"
ELSEWHERE = ("face", "multi")
"""Scopes whose methods need subjects of their own: a bench of another scope does not choose methods that name one of
these first."""
LISTS = {"methods", "conditions", "ways"}
"""Fields of plans that list rows: results with other rows can be added to."""
TRAINED = ("seconds", "steps", "parameters", "bytes")
"""Costs of training that a concept records."""


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class SuitePlan:
    """Everything that decides the numbers of a run."""

    suite: ClassVar[str]
    scope: ClassVar[str]  # scope of the methods that run where none are named

    methods: tuple[tuple[str, Settings], ...] = ()  # name and settings; empty: every method of the scope
    prompts: int = 6
    seeds: tuple[int, ...] = (0,)
    steps: int = 25  # sampling steps
    device: str = "cpu"

    def __post_init__(self) -> None:
        from limner.methods import find

        if not self.methods:
            object.__setattr__(self, "methods", tuple((name, ()) for name in of_scope(self.scope)))
        for name, _ in self.methods:
            if name in (*POLICIES, *MARKS, BASE, WORDS, TRUTH):
                raise InputError(f"every bench of {self.suite} has its baselines: leave {name!r} out of the methods")
            find(name)
        if not self.methods or not self.seeds:
            raise InputError(f"a bench of {self.suite} needs a method and a seed at least")


def of_scope(scope: str) -> tuple[str, ...]:
    """The methods for subjects of a scope, by their cards. Methods that are first of all for faces or for several
    subjects are left out."""
    from limner.methods import card, methods

    cards = {name: card(function) for name, function in methods().items()}
    others = [other for other in ELSEWHERE if other != scope]
    return tuple(name for name, own in cards.items() if scope in own.scope and own.scope[0] not in others)


@dataclass(frozen=True)
class SuiteUnit:
    """One method on one case and part of a suite. `make` paints and judges: it returns the fields `values`, `each`,
    `cost` and `columns` (of the sheet) of its record, and the pictures."""

    method: str  # or the name of a baseline
    settings: Settings
    part: str
    case: str
    make: Callable[[], tuple[dict[str, Any], Sequence[Image.Image]]]
    about: tuple[Any, ...] = ()  # further things that decide its numbers

    @property
    def label(self) -> str:
        """The method, with the settings that differ from the default."""
        method = Path(self.method).name if ".py:" in self.method else self.method
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{method} ({settings})" if settings else method


def run_suite(
    plan: SuitePlan, units: Sequence[SuiteUnit], base: Base, *, results: Path, folder: Path, add: bool, say: Say
) -> dict[str, Any]:
    """Run the units without a file in `folder`, and write `results` from all of them. A unit whose method does not suit
    its part has the reason in place of numbers. With `add`, the other units of `results` stay, and those of the same
    key are not run again.

    Raises `FileError` for a results file that limner did not write, and `InputError` for one to add to that was
    measured under other conditions.
    """
    check_folder(folder)
    set_aside(results, say, functools.partial(read_suite, name=plan.suite))
    earlier = _earlier(plan, units, base, results) if add and results.exists() else {}
    known = {record["key"]: record for record in earlier.get("units", ())}
    suite, began, new, records = SUITES[plan.suite], time.monotonic(), 0, []
    with ending():
        for method, settings in dict.fromkeys((unit.method, unit.settings) for unit in units):
            _make_weights(method, settings, base)
        for number, unit in enumerate(units, 1):
            key = _key(plan, unit, base)
            record = _read(folder / f"{key}.json", plan.suite) or known.get(key)
            if record is None:
                record = _run(unit, {"key": key, suite.part: unit.part, suite.case: unit.case}, folder)
                new += 1
                each = (time.monotonic() - began) / new
                say(f"{number}/{len(units)}  {unit.label}  {unit.part}  {unit.case}  {each:.0f} s each")
            records.append(record)
    # the same values as those that a later run reads from the files
    records = _merged(earlier.get("units", ()), json.loads(compact(records)), suite)
    planned = json.loads(compact(asdict(plan)))
    for name in LISTS & planned.keys() & earlier.get("plan", {}).keys():
        own = planned[name]
        planned[name] = [*earlier["plan"][name], *(each for each in own if each not in earlier["plan"][name])]
    whole = {
        "format": FORMAT,
        "suite": plan.suite,
        "plan": planned,
        "versions": versions(),
        "summary": summary(records, suite),
        "units": records,
    }
    write_text(results, compact(whole), overwrite=True)
    say(f"{counted(len(units), 'unit')}, {new} of them new, in {results}")
    return whole


def _earlier(plan: SuitePlan, units: Sequence[SuiteUnit], base: Base, results: Path) -> dict[str, Any]:
    """The results that units are added to. Raises `InputError` where they have another number of cases, prompts or
    seeds, or where the keys of their baselines, which depend on base and judges, are others now."""
    earlier, suite = read_suite(results, name=plan.suite), SUITES[plan.suite]
    planned: dict[str, Any] = json.loads(compact(asdict(plan)))
    odd = [name for name in planned if name not in LISTS and earlier["plan"].get(name) != planned[name]]
    if odd:
        before, now = ({name: one.get(name) for name in odd} for one in (earlier["plan"], planned))
        raise InputError(
            f"the rows of {results} were measured with {before} and these would be with {now}, so no row can be added: "
            "run the suite at its size, or name another file with --results"
        )
    for record in (record for record in earlier["units"] if not _is_method(record["method"])):
        unit = replace(units[0], method=record["method"], settings=(), part=record[suite.part], case=record[suite.case])
        if _key(plan, unit, base) != record["key"]:
            raise InputError(
                f"the rows of {results} were measured with another base or other judges, so no row can be added: run the "
                "whole suite, or name another file with --results"
            )
    return earlier


def _merged(earlier: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], suite: Suite) -> list[dict[str, Any]]:
    """Earlier units, each replaced by the new one of the same row and case, and behind them the other new ones."""

    def place(record: Mapping[str, Any]) -> tuple[str, str, str]:
        return record["label"], record[suite.part], record[suite.case]

    return list(
        ({place(record): record for record in earlier} | {place(record): record for record in records}).values()
    )


def _run(unit: SuiteUnit, about: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Run a unit and write its files."""
    record: dict[str, Any] = {**about, "method": unit.method, "label": unit.label, "settings": dict(unit.settings)}
    images: Sequence[Image.Image] = ()
    try:
        more, images = unit.make()
        record |= more
    except LimnerError as why:
        # a full disk is no property of the method
        if isinstance(why, FileError) and isinstance(why.__cause__, OSError):
            raise
        record["why_not"] = str(why)
    if images:
        sheet = strip(images, max(1, record["columns"]))
        save = functools.partial(sheet.save, format="JPEG", quality=90)
        atomic_write(folder / f"{about['key']}.jpg", save, overwrite=True)
    write_text(folder / f"{about['key']}.json", compact(record), overwrite=True)
    return record


def _read(path: Path, suite: str) -> dict[str, Any] | None:
    """A finished unit; None where its file is missing or damaged, so that it runs again."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole: dict[str, Any] | None = record if is_unit(record, SUITES[suite]) and record["key"] == path.stem else None
    return whole


def _key(plan: SuitePlan, unit: SuiteUnit, base: Base) -> str:
    """The name of a unit's file: a hash of everything that decides its numbers."""
    about = [
        FORMAT,
        plan.suite,
        base.fingerprint,
        _judges(),
        unit.part,
        unit.case,
        plan.prompts,
        plan.seeds,
        plan.steps,
    ]
    return _hashed([*about, _lesson(unit.method, unit.settings, base), unit.about], 20)


def _hashed(about: Sequence[Any], length: int) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:length]


@functools.cache
def _judges() -> tuple[str, ...]:
    """Hashes of the weights of the shipped judges."""
    from limner.evaluation.encoders import file_hash
    from limner.pocket.judges import WEIGHTS

    return tuple(file_hash(path) for path in sorted(WEIGHTS.glob("*.safetensors")))


def _make_weights(method: str, settings: Settings, base: Base) -> None:
    """Train the pre-trained weights that a method lacks, before the name of its first unit depends on them. A method
    that cannot have them gives its reason in each unit."""
    from limner.core.subject import Subject
    from limner.methods import find
    from limner.workflows.first_use import make_weights

    if not _is_method(method):
        return
    with contextlib.suppress(LimnerError):
        make_weights(method, find(method)(Subject("<rex>", "toy"), **dict(settings)), base)


def _is_method(name: str) -> bool:
    """Whether a unit's method is one, and no baseline."""
    from limner.methods import methods

    return name in methods() or ".py:" in name


def _lesson(method: str, settings: Settings, base: Base) -> list[Any]:
    """A method with everything that decides its concepts: settings, the pre-trained weights that its recipe starts from
    and, where it is the user's own, its file. A baseline is its name alone."""
    from limner.core.subject import Subject
    from limner.core.weights import mark
    from limner.evaluation.encoders import file_hash
    from limner.library.settings import checked_settings
    from limner.methods import find

    if not _is_method(method):
        return [method]
    own_file = file_hash(Path(method.rpartition(":")[0])) if ".py:" in method else ""
    chosen = checked_settings(find(method), dict(settings))
    weights = find(method)(Subject("<rex>", "toy"), **chosen).weights
    return [method, chosen, mark(weights, base) if weights else "", own_file]


# ------------------------------------------------------------------------------------- concepts and pictures of units


def open_pocket(device: str) -> Base:
    """The pocket base, opened once a process."""
    return _opened("pocket", device)


def trained(base: Base, method: str, settings: Settings, subject: Subject, folder: Path) -> Concept:
    """The concept of a subject, read from the folder where another unit has trained it already. Pre-trained weights
    that the method lacks for the base are trained first."""
    import limner
    from limner.methods import find
    from limner.workflows.first_use import make_weights

    make_weights(method, find(method)(subject, **dict(settings)), base)
    without = [picture.sha256 for picture in subject.without]
    name = _hashed([base.fingerprint, _lesson(method, settings, base), subject.card(), without], 16)
    path = folder / f"concept-{name}.safetensors"
    if path.exists():
        return limner.Concept.load(path, trust=True)
    concept = limner.learn(base, subject, method=method, **dict(settings))
    concept.save(path)
    return concept


def painted(
    base: Base, plan: SuitePlan, prompts: Sequence[str], *, settings: PaintSettings | None = None, **about: Any
) -> list[Image.Image]:
    """A picture for each prompt and seed, ordered by prompt. Further arguments are those of `limner.paint`; `settings`
    are the plan's steps where none are given."""
    import limner

    chosen = settings or limner.PaintSettings(plan.steps)
    rows = [limner.paint(base, list(prompts), seed=seed, settings=chosen, **about) for seed in plan.seeds]
    return [row[k].image for k in range(len(prompts)) for row in rows]


def cost_of(concepts: Sequence[Concept], seconds: float, pictures: int) -> dict[str, float]:
    """The costs of a unit: of all training, and of a picture.

    concepts: the concepts that it painted with; none for a baseline
    seconds: time that all pictures took
    pictures: their number
    """
    training = {name: sum(concept.cost.get(name, 0.0) for concept in concepts) for name in TRAINED}
    return {**training, "seconds_per_picture": round(seconds / max(pictures, 1), 3)}
