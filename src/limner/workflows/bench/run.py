"""`bench`: methods x settings x subjects x seeds, one JSON file for each. Units with a file are not run again.

Every unit (one method, its settings, one subject, one training seed) has its own file in the run's folder, written
whole or not at all; the results file is put together from them. So a killed run continues where it was, and no unit is
counted twice, whether one process, several, or a Ray cluster with the same folder ran it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.files import FileInTheWay, check_folder, write_text
from limner.core.interrupts import ending
from limner.core.memory import keep_memory
from limner.core.versions import versions
from limner.core.wording import counted
from limner.errors import FileError, InputError, MissingExtra
from limner.evaluation.results import FORMAT, folded, read_results
from limner.evaluation.summary import correlations, summary

from .plan import Plan, method_of
from .unit import _opened, about_of, compact, key_of, run_crew

if TYPE_CHECKING:
    from .plan import Unit

Run: TypeAlias = "Callable[..., None]"
"""Runs units by key in a plan and a folder, with so many threads, as `run_crew` does."""


def bench(
    plan: Plan,
    *,
    results: Path,
    folder: Path,
    workers: int = 1,
    on: str = "local",
    add: bool = False,
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Run the plan's missing units and write `results`; pictures and units stay in `folder`.

    `workers` processes share the machine's cores; `on="ray"` spreads units over a Ray cluster that sees `folder`. With
    `add`, the rows of other methods in `results` stay.

    Raises `InputError` for a results file with rows that would be lost, or that were measured under other conditions.
    """
    check_folder(folder)
    set_aside(results, say)
    others = _others(plan, results, add=add)
    began = time.monotonic()
    run_missing(plan, folder, workers=workers, on=on, say=say, run=run_crew)
    return collect(plan, folder, results, seconds=time.monotonic() - began, others=others)


def run_missing(plan: Plan, folder: Path, *, workers: int, on: str, say: Callable[[str], object], run: Run) -> None:
    """Run the plan's units that have no file in `folder`; `run` runs a group of them and writes their files."""
    make_missing_weights(plan)
    todo = {key_of(plan, unit): unit for unit in plan.units}
    missing = {k: u for k, u in todo.items() if read_unit(folder, k, say) is None}
    say(f"{counted(len(todo), 'run')}, {len(todo) - len(missing)} finished already")
    began = time.monotonic()
    with ending():
        for done, unit in enumerate(_ran(plan, missing, folder, workers, on, run), 1):
            each = (time.monotonic() - began) / done
            say(f"{done}/{len(missing)}  {unit.label}  {unit.case}  {each * (len(missing) - done) / 60:.1f} min left")


def _others(plan: Plan, results: Path, *, add: bool) -> list[dict[str, Any]]:
    """Units of other methods in the results file, which stay where `add` is given."""
    if not results.exists():
        return []
    earlier, labels = read_results(results), {unit.label for unit in plan.units}
    others = [unit for unit in earlier["units"] if unit["label"] not in labels]
    rows = len({unit["label"] for unit in others})
    if not add and others:
        raise InputError(
            f"{results} has {counted(rows, 'row')} of other methods, which this run would drop: keep them with --add, or "
            "name another file with --results"
        )
    if others and earlier["about"] != about_of(plan):
        raise InputError(
            f"the rows of {results} were measured with another base, judge, prompts or seeds, so no row can be added: run "
            "the whole bench, or name another file with --results"
        )
    return others


def collect(
    plan: Plan, folder: Path, results: Path, *, seconds: float = 0.0, others: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Write the results file from the finished units, and those of other methods that stay in it."""
    about = about_of(plan)
    own = [record for unit in plan.units if (record := read_unit(folder, key_of(plan, unit))) is not None]
    units = [*others, *own]
    earlier = read_results(results) if results.exists() else {}
    spent = (earlier.get("seconds", 0.0) if earlier.get("about") == about else 0.0) + seconds
    planned = json.loads(compact(asdict(plan)))
    others_methods = [each for each in earlier["plan"]["methods"] if each not in planned["methods"]] if others else []
    comparison = {
        "format": FORMAT,
        "about": about,
        "plan": {**planned, "methods": [*others_methods, *planned["methods"]]},
        "set": {"name": plan.data, "licence": plan.chosen().licence, "absent": list(plan.chosen().absent)},
        "versions": versions(),
        "seconds": round(spent, 1),
        "summary": summary(units),
        "correlations": correlations(units),
        "units": units,
    }
    write_text(results, compact(folded(comparison)), overwrite=True)
    return comparison


BEGINNING = b'{"format":'
"""The first bytes of a results file of any format, without spaces."""


def make_missing_weights(plan: Plan) -> None:
    """Pre-train the plan's methods that start from weights which a small base does not have yet: before the first unit,
    whose name depends on them."""
    from limner.core.subject import Subject
    from limner.workflows.first_use import make_weights

    for name, given in plan.methods:
        known = method_of(name)
        if known is not None:
            recipe = known(Subject("<rex>", "toy"), **dict(given))
            make_weights(name, recipe, _opened(plan.base, plan.device, plan.faces))


def set_aside(
    results: Path, say: Callable[[str], object], read: Callable[[Path], Mapping[str, Any]] = read_results
) -> None:
    """Before the first unit: make sure that the results file can be written in the end. One of another format, or cut
    short, is moved aside, since the units that it is made from are all there; raises `FileError` for a file that limner
    did not write."""
    check_folder(results.parent)
    if results.is_dir():
        raise FileError(f"{results} is a folder; expected the name of a file for --results")
    if not results.exists():
        return
    try:
        read(results)
    except FileError as error:
        head = b"".join(results.read_bytes()[:64].split())
        if not (head.startswith(BEGINNING) or BEGINNING.startswith(head)):
            raise FileInTheWay(
                f"{results} was not written by limner, so it is not replaced; move it away, or name another with "
                "--results"
            ) from error
        names = (results.with_name(f"{results.stem}-old-{k}{results.suffix}") for k in itertools.count(1))
        aside = next(path for path in names if not path.exists())
        os.rename(results, aside)
        say(f"note: {error}. It is moved to {aside}, and written again from the finished runs")


def is_current(results: Mapping[str, Any]) -> bool:
    """Whether a results file was measured on the present base with the present judges."""
    return bool(results["about"] == about_of(Plan(**results["plan"])))


# ------------------------------------------------------------------------------------------------------------ spreading


def _crews(missing: Mapping[str, Unit]) -> list[dict[str, Unit]]:
    """Groups of units that one process trains: one method and subject at several seeds (error bars) or settings (a
    sweep) where the method's modifiers can be stacked, or at several strengths after one training. All other units
    stand alone, different subjects too, so that each cost is that of one subject."""
    from limner.core.subject import Subject
    from limner.engine.stacked.train import SLOTS

    groups_of: dict[tuple[str, ...], list[dict[str, Unit]]] = {}
    for key, unit in missing.items():
        known = method_of(unit.method)
        together = known is not None and not known(Subject("<rex>", "toy"), **dict(unit.settings)).why_not_stackable
        groups = groups_of.setdefault((unit.method, unit.case, "" if together else repr(unit.lesson)), [])
        lessons = {other.lesson for other in groups[-1].values()} if groups else set()
        if not groups or (len(lessons) == SLOTS and unit.lesson not in lessons):
            groups.append({})
        groups[-1][key] = unit
    return [trainer for groups in groups_of.values() for trainer in groups]


def _ran(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int, on: str, run: Run) -> Iterator[Unit]:
    """Run units here, in several processes or on a cluster, and yield each when it is done."""
    if on == "ray":
        yield from _on_ray(plan, missing, folder, run)
    elif on != "local":
        raise InputError(f"units run on 'local' or 'ray', not {on!r}")
    elif workers <= 1 or len(missing) < 2:
        for trainer in _crews(missing):
            run(plan, trainer, folder)
            yield from trainer.values()
    else:
        yield from _in_processes(plan, missing, folder, workers, run)


def _in_processes(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int, run: Run) -> Iterator[Unit]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=keep_memory) as pool:
        running = {pool.submit(run, plan, trainer, folder, threads): trainer for trainer in _crews(missing)}
        try:
            for future in as_completed(running):
                future.result()
                yield from running[future].values()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()  # units are written whole or not at all
            raise


def _on_ray(plan: Plan, missing: Mapping[str, Unit], folder: Path, run: Run) -> Iterator[Unit]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("spreading over a cluster needs Ray: pip install 'limner[ray]'") from error
    ray.init(ignore_reinit_error=True)
    remote = ray.remote(run)
    running = {remote.remote(plan, tuple(trainer.items()), folder.resolve()): trainer for trainer in _crews(missing)}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        ray.get(done)
        yield from running.pop(done).values()


SHAPE: dict[str, type | tuple[type, ...]] = {
    "method": str, "label": str, "lesson": str, "scale": (int, float), "settings": dict, "case": str, "seed": int,
    "diagnosis": dict, "truth": dict, "cost": dict, "metrics": dict,
}  # fmt: skip
"""Field of a unit's file -> its type."""


def read_unit(folder: Path, key: str, say: Callable[[str], object] = lambda _: None) -> dict[str, Any] | None:
    """A finished unit; None where its file is missing or damaged, so that it runs again."""
    path = folder / f"{key}.json"
    if not path.exists():
        return None
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        say(f"note: {path} is damaged ({error}); its unit runs again")
        return None
    if not _is_unit(record, key):
        say(f"note: {path} is no unit of a bench; its unit runs again")
        return None
    whole: dict[str, Any] = record
    return whole


def _is_unit(record: Any, key: str) -> bool:
    """Whether a file's JSON is a unit's record, with every field that the tables need."""
    if not isinstance(record, dict) or record.get("key") != key:
        return False
    if not all(isinstance(record.get(name), kind) for name, kind in SHAPE.items()):
        return False
    each, balance = record.get("each", {"F": [], "T": []}), record.get("tradeoff", {"F": 0, "T": 0})
    return (
        isinstance(record["diagnosis"].get("label"), str)
        and all(_is_number(value) for value in record["cost"].values())
        and all(isinstance(metric, dict) for metric in record["metrics"].values())
        and all(_is_number(metric.get("value")) for metric in record["metrics"].values())
        and all(isinstance(metric.get("each", []), list) for metric in record["metrics"].values())
        and isinstance(balance, dict)
        and all(_is_number(balance.get(side)) for side in ("F", "T"))
        and isinstance(each, dict)
        and all(isinstance(each.get(side), list) for side in ("F", "T"))
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
