"""One unit of a bench: a concept is trained, painted and scored, and its file is written whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.files import atomic_write, write_text
from limner.errors import InputError, TeachingError
from limner.evaluation.summary import BASE, COPIER, TRUTH, WORDS

from .plan import Plan, Unit, method_of

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.evaluation.datasets import Case


def run_crew(
    plan: Plan, units: Mapping[str, Unit] | Iterable[tuple[str, Unit]], folder: Path, threads: int = 0
) -> None:
    """Train units (by key), several stacked in one pass, then paint and score each and write its file."""
    import torch

    trainer = dict(units)

    if threads:
        torch.set_num_threads(threads)
    base = _opened(plan.base, plan.device, plan.faces)
    cases = {case.name: case for case in plan.chosen().cases}
    lessons = list(dict.fromkeys(unit.lesson for unit in trainer.values()))
    taught = _taught_together(lessons, cases, base) if len(lessons) > 1 else {}
    for key, unit in trainer.items():
        if unit.lesson not in taught:
            taught[unit.lesson] = _taught(unit, cases[unit.case], base)
        record, images = _judged(plan, unit, cases[unit.case], base, folder, taught[unit.lesson])
        save = functools.partial(strip(images, len(plan.seeds)).save, format="JPEG", quality=90)
        atomic_write(folder / f"{key}.jpg", save, overwrite=True)
        write_text(folder / f"{key}.json", compact(record), overwrite=True)


Taught: TypeAlias = "tuple[Concept | None, dict[str, float]]"
"""A unit's concept (None for a baseline that learns nothing), and its cost."""


def _taught_together(lessons: Sequence[Unit], cases: Mapping[str, Case], base: Base) -> dict[Unit, Taught]:
    """Train one subject at several seeds or settings, stacked in one pass. Each gets an equal share of the cost;
    "together" holds their number."""
    from limner.workflows.learn_many import Job, learn_many

    case = cases[lessons[0].case]
    subject = case.member.subject("<rex>", pictures=_split(case)[0])
    jobs = {unit: Job(subject, unit.method, unit.seed, dict(unit.settings)) for unit in lessons}
    began = time.monotonic()
    with _counted(base) as spent:
        done = learn_many(base, list(jobs.values()))
    each = {name: value / len(lessons) for name, value in spent.items()} | {
        "seconds": round((time.monotonic() - began) / len(lessons), 2),
        "together": float(len(lessons)),
    }
    concepts_and_costs: dict[Unit, Taught] = {}
    for unit, job in jobs.items():
        end = next(d for d in done if d.job is job)
        if end.concept is None:
            raise end.error or TeachingError(f"{unit.label} was not trained")
        concepts_and_costs[unit] = end.concept, {**_nothing(), **end.concept.cost, **each}
    return concepts_and_costs


def _nothing() -> dict[str, float]:
    names = ("seconds", "bytes", "parameters", "steps", "denoiser_rows", "peak_bytes", "pretraining_steps")
    return dict.fromkeys(names, 0.0)


def _split(case: Case) -> tuple[list[Image.Image], list[Image.Image]]:
    """The pictures to learn from, and the held-out pictures to score with."""
    from limner.data.duplicates import split

    if case.member.held_out:
        return case.member.load(), list(case.member.held_out)
    real = case.member.load()
    training, out = split(real)
    return [real[k] for k in training], [real[k] for k in out]


def _judged(
    plan: Plan, unit: Unit, case: Case, base: Base, folder: Path, taught: Taught
) -> tuple[dict[str, Any], list[Image.Image]]:
    from limner.evaluation.datasets import fill_prompt
    from limner.evaluation.measuring import Album, segment_of
    from limner.evaluation.score import images, judged
    from limner.workflows.score import painted

    member, count = case.member, len(plan.seeds)
    training, held_out = _split(case)
    concept, cost = taught[0], dict(taught[1])
    began = time.monotonic()
    with _counted(base) as painting:
        shown = _shown(plan, unit, case, base, concept, training)
    cost |= {
        "seconds_per_picture": round((time.monotonic() - began) / len(shown), 3),
        "denoiser_rows_per_picture": painting["denoiser_rows"] / len(shown),
    }
    elsewhere, bench = {}, base.capabilities.bench
    if concept is not None and bench is not None:
        where = bench.prompts_elsewhere
        elsewhere = {
            "before": images(painted(base, where, plan.seeds[:1])),
            "after": images(painted(base, where, plan.seeds[:1], concept=concept, scale=unit.scale)),
        }
    album = Album(
        member.noun,
        tuple(shown),
        tuple(case.canonical(p) for p in case.prompts for _ in range(count)),
        base=tuple(_base_pictures(plan, case, base, folder)),
        training=tuple(training),
        held_out=tuple(held_out),
        gallery=_gallery(plan, case),
        real=tuple(case.answers(range(100, 104))),
        descriptions=tuple(fill_prompt(p, [member.looks]) for p in case.prompts for _ in range(count))
        if member.looks
        else (),
        kind=member.kind,
        answers=tuple(case.answers(plan.seeds)) if plan.data == "people" else (),
        **elsewhere,
    )
    card = judged(
        album,
        _eyes(plan, case),
        truths=[p for p in case.truth for _ in range(count)],
        known=member.known,
        segment=None if plan.encoders else segment_of(base),
        cost=cost,
    )
    each = card.tradeoff
    record = {
        "method": unit.method,
        "label": unit.label,
        "lesson": unit.lesson.label,
        "scale": unit.scale,
        "settings": dict(unit.settings),
        "case": unit.case,
        "seed": unit.seed,
        "key": key_of(plan, unit),
        **card.record,
    }
    if each is not None:
        record["each"] = {"F": _short(each.each_fidelity), "T": _short(each.each_alignment)}
    for metric in record["metrics"].values():
        if "each" in metric:
            metric["each"] = _short(metric["each"])
    return record, shown


def _taught(unit: Unit, case: Case, base: Base) -> Taught:
    """The concept and its cost; no concept for a baseline that learns nothing."""
    import limner
    from limner.core.weights import about_weights

    method, cost = method_of(unit.method), _nothing()
    if method is None:
        return None, cost
    subject = case.member.subject("<rex>", pictures=_split(case)[0])
    with _counted(base) as spent:
        concept = limner.learn(base, subject, method=unit.method, seed=unit.seed, **dict(unit.settings))
    recipe = method(subject, **dict(unit.settings))
    about = about_weights(recipe.weights, base) if recipe.weights else {}
    once = about.get("updates", about.get("settings", {}).get("steps", 0))
    return concept, {**cost, **concept.cost, **spent, "pretraining_steps": once}


def _shown(
    plan: Plan, unit: Unit, case: Case, base: Base, concept: Concept | None, training: Sequence[Image.Image]
) -> list[Image.Image]:
    """The unit's pictures for every prompt and seed."""
    from limner.evaluation.datasets import fill_prompt
    from limner.workflows.score import painted

    count = len(plan.seeds)
    if unit.method == COPIER:
        return [training[(k + s) % len(training)] for k in range(len(case.prompts)) for s in range(count)]
    if unit.method == TRUTH:
        if case.draw is None:
            raise InputError(f"{case.name} is no toy, so its ground-truth renders cannot be drawn: leave out {TRUTH!r}")
        return case.answers(plan.seeds)
    if unit.method == WORDS and not case.member.looks:
        raise InputError(f"no description of {case.name} is known: leave out {WORDS!r}")
    who = {BASE: case.member.noun, WORDS: case.member.looks}.get(unit.method)
    asked = [p.format("<rex>") if who is None else fill_prompt(p, [who]) for p in case.prompts]
    return [p.image for p in painted(base, asked, plan.seeds, concept=concept, scale=unit.scale)]


def _base_pictures(plan: Plan, case: Case, base: Base, folder: Path) -> list[Image.Image]:
    """The base's own pictures of a case, painted once for all methods; painted again where their file is damaged."""
    from limner.workflows.score import painted

    count = len(plan.seeds)
    path = folder / f"base-{key_of(plan, Unit(BASE, (), case.name, 0))}.png"
    rows = len(case.prompts)
    sheet = _read_sheet(path, count, rows)
    if sheet is None:
        made = [p.image for p in painted(base, [case.canonical(p) for p in case.prompts], plan.seeds)]
        sheet = strip(made, count, gap=0)
        atomic_write(path, functools.partial(sheet.save, format="PNG"), overwrite=True)
    wide, tall = sheet.width // count, sheet.height // rows
    return [sheet.crop((c * wide, r * tall, (c + 1) * wide, (r + 1) * tall)) for r in range(rows) for c in range(count)]


def _read_sheet(path: Path, columns: int, rows: int) -> Image.Image | None:
    """A sheet that was written before; None where it is missing, unreadable or of another size."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as file:
            sheet = file.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
    return None if sheet.width % columns or sheet.height % rows else sheet


def strip(images: Sequence[Image.Image], columns: int, *, gap: int = 2) -> Image.Image:
    """A sheet of pictures at their own size, with one row for each prompt."""
    from PIL import Image

    wide, tall = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (wide + gap) - gap, rows * (tall + gap) - gap), "white")
    for k, image in enumerate(images):
        sheet.paste(image, ((k % columns) * (wide + gap), (k // columns) * (tall + gap)))
    return sheet


class _counted:
    """A context that counts the rows that pass through the denoiser, and measures the peak memory."""

    def __init__(self, base: Base) -> None:
        self.base, self.usage = base, {"denoiser_rows": 0.0, "peak_bytes": 0.0}

    def __enter__(self) -> dict[str, float]:
        import torch

        def count(module: Any, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            first = inputs[0] if inputs else next(iter(named.values()))
            self.usage["denoiser_rows"] += len(first)

        self.hook = self.base.module("denoiser").register_forward_pre_hook(count, with_kwargs=True)
        if self.base.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif os.access("/proc/self/clear_refs", os.W_OK):
            # resets the process's peak of memory
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return self.usage

    def __exit__(self, *_: object) -> None:
        import torch

        self.hook.remove()
        if self.base.device.type == "cuda":
            self.usage["peak_bytes"] = float(torch.cuda.max_memory_allocated())
        elif Path("/proc/self/status").exists():
            line = next(
                (
                    x
                    for x in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
                    if x.startswith("VmHWM")
                ),
                "",
            )
            self.usage["peak_bytes"] = float(line.split()[1]) * 1024 if line else 0.0


_open: dict[tuple[str, ...], Any] = {}


def _opened(name: str, device: str, faces: str = "") -> Base:
    import limner

    if (name, device, faces) not in _open:
        _open[name, device, faces] = limner.load(name, device=device, faces=faces or None)
    base: Base = _open[name, device, faces]
    return base


def _eyes(plan: Plan, case: Case | None = None) -> dict[str, Any]:
    """The encoders by role; with a case of people, those that know its prompts too."""
    from limner.evaluation.encoders import bench_encoders, encoder, face_encoder

    if not plan.encoders:
        bench = _opened(plan.base, plan.device, plan.faces).capabilities.bench
        if bench is None:
            raise InputError(f"the built-in encoders do not know pictures of {plan.base}: name others (--clip, --dino)")
        if plan.data == "people" and case is not None:
            from limner.evaluation.people import people_encoders

            prompts = [p for p in case.truth for _ in plan.seeds]
            return people_encoders(bench_encoders(bench), prompts)  # type: ignore[arg-type]  # this set's prompts
        return dict(bench_encoders(bench))
    key = ("encoders", json.dumps(plan.encoders))
    if key not in _open:
        _open[key] = {
            role: face_encoder(where, device=plan.device) if role == "face" else encoder(where, device=plan.device)
            for role, where in plan.encoders
        }
    encoders: dict[str, Any] = _open[key]
    return encoders


def _gallery(plan: Plan, case: Case) -> tuple[Image.Image, ...]:
    """Real pictures of other members of the class."""
    if plan.data == "toys":
        from limner.evaluation.datasets.toys import gallery

        return tuple(gallery(case.member.noun))
    if plan.data == "people":
        from limner.evaluation.datasets import people

        return tuple(people.gallery(case.member.noun))
    others = (c.member for c in plan.chosen().cases if c.name != case.name)
    return tuple(image for m in others if m.noun == case.member.noun for image in m.load())


def about_of(plan: Plan) -> str:
    """A hash of everything besides the unit itself that decides its numbers: base, judges, prompts and seeds."""
    conditions: list[Any] = [
        _opened(plan.base, plan.device, plan.faces).fingerprint,
        plan.data,
        plan.where,
        plan.prompts,
        plan.seeds,
        plan.encoders,
        *([plan.kinds] if plan.kinds else []),
    ]
    if not plan.encoders:
        conditions.append(sorted({e.weights for e in _eyes(plan).values()}))
    return hashlib.sha256(json.dumps(conditions, default=str).encode()).hexdigest()[:16]


def key_of(plan: Plan, unit: Unit) -> str:
    """The name of a unit's file in this plan. It changes with the defaults of the method and with the pre-trained
    weights."""
    from limner.core.weights import mark
    from limner.evaluation.encoders import file_hash
    from limner.library.settings import checked_settings

    base, known = _opened(plan.base, plan.device, plan.faces), method_of(unit.method)
    chosen = repr(checked_settings(known, dict(unit.settings), base=base.name)) if known else ""
    # the key changes when the user's file is edited
    if ".py:" in unit.method:
        chosen += file_hash(Path(unit.method.rpartition(":")[0]))
    return unit.key(about_of(plan), mark(unit.method, base), chosen)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str) + "\n"


def _short(values: Iterable[float]) -> list[float | None]:
    return [None if v != v else round(float(v), 3) for v in values]
