"""`tune`: the main settings of methods, chosen on subjects that no table is measured on.

Each setting in turn is halved and doubled for as long as that is better (hill climbing): all methods together, so that
every pass has runs enough for all processes, and settings of one method train stacked. A run that has a file is not run
again, so a killed search continues.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.files import atomic_write, check_folder, write_text
from limner.core.wording import counted
from limner.errors import InputError, TeachingError, UnknownName
from limner.evaluation.datasets import loaders
from limner.evaluation.summary import summary
from limner.library.settings import checked_settings, limits

from .plan import Plan, Unit, method_of
from .run import read_unit, run_missing
from .unit import compact, key_of, run_crew

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1
MAIN = ("lr", "steps", "prior_weight")
"""Settings that are searched, in this order, of those that a method has."""
FACTOR = 2.0
MOVES = 3
"""Times that one setting may move by FACTOR."""
WORTH = 0.02
"""Least gain in H for which a setting moves: smaller differences are noise for a few subjects."""

Settings: TypeAlias = "tuple[tuple[str, Any], ...]"
"""Settings that differ from a method's defaults, in the order of its signature."""


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and its means over the subjects; H is 0 where training failed."""

    settings: Settings
    H: float
    F: float
    T: float
    seconds: float
    failed: str = ""


@dataclass
class Search:
    """The search for one method's settings. `wanted` says what must be tried next; nothing once it has ended."""

    method: str
    defaults: Mapping[str, Any]
    names: tuple[str, ...]
    best: Settings = ()
    trials: dict[Settings, Trial] = field(default_factory=dict)
    _at: int = 0  # number of the setting that is searched now
    _moves: int = 0

    def wanted(self) -> list[Settings]:
        while self._at < len(self.names):
            candidates = [self.best, *self._beside(self.names[self._at])]
            missing = [candidate for candidate in candidates if candidate not in self.trials]
            if missing:
                return missing
            best = max(candidates, key=lambda candidate: self.trials[candidate].H)
            if self._moves < MOVES and self.trials[best].H > self.trials[self.best].H + WORTH:
                self.best, self._moves = best, self._moves + 1
            else:
                self._at, self._moves = self._at + 1, 0
        return []

    def _beside(self, name: str) -> list[Settings]:
        """The best settings with this one lower, and higher, by FACTOR within its limits."""
        now = {**self.defaults, **dict(self.best)}[name]
        low, high = limits(name)
        around = []
        for value in (now / FACTOR, now * FACTOR):
            value = min(max(_short(value, type(self.defaults[name])), low), high)
            chosen = {**dict(self.best), name: value}
            if value != now and (isinstance(value, float) or value >= 1):
                around.append(
                    tuple((n, chosen[n]) for n, default in self.defaults.items() if chosen.get(n, default) != default)
                )
        return around


def tune(
    methods: Sequence[str],
    plan: Plan,
    *,
    results: Path,
    folder: Path,
    names: Sequence[str] = (),
    workers: int = 1,
    on: str = "local",
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Search]:
    """Search the settings `names` (MAIN if none) of methods, by H on the plan's subjects, and write `results`. Returns
    each method's search.

    Raises `InputError` for a method that has none of these settings, for held-out subjects, and for subjects whose
    prompts have no ground truth, since H is read from it.
    """
    plan = _on_dev(plan)
    check_folder(folder)
    check_folder(results.parent)
    searches = {}
    for name in methods:
        defaults = defaults_of(name, plan.base)
        searches[name] = Search(name, defaults, _names_to_search(name, defaults, names))
    while wanted := {name: todo for name, search in searches.items() if (todo := search.wanted())}:
        rows = tuple((name, chosen) for name, todo in wanted.items() for chosen in todo)
        say(f"{counted(len(wanted), 'method')}: {counted(len(rows), 'choice')} of settings to try")
        step = replace(plan, methods=rows)
        run_missing(step, folder, workers=workers, on=on, say=say, run=attempt)
        for name, chosen in rows:
            searches[name].trials[chosen] = _trial(step, name, chosen, folder)
        _write(results, plan, searches)
    _write(results, plan, searches)
    return searches


def _on_dev(plan: Plan) -> Plan:
    """The plan on the development split, where its data set has one and no split is named."""
    known = loaders().get(plan.data)
    where = dict(plan.where)
    if known is not None and "split" in inspect.signature(known).parameters:
        where.setdefault("split", "dev")
    if where.get("split") == "held-out":
        raise InputError("settings are not chosen on the held-out subjects that methods are judged on: use split=dev")
    return replace(plan, where=tuple(where.items()))


def _names_to_search(method: str, defaults: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The settings of a method that are searched."""
    numbers = [name for name, value in defaults.items() if type(value) in (int, float) and value > 0]
    if names:
        for name in names:
            if name not in numbers:
                raise UnknownName(f"setting of {method} that is a number above 0", name, numbers)
        return tuple(names)
    main = tuple(name for name in MAIN if name in numbers)
    if not main:
        raise InputError(
            f"{method} has none of the settings {', '.join(MAIN)}: name others with --settings ({', '.join(numbers)})"
        )
    return main


def defaults_of(method: str, base: str = "pocket") -> dict[str, Any]:
    """A method's defaults on a base. Raises `InputError` for a baseline, which has none."""
    known = method_of(method)
    if known is None:
        raise InputError(f"{method!r} learns nothing, so it has no settings")
    return checked_settings(known, {}, base=base)


def _short(value: float, kind: type) -> Any:
    """To two significant digits, in the type of the setting."""
    return round(value) if kind is int else float(f"{value:.2g}")


def attempt(plan: Plan, units: Mapping[str, Unit], folder: Path, threads: int = 0) -> None:
    """Run units; one whose training fails, as it may at a rate that is too high, leaves a file that says so, and is not
    run again."""
    todo = {key: unit for key, unit in units.items() if not _failed(folder, key).exists()}
    try:
        run_crew(plan, todo, folder, threads)
    except TeachingError as error:
        if len(todo) > 1:
            for key, unit in todo.items():
                attempt(plan, {key: unit}, folder, threads)
        else:
            write_text(_failed(folder, *todo), str(error), overwrite=True)


def _failed(folder: Path, key: str) -> Path:
    return folder / f"{key}.failed"


def _trial(plan: Plan, method: str, chosen: Settings, folder: Path) -> Trial:
    units = [unit for unit in plan.units if (unit.method, unit.settings) == (method, chosen)]
    keys = [key_of(plan, unit) for unit in units]
    for key in keys:
        failed = _failed(folder, key)
        if failed.exists():
            return Trial(chosen, 0.0, 0.0, 0.0, 0.0, failed.read_text(encoding="utf-8"))
    records = [record for key in keys if (record := read_unit(folder, key)) is not None]
    (row,) = summary(records).values()
    if "H" not in row["numbers"]:
        raise InputError(f"the prompts of {plan.data} have no ground truth, so H is not known: choose on --data toys")
    H, F, T = (row["numbers"][name]["mean"] for name in "HFT")
    return Trial(chosen, H, F, T, row["cost"]["seconds"])


def _write(results: Path, plan: Plan, searches: Mapping[str, Search]) -> None:
    record = {
        "format": FORMAT,
        "plan": json.loads(compact({k: v for k, v in asdict(plan).items() if k != "methods"})),
        "methods": {
            name: {
                "defaults": {key: search.defaults[key] for key in search.names},
                "chosen": dict(search.best),
                "trials": [{**asdict(trial), "settings": dict(trial.settings)} for trial in search.trials.values()],
            }
            for name, search in searches.items()
        },
    }
    write_text(results, compact(record), overwrite=True)


def table_markdown(searches: Iterable[Search]) -> str:
    """A row for each method: H with its defaults, what was chosen, and H with that."""
    lines = ["| method | H | chosen | H | choices tried |", "|---|---|---|---|---|"]
    for search in searches:
        before, after = search.trials[()], search.trials[search.best]
        chosen = ", ".join(f"{name} {value:g}" for name, value in search.best) or "the defaults"
        lines.append(f"| {search.method} | {before.H:.2f} | {chosen} | {after.H:.2f} | {len(search.trials)} |")
    return "\n".join(lines)


def write_defaults(method: str, chosen: Mapping[str, Any]) -> Path:
    """Make these values the defaults in the signature of a method, in its own file; returns the file. Raises
    `InputError` for a default that is no plain number there."""
    function = method_of(method)
    assert function is not None
    path = Path(inspect.getfile(function))
    text = path.read_text(encoding="utf-8")
    definition = next(
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__
    )
    named = zip(definition.args.kwonlyargs, definition.args.kw_defaults, strict=True)
    places = {argument.arg: default for argument, default in named if argument.arg in chosen}
    lines = text.splitlines(keepends=True)
    for name, default in reversed(places.items()):  # from the last, so that earlier places stay
        if not isinstance(default, ast.Constant):
            raise InputError(
                f"the default of {name} in {path} is no plain number, so it is not replaced; edit it by hand"
            )
        line = lines[default.lineno - 1].encode()
        value = _literal(chosen[name]).encode()
        lines[default.lineno - 1] = (line[: default.col_offset] + value + line[default.end_col_offset :]).decode()
    atomic_write(path, lambda p: p.write_text("".join(lines), encoding="utf-8"), overwrite=True)
    return path


def _literal(value: float) -> str:
    """A number as methods write it: 0.0025 is 2.5e-3."""
    if isinstance(value, int) or value >= 0.01:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
