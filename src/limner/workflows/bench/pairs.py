"""`bench --suite pairs`: a comparison of methods, and of ways to paint two of their concepts in one picture.

Every unit (a method, a way, a pair of toys) has a JSON file and a sheet of pictures in the run's folder; concepts are
trained once for all ways and lie beside them. Units with a file are not run again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import atomic_write, check_folder, write_text
from limner.core.interrupts import ending
from limner.core.wording import counted
from limner.errors import FileError, InputError, UnknownName

from .unit import _opened, compact, strip

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.evaluation.datasets.pairs import Pair

FORMAT = 1
HANDLES = ("<rex>", "<bo>")
TRUTH = "ground-truth renders"
COMPOSED = ("blend", "attention", "latents")
MERGED = ("average", "weighted", "closed-form", "gradient-fusion", "neurons", "orthogonal", "continual")
WAYS = ("together", *COMPOSED, *MERGED)
"""Ways to paint both concepts: attached at once; attached with regions, by how these act; merged into one, by the way
of merging."""
METHODS = ("textual_inversion", "lora_dreambooth", "custom_diffusion", "ip_adapter", "cones2", "mix_of_show", "mc2")


@dataclass(frozen=True)
class PairPlan:
    """Everything that decides the numbers of a run."""

    methods: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = tuple((name, ()) for name in METHODS)
    ways: tuple[str, ...] = ("together", "blend")
    pairs: int = 3
    prompts: int = 6
    seeds: tuple[int, ...] = (0,)
    steps: int = 25  # sampling steps
    device: str = "cpu"

    def __post_init__(self) -> None:
        from limner.methods import find

        for name, _ in self.methods:
            find(name)
        for way in self.ways:
            if way not in WAYS:
                raise UnknownName("way of painting two subjects", way, WAYS)
        if not self.methods or not self.ways or not self.seeds:
            raise InputError("a bench of pairs needs a method, a way of painting two subjects and a seed at least")


def bench_pairs(
    plan: PairPlan,
    *,
    results: Path,
    folder: Path,
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Run the plan's missing units on the pocket base and write `results`. A way that does not suit a method, such as
    the closed form for concepts that change more than keys and values, gives a unit with the reason instead of scores.
    Raises `FileError` for a results file that limner did not write."""
    from limner.evaluation.datasets.pairs import pairs

    check_folder(folder)
    _check_results(results)
    base, every = _opened("pocket", plan.device), pairs(count=plan.pairs, prompts=plan.prompts)
    todo = [(method, given, way, pair) for pair in every for method, given in plan.methods for way in plan.ways]
    todo += [(TRUTH, (), TRUTH, pair) for pair in every]
    records, began, new = [], time.monotonic(), 0
    with ending():
        for number, (method, given, way, pair) in enumerate(todo, 1):
            path = folder / f"{_key(plan, base, method, given, way, pair.name)}.json"
            record = _read(path)
            if record is None:
                record, images = _unit(plan, base, method, dict(given), way, pair, folder)
                if images:
                    save = functools.partial(strip(images, len(plan.seeds)).save, format="JPEG", quality=90)
                    atomic_write(path.with_suffix(".jpg"), save, overwrite=True)
                write_text(path, compact(record), overwrite=True)
                new += 1
                say(
                    f"{number}/{len(todo)}  {method}  {way}  {pair.name}  {(time.monotonic() - began) / new:.0f} s each"
                )
            records.append(record)
    # the same values as those that a later run reads from the files
    records = json.loads(compact(records))
    whole = {"format": FORMAT, "suite": "pairs", "plan": asdict(plan), "summary": _summary(records), "units": records}
    write_text(results, compact(whole), overwrite=True)
    say(f"{counted(len(todo), 'unit')}, {new} of them new, in {results}")
    return whole


def _check_results(results: Path) -> None:
    check_folder(results.parent)
    if results.exists() and not results.read_bytes()[:200].startswith(b'{"format":'):
        raise FileError(f"{results} was not written by limner, so it is not replaced; name another with --results")


def _read(path: Path) -> dict[str, Any] | None:
    """A finished unit; None where its file is missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and {"method", "way", "pair"} <= record.keys() else None


def _key(plan: PairPlan, base: Base, method: str, given: Sequence[Any], way: str, pair: str) -> str:
    from limner.library.settings import checked_settings
    from limner.methods import find

    chosen = checked_settings(find(method), dict(given)) if method != TRUTH else {}
    about = [FORMAT, base.fingerprint, method, chosen, way, pair, plan.prompts, plan.seeds, plan.steps]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:20]


def _unit(
    plan: PairPlan, base: Base, method: str, given: Mapping[str, Any], way: str, pair: Pair, folder: Path
) -> tuple[dict[str, Any], list[Image.Image]]:
    """One unit's record and pictures; without pictures where the way does not suit the method."""
    about = {"method": method, "settings": dict(given), "way": way, "pair": pair.name}
    if method == TRUTH:
        images = pair.answers(plan.seeds)
        return {**about, **_judged(plan, pair, images, (1.0, 1.0))}, images
    began = time.monotonic()
    concepts = [_concept(base, method, given, pair, k, folder) for k in range(2)]
    try:
        images = _painted(plan, base, concepts, way, pair)
    except InputError as why:
        return {**about, "why_not": str(why)}, []
    alone = tuple(_alone(plan, base, concepts[k], pair, k) for k in range(2))
    seconds = round(time.monotonic() - began, 1)
    return {**about, "seconds": seconds, "alone": alone, **_judged(plan, pair, images, alone)}, images


def _concept(base: Base, method: str, given: Mapping[str, Any], pair: Pair, number: int, folder: Path) -> Concept:
    """The concept of one of the two subjects, read from the folder where another way has trained it already."""
    import limner
    from limner.library.settings import checked_settings
    from limner.methods import find

    member = pair.members[number]
    about = [base.fingerprint, method, checked_settings(find(method), given), member.name, HANDLES[number]]
    name = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = folder / f"concept-{name}.safetensors"
    if path.exists():
        return limner.Concept.load(path, trust=True)
    concept = limner.learn(base, member.subject(HANDLES[number]), method=method, **given)
    concept.save(path)
    return concept


def _painted(plan: PairPlan, base: Base, concepts: Sequence[Concept], way: str, pair: Pair) -> list[Image.Image]:
    """One picture for each prompt and seed, ordered by prompt."""
    import limner

    attached_concepts = [limner.merge(base, concepts, by=way)] if way in MERGED else list(concepts)
    settings = limner.PaintSettings(plan.steps, compose=way if way in COMPOSED else "blend")
    images: list[Image.Image] = []
    for prompt in pair.prompts:
        regions = pair.regions(prompt, HANDLES) if way in COMPOSED else None
        about: dict[str, Any] = {"concepts": attached_concepts, "settings": settings, "regions": regions}
        for seed in plan.seeds:
            images += [p.image for p in limner.paint(base, prompt.text.format(*HANDLES), seed=seed, **about)]
    return images


def _alone(plan: PairPlan, base: Base, concept: Concept, pair: Pair, number: int) -> float:
    """The subject fidelity of one of the two in pictures of it alone, in the scenes of the prompts."""
    import limner
    from limner.evaluation.several import likeness_alone

    prompts = [text.format(concept.handle) for text in pair.alone(number)]
    settings = limner.PaintSettings(plan.steps)
    images = [p.image for p in limner.paint(base, prompts, concepts=[concept], seed=plan.seeds[0], settings=settings)]
    member = pair.members[number]
    return round(likeness_alone(images, member.held_out, member.noun, _encoder()), 4)


def _judged(plan: PairPlan, pair: Pair, images: Sequence[Image.Image], alone: tuple[float, ...]) -> dict[str, Any]:
    from limner.evaluation.several import Company, judged_together

    truths = tuple(prompt.truth for prompt in pair.prompts for _ in plan.seeds)
    company = Company(
        tuple(member.noun for member in pair.members),
        tuple(images),
        tuple(member.held_out for member in pair.members),
        alone,
        truths,
    )
    return judged_together(company, _encoder()).record


def _encoder() -> Any:
    from limner.evaluation.encoders import pocket_encoders

    return pocket_encoders()["identity"]


def _summary(units: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean over pairs for each method and way, or the reason why there are no scores."""
    rows: list[dict[str, Any]] = []
    for method, way in dict.fromkeys((unit["method"], unit["way"]) for unit in units):
        own = [unit for unit in units if (unit["method"], unit["way"]) == (method, way)]
        done = [unit["values"] for unit in own if "values" in unit]
        row: dict[str, Any] = {"method": method, "way": way, "pairs": len(done)}
        if done:
            row |= {name: _mean([values[name] for values in done]) for name in done[0]}
        else:
            row["why_not"] = own[0]["why_not"]
        rows.append(row)
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None where all are."""
    numbers = [value for value in values if value is not None]
    return round(sum(numbers) / len(numbers), 4) if numbers else None


COLUMNS = ("identity", "consistency", "leakage", "colour_leakage", "present", "relation", "prompt")


def table_of(comparison: Mapping[str, Any]) -> str:
    """The summary as a table in Markdown, a row for each method and way."""
    lines = [
        f"| method | way | {' | '.join(c.replace('_', ' ') for c in COLUMNS)} |",
        "|" + "---|" * (len(COLUMNS) + 2),
    ]
    for row in comparison["summary"]:
        if "why_not" in row:
            lines.append(f"| {row['method']} | {row['way']} | {row['why_not']} |" + " |" * (len(COLUMNS) - 1))
        else:
            values = " | ".join("-" if row.get(c) is None else f"{row[c]:.3f}" for c in COLUMNS)
            lines.append(f"| {row['method']} | {row['way']} | {values} |")
    return "\n".join(lines)
