"""`bench`: methods x settings x subjects x seeds, one JSON file a run. What is there already is not run again.

Every unit (one method, its settings, one subject, one seed of teaching) leaves a file of its own in the run's folder, written
whole or not at all; the results file is put together from them. So a killed run goes on where it was, and nothing is
counted twice, whoever ran it: this process, several, or a Ray cluster that sees the same folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError, MissingExtra
from limner.files import atomic_write

if TYPE_CHECKING:
    from PIL import Image

    from limner.bases.protocol import Base

    from .datasets import Case, DataSet

FORMAT = 2
BASE, WORDS = "base alone", "base told the looks"
POLICIES = (BASE, WORDS)
"""What stands in every table: painting the class, and painting the subject's looks in words. Neither learns."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of a run."""

    methods: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]  # name, settings that are not the default
    data: str = "toys"
    where: tuple[tuple[str, str], ...] = ()  # the loader's arguments
    cases: int = 6
    prompts: int = 10
    seeds: tuple[int, ...] = (0, 1)  # of painting
    teaching_seeds: tuple[int, ...] = (0,)
    base: str = "pocket"
    encoders: tuple[tuple[str, str], ...] = ()  # role, folder or hub id; none: the pocket's
    device: str = "cpu"

    def __post_init__(self) -> None:
        from limner.methods import find

        if not self.methods:
            raise InputError("there are no methods to bench")
        for name, _ in self.methods:
            if name not in POLICIES:
                find(name)
        if not self.seeds or not self.teaching_seeds:
            raise InputError("a bench needs one seed of painting and one of teaching at least")

    @property
    def units(self) -> list[Unit]:
        """All of them, methods outermost; policies that learn nothing have one seed of teaching."""
        names = [case.name for case in self.chosen().cases]
        return [
            Unit(method, given, case, seed)
            for method, given in self.methods
            for case in names
            for seed in (self.teaching_seeds if method not in POLICIES else self.teaching_seeds[:1])
        ]

    def chosen(self) -> DataSet:
        """The set's first cases that have one subject and can be split into references to learn from and to hold out."""
        from dataclasses import replace

        from limner.errors import UnknownName

        from .datasets import loaders

        known = loaders()
        if self.data not in known:
            raise UnknownName("data set", self.data, known)
        found = known[self.data](**dict(self.where))
        cases = tuple(c for c in found.cases if len(c.members) == 1)[: self.cases]
        if not cases:
            raise InputError(f"{found.name} has no subject with pictures; absent: {', '.join(found.absent) or 'none'}")
        cut = (replace(c, prompts=c.prompts[: self.prompts], truth=c.truth[: self.prompts]) for c in cases)
        return replace(found, cases=tuple(cut))


@dataclass(frozen=True)
class Unit:
    """One likeness to teach and judge."""

    method: str
    settings: tuple[tuple[str, Any], ...]
    case: str
    seed: int

    @property
    def label(self) -> str:
        """The method, with the settings that were changed."""
        told = ", ".join(f"{k}={v}" for k, v in self.settings)
        return f"{self.method} ({told})" if told else self.method

    def key(self, about: str) -> str:
        """The name of its file: a hash of itself and of what else decides its numbers."""
        text = json.dumps([FORMAT, about, self.method, self.settings, self.case, self.seed], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


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
    about = _about(plan)
    todo = {unit.key(about): unit for unit in plan.units}
    missing = {k: u for k, u in todo.items() if not (folder / f"{k}.json").exists()}
    say(f"{len(todo)} likenesses, {len(todo) - len(missing)} there already")
    began = time.monotonic()
    for done, unit in enumerate(_ran(plan, missing, folder, workers, on), 1):
        each = (time.monotonic() - began) / done
        say(f"{done}/{len(missing)}  {unit.label}  {unit.case}  {each * (len(missing) - done) / 60:.1f} min left")
    return collect(plan, folder, results, seconds=time.monotonic() - began)


def collect(plan: Plan, folder: Path, results: Path, *, seconds: float = 0.0) -> dict[str, Any]:
    """Put the results file together from the units that are there."""
    about = _about(plan)
    units = []
    for unit in plan.units:
        path = folder / f"{unit.key(about)}.json"
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
    atomic_write(results, lambda p: p.write_text(_compact(found)), overwrite=True)
    return found


def read_results(path: Path) -> dict[str, Any]:
    """A results file. Raises `FileError` for one that is damaged or of another version."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{path} is no results file that can be read: {error}") from error
    if found.get("format") != FORMAT:
        raise FileError(f"{path} has format {found.get('format')}, this is limner's {FORMAT}: run `limner bench` again")
    return found


# ------------------------------------------------------------------------------------------------------------- one unit


def run_unit(plan: Plan, unit: Unit, folder: Path, key: str, threads: int = 0) -> None:
    """Teach, paint and judge one unit and write its file."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    case = next(c for c in plan.chosen().cases if c.name == unit.case)
    base = _opened(plan.base, plan.device)
    record, images = _judged(plan, unit, case, base, folder)
    strip(images, len(plan.seeds)).save(folder / f"{key}.jpg", quality=90)
    atomic_write(folder / f"{key}.json", lambda p: p.write_text(_compact(record)), overwrite=True)


def _judged(plan: Plan, unit: Unit, case: Case, base: Base, folder: Path) -> tuple[dict[str, Any], list[Image.Image]]:
    import limner

    from .datasets import said, split
    from .measuring import Album, pocket_masks
    from .scoring import ELSEWHERE, images, judged, painted

    member = case.member
    if member.held_out:
        training, held_out = list(member.load()), list(member.held_out)
    else:
        real = member.load()
        kept, out = split(real)
        training, held_out = [real[k] for k in kept], [real[k] for k in out]
    concept, cost = None, {"seconds": 0.0, "bytes": 0, "parameters": 0, "steps": 0, "denoiser_rows": 0, "peak_bytes": 0}
    noun = member.noun
    asked = [said(p, [noun]) for p in case.prompts]
    if unit.method == WORDS:
        if not member.looks:
            raise InputError(f"the looks of {case.name} are not known in words")
        asked = [said(p, [member.looks]) for p in case.prompts]
    elif unit.method != BASE:
        with _counted(base) as spent:
            subject = member.subject("<rex>", pictures=training)
            concept = limner.learn(base, subject, method=unit.method, seed=unit.seed, **dict(unit.settings))
        cost = {**cost, **concept.cost, **spent}
        asked = [p.format("<rex>") for p in case.prompts]
    began = time.monotonic()
    with _counted(base) as painting:
        pictures = painted(base, asked, plan.seeds, concept=concept)
    count = len(plan.seeds)
    cost |= {
        "seconds_per_picture": round((time.monotonic() - began) / len(pictures), 3),
        "denoiser_rows_per_picture": painting["denoiser_rows"] / len(pictures),
    }
    canonical = [case.canonical(p) for p in case.prompts for _ in range(count)]
    plain = _base_pictures(plan, case, base, folder)
    elsewhere = {}
    if concept is not None and plan.base == "pocket":
        elsewhere = {
            "before": images(painted(base, ELSEWHERE, plan.seeds[:1])),
            "after": images(painted(base, ELSEWHERE, plan.seeds[:1], concept=concept)),
        }
    album = Album(
        noun,
        images(pictures),
        tuple(canonical),
        base=tuple(plain),
        training=tuple(training),
        held_out=tuple(held_out),
        gallery=_gallery(plan, noun),
        described=tuple(said(p, [member.looks]) for p in case.prompts for _ in range(count)) if member.looks else (),
        **elsewhere,
    )
    truths = [p for p in case.truth for _ in range(count)]
    card = judged(
        album, _eyes(plan), truths=truths, segment=pocket_masks if not plan.encoders else None, cost=cost
    )  # fmt: skip
    each = card.tradeoff
    record = {
        "method": unit.method,
        "label": unit.label,
        "settings": dict(unit.settings),
        "case": unit.case,
        "seed": unit.seed,
        "key": unit.key(_about(plan)),
        **card.record,
    }
    if each is not None:
        record["each"] = {"F": _short(each.each_fidelity), "T": _short(each.each_alignment)}
    for metric in record["metrics"].values():
        if "each" in metric:
            metric["each"] = _short(metric["each"])
    return record, [p.image for p in pictures]


def _base_pictures(plan: Plan, case: Case, base: Base, folder: Path) -> list[Image.Image]:
    """The untaught base's pictures of a case, painted once for all methods."""
    from PIL import Image

    from .scoring import painted

    count = len(plan.seeds)
    path = folder / f"base-{Unit(BASE, (), case.name, 0).key(_about(plan))}.png"
    rows = len(case.prompts)
    if not path.exists():
        made = [p.image for p in painted(base, [case.canonical(p) for p in case.prompts], plan.seeds)]
        sheet = strip(made, count, gap=0)
        atomic_write(path, lambda p: sheet.save(p, format="PNG"), overwrite=True)
    sheet = Image.open(path).convert("RGB")
    wide, tall = sheet.width // count, sheet.height // rows
    return [sheet.crop((c * wide, r * tall, (c + 1) * wide, (r + 1) * tall)) for r in range(rows) for c in range(count)]


def strip(images: Sequence[Image.Image], columns: int, *, gap: int = 2) -> Image.Image:
    """Pictures at their own size, a row for each prompt."""
    from PIL import Image

    wide, tall = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (wide + gap) - gap, rows * (tall + gap) - gap), "white")
    for k, image in enumerate(images):
        sheet.paste(image, ((k % columns) * (wide + gap), (k // columns) * (tall + gap)))
    return sheet


class _counted:
    """Rows that went through the denoiser, and the greatest memory in use, while it is open."""

    def __init__(self, base: Base) -> None:
        self.base, self.found = base, {"denoiser_rows": 0.0, "peak_bytes": 0.0}

    def __enter__(self) -> dict[str, float]:
        import torch

        def count(module: Any, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            first = inputs[0] if inputs else next(iter(named.values()))
            self.found["denoiser_rows"] += len(first)

        self.hook = self.base.module("denoiser").register_forward_pre_hook(count, with_kwargs=True)
        if self.base.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif os.access("/proc/self/clear_refs", os.W_OK):
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        return self.found

    def __exit__(self, *_: object) -> None:
        import torch

        self.hook.remove()
        if self.base.device.type == "cuda":
            self.found["peak_bytes"] = float(torch.cuda.max_memory_allocated())
        elif Path("/proc/self/status").exists():
            line = next((x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")), "")
            self.found["peak_bytes"] = float(line.split()[1]) * 1024 if line else 0.0


# ------------------------------------------------------------------------------------------------------------- spreading


def _ran(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int, on: str) -> Iterator[Unit]:
    """Run units wherever, yielding each as it is done."""
    if on == "ray":
        yield from _on_ray(plan, missing, folder)
    elif on != "local":
        raise InputError(f"units run on 'local' or 'ray', not {on!r}")
    elif workers <= 1 or len(missing) < 2:
        for key, unit in missing.items():
            run_unit(plan, unit, folder, key)
            yield unit
    else:
        yield from _in_processes(plan, missing, folder, workers)


def _in_processes(plan: Plan, missing: Mapping[str, Unit], folder: Path, workers: int) -> Iterator[Unit]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run_unit, plan, u, folder, k, threads): u for k, u in missing.items()}
        try:
            for future in as_completed(running):
                future.result()
                yield running[future]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_ray(plan: Plan, missing: Mapping[str, Unit], folder: Path) -> Iterator[Unit]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("spreading over a cluster needs Ray: pip install 'limner[ray]'") from error
    ray.init(ignore_reinit_error=True)
    remote = ray.remote(run_unit)
    running = {remote.remote(plan, u, folder.resolve(), k): u for k, u in missing.items()}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        ray.get(done)
        yield running.pop(done)


# ------------------------------------------------------------------------------------------------------------- the numbers


def summary(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Label -> every number's mean with its interval over subjects, diagnoses counted, costs, differences to WORDS.

    A subject's value is the mean over its seeds of teaching; `spread` is the deviation over those seeds, where there are several.
    """
    from .tradeoff import interval, paired, pareto_area

    table: dict[str, Any] = {}
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for unit in units:
        by_label.setdefault(unit["label"], []).append(unit)
    reference = {n: _by_subject(by_label.get(WORDS, ()), n) for n in ("F", "H")}
    for label, rows in by_label.items():
        numbers = {}
        for name in _names(rows):
            by_subject = _by_subject(rows, name)
            if by_subject:
                found = interval(list(by_subject.values()))
                spread = _over_seeds(rows, name)
                numbers[name] = {
                    "mean": _r(found.mean),
                    "low": _r(found.low),
                    "high": _r(found.high),
                    "subjects": found.count,
                }
                if spread is not None:
                    numbers[name]["spread"] = _r(spread)
        against = {}
        for name, values in reference.items():
            mine = _by_subject(rows, name)
            if label != WORDS and values.keys() & mine.keys():
                gap = paired(mine, values)
                against[name] = {"mean": _r(gap.mean), "low": _r(gap.low), "high": _r(gap.high)}
        diagnoses: dict[str, int] = {}
        for row in rows:
            diagnoses[row["diagnosis"]["label"]] = diagnoses.get(row["diagnosis"]["label"], 0) + 1
        points = [(r["tradeoff"]["T"], r["tradeoff"]["F"]) for r in rows if "tradeoff" in r]
        table[label] = {
            "method": rows[0]["method"],
            "units": len(rows),
            "numbers": numbers,
            "above words": against,
            "diagnoses": diagnoses,
            "area": _r(pareto_area(points)) if points else None,
            "cost": {k: _r(statistics.median(r["cost"].get(k, 0) for r in rows)) for k in rows[0]["cost"]},
        }
    return table


def correlations(units: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Spearman's rank correlation, over all pictures good and bad, of each usual metric with what decides: F and T."""
    found: dict[str, dict[str, float]] = {}
    rows = [u for u in units if "each" in u]
    names = sorted({n for u in rows for n, m in u["metrics"].items() if len(m.get("each", ())) == len(u["each"]["F"])})
    for name in names:
        for side in ("F", "T"):
            pairs = [
                (x, y)
                for u in rows
                if len(u["metrics"].get(name, {}).get("each", ())) == len(u["each"][side])
                for x, y in zip(u["metrics"][name]["each"], u["each"][side], strict=True)
                if y is not None
            ]
            value = spearman(pairs)
            if value is not None:
                found.setdefault(name, {})[side] = _r(value)
    return found


def spearman(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Rank correlation, ties at their mean rank; None for fewer than three pairs or no variation."""
    import numpy as np

    both = np.array(list(pairs), dtype=float)
    if len(both) < 3:
        return None
    ranks: list[Any] = []
    for column in both.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks.append(((last - counts + last - 1) / 2)[inverse])
    if min(r.std() for r in ranks) < 1e-12:
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ["F", "T", "H", "J", "balance", "obeyed"]
    return [*names, *dict.fromkeys(n for r in rows for n in r["metrics"])]


def _value(row: Mapping[str, Any], name: str) -> float | None:
    if name in ("F", "T", "H", "J", "balance"):
        return row.get("tradeoff", {}).get(name)
    if name == "obeyed":
        return row["truth"].get("obeyed")
    found: float | None = row["metrics"].get(name, {}).get("value")
    return found


def _by_subject(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        value = _value(row, name)
        if value is not None:
            found.setdefault(row["case"], []).append(value)
    return {case: statistics.fmean(values) for case, values in found.items()}


def _over_seeds(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    found: dict[int, list[float]] = {}
    for row in rows:
        value = _value(row, name)
        if value is not None:
            found.setdefault(row["seed"], []).append(value)
    means = [statistics.fmean(v) for v in found.values()]
    return statistics.stdev(means) if len(means) > 1 else None


def _r(value: float) -> float:
    return round(float(value), 4)


def _short(values: Iterable[float]) -> list[float | None]:
    return [None if v != v else round(float(v), 3) for v in values]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise FileError(f"{path} is damaged ({error}); delete it and run the bench again") from error
    return found


_open: dict[tuple[str, str], Any] = {}


def _opened(name: str, device: str) -> Base:
    import limner

    if (name, device) not in _open:
        _open[name, device] = limner.load(name, device=device)
    found: Base = _open[name, device]
    return found


def _eyes(plan: Plan) -> dict[str, Any]:
    from .encoders import encoder, pocket_encoders

    if not plan.encoders:
        if plan.base != "pocket":
            raise InputError("the encoders that ship know toys: on another base than pocket name some (--clip, --dino)")
        return dict(pocket_encoders())
    key = ("encoders", json.dumps(plan.encoders))
    if key not in _open:
        _open[key] = {role: encoder(where, device=plan.device) for role, where in plan.encoders}
    found: dict[str, Any] = _open[key]
    return found


def _gallery(plan: Plan, noun: str) -> tuple[Image.Image, ...]:
    if plan.data != "toys":
        return ()
    from .datasets.toys import gallery

    return tuple(gallery(noun))


def _about(plan: Plan) -> str:
    """A hash of what else than the unit decides its numbers: the base, the judges, prompts and seeds."""
    told: list[Any] = [
        _opened(plan.base, plan.device).fingerprint,
        plan.data,
        plan.where,
        plan.prompts,
        plan.seeds,
        plan.encoders,
    ]
    if not plan.encoders:
        from .encoders import pocket_encoders

        told.append(sorted({e.weights for e in pocket_encoders().values()}))
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}


@dataclass(frozen=True)
class Standard:
    """A named size of bench."""

    cases: int
    prompts: int
    seeds: tuple[int, ...] = field(default=(0, 1))


SIZES = {"standard": Standard(6, 10), "quick": Standard(2, 5, (0,))}
