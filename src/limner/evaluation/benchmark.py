"""`bench`: methods x settings x subjects x seeds, one JSON file a run. What is there already is not run again.

Every unit (one method, its settings, one subject, one seed of teaching) leaves a file of its own in the run's folder, written
whole or not at all; the results file is put together from them. So a killed run goes on where it was, and nothing is
counted twice, whoever ran it: this process, several, or a Ray cluster that sees the same folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from limner.errors import FileError, InputError, MissingExtra
from limner.files import atomic_write
from limner.interrupts import ending
from limner.memory import keep_memory

from .plan import FORMAT, Plan, Unit
from .summary import correlations, summary
from .unit import about_of, compact, key_of, run_crew


def bench(
    plan: Plan,
    *,
    results: Path,
    folder: Path,
    workers: int = 1,
    on: str = "local",
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Run what is missing of the plan and write `results`; pictures and units stay in `folder`.

    `workers` processes share the machine's cores; `on="ray"` spreads units over a Ray cluster that sees `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = {key_of(plan, unit): unit for unit in plan.units}
    missing = {k: u for k, u in todo.items() if not (folder / f"{k}.json").exists()}
    say(f"{len(todo)} likenesses, {len(todo) - len(missing)} there already")
    began = time.monotonic()
    with ending():
        for done, unit in enumerate(_ran(plan, missing, folder, workers, on), 1):
            each = (time.monotonic() - began) / done
            say(f"{done}/{len(missing)}  {unit.label}  {unit.case}  {each * (len(missing) - done) / 60:.1f} min left")
    return collect(plan, folder, results, seconds=time.monotonic() - began)


def collect(plan: Plan, folder: Path, results: Path, *, seconds: float = 0.0) -> dict[str, Any]:
    """Put the results file together from the units that are there."""
    about = about_of(plan)
    units = []
    for unit in plan.units:
        path = folder / f"{key_of(plan, unit)}.json"
        if path.exists():
            units.append(_read(path))
    earlier = read_results(results) if results.exists() else {}
    spent = (earlier.get("seconds", 0.0) if earlier.get("about") == about else 0.0) + seconds
    found = {
        "format": FORMAT,
        "about": about,
        "plan": asdict(plan),
        "set": {"name": plan.data, "licence": plan.chosen().licence, "absent": list(plan.chosen().absent)},
        "versions": _versions(),
        "seconds": round(spent, 1),
        "summary": summary(units),
        "correlations": correlations(units),
        "units": units,
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(results, lambda p: p.write_text(compact(found), encoding="utf-8"), overwrite=True)
    return found


def read_results(path: Path) -> dict[str, Any]:
    """A results file. Raises `FileError` for one that is damaged or of another version."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} is no results file that can be read: {error}") from error
    if found.get("format") != FORMAT:
        raise FileError(f"{path} has format {found.get('format')}, this is limner's {FORMAT}: run `limner bench` again")
    return found


def is_current(found: Mapping[str, Any]) -> bool:
    """Whether a results file was measured on the base and with the judges that are there now."""
    return bool(found["about"] == about_of(Plan(**found["plan"])))


# ------------------------------------------------------------------------------------------------------------- spreading


def _crews(missing: Mapping[str, Unit]) -> list[dict[str, Unit]]:
    """Units that are taught in one fleet: one method and subject at several seeds (error bars) or settings (a sweep), where the
    method's modifiers can be stacked; and what is taught once and worn at several strengths. All others are alone; different
    subjects are, so that the cost told is of one."""
    from limner.fleet import SLOTS
    from limner.methods import methods
    from limner.subject import Subject

    found: dict[tuple[str, ...], list[dict[str, Unit]]] = {}
    for key, unit in missing.items():
        known = methods().get(unit.method)
        together = known is not None and not known(Subject("<rex>", "toy"), **dict(unit.settings)).alone
        groups = found.setdefault((unit.method, unit.case, "" if together else repr(unit.lesson)), [])
        lessons = {other.lesson for other in groups[-1].values()} if groups else set()
        if not groups or (len(lessons) == SLOTS and unit.lesson not in lessons):
            groups.append({})
        groups[-1][key] = unit
    return [crew for groups in found.values() for crew in groups]


def _ran(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int, on: str) -> Iterator[Unit]:
    """Run units wherever, yielding each as it is done."""
    if on == "ray":
        yield from _on_ray(plan, missing, folder)
    elif on != "local":
        raise InputError(f"units run on 'local' or 'ray', not {on!r}")
    elif workers <= 1 or len(missing) < 2:
        for crew in _crews(missing):
            run_crew(plan, crew, folder)
            yield from crew.values()
    else:
        yield from _in_processes(plan, missing, folder, workers)


def _in_processes(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int) -> Iterator[Unit]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=keep_memory) as pool:
        running = {pool.submit(run_crew, plan, crew, folder, threads): crew for crew in _crews(missing)}
        try:
            for future in as_completed(running):
                future.result()
                yield from running[future].values()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()  # units are written whole or not at all
            raise


def _on_ray(plan: Plan, missing: Mapping[str, Unit], folder: Path) -> Iterator[Unit]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("spreading over a cluster needs Ray: pip install 'limner[ray]'") from error
    ray.init(ignore_reinit_error=True)
    remote = ray.remote(run_crew)
    running = {remote.remote(plan, tuple(crew.items()), folder.resolve()): crew for crew in _crews(missing)}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        ray.get(done)
        yield from running.pop(done).values()


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(f"{path} is damaged ({error}); delete it and run the bench again") from error
    return found


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}
