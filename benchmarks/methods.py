"""Every method on held-out toys, beside the base alone and the base told the toy's looks: results/methods.json.

    python benchmarks/methods.py [--toys 4] [--seeds 3] [--only NAME …] [--curve]

A toy is taught from four rendered pictures, then painted by eight prompts, one picture each, for every seed of teaching
and painting; scores are `limner.evaluation.simple`'s. What is there already is not run again. `--curve` teaches
DreamBooth far too long and scores it on the way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import limner
from limner.demo import toy
from limner.evaluation.simple import scores
from limner.files import atomic_write
from limner.methods import methods
from limner.picture import Picture, Pictures
from limner.pocket.world import CORE, PROMPTS, SPLITS, describe, individual
from limner.subject import Subject
from limner.wearing import Outfit

RESULTS = Path("results/methods.json")
MILESTONES = (5, 20, 60, 150, 400)
CURVE = Path("results/dreambooth_curve.json")
TOYS = [("dog", 40), ("car", 41), ("teapot", 42), ("robot", 43)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--curve", action="store_true")
    given = parser.parse_args()
    base = limner.load("pocket", device="cpu")
    if given.curve:
        _write(CURVE, {"fingerprint": base.fingerprint, "points": curve(base)})
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    runs = found.get("runs", []) if found.get("fingerprint") == base.fingerprint else []
    done = {(r["method"], r["toy"], r["seed"]) for r in runs}
    for name in given.only or ["base alone", "base told the looks", *methods()]:
        for kind, number in TOYS[: given.toys]:
            for seed in range(given.seeds):
                if (name, f"{kind} {number}", seed) not in done:
                    runs.append(one(base, name, kind, number, seed))
                    print(runs[-1], file=sys.stderr, flush=True)
                    _write(RESULTS, {"fingerprint": base.fingerprint, "summary": summary(runs), "runs": runs})
    _write(RESULTS, {"fingerprint": base.fingerprint, "summary": summary(runs), "runs": runs})


def one(base: Any, name: str, kind: str, number: int, seed: int) -> dict[str, Any]:
    """Teach, paint and score one toy with one seed."""
    at = SPLITS["held-out"].start + number
    subject = toy(kind, at)
    told = describe(individual(kind, at, patterns=CORE.patterns))
    concept = None
    if name in methods():
        concept = limner.learn(base, subject, method=name, seed=seed)
    says = {"base alone": f"a {kind}", "base told the looks": f"a {told}"}.get(name, "<rex>")
    asked = [prompt.text.format(says) for prompt in PROMPTS]
    pictures = limner.paint(base, asked, concepts=[concept] if concept else [], seed=100 * seed)
    found = scores(_named(pictures, subject), subject=subject, prompts=PROMPTS)
    cost = concept.cost if concept else {"seconds": 0.0, "bytes": 0}
    return {"method": name, "toy": f"{kind} {number}", "seed": seed, "scores": found, "cost": cost}


def _named(pictures: Pictures, subject: Subject) -> list[Picture]:
    return [replace(p, prompt=prompt.text.format(subject.handle)) for p, prompt in zip(pictures, PROMPTS, strict=True)]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over toys of the mean over seeds, and the standard deviation over seeds of the mean over toys."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == name]
        found[name] = {
            "runs": len(own),
            "seconds": round(statistics.median(r["cost"]["seconds"] for r in own), 1),
            "bytes": own[0]["cost"]["bytes"],
        }
        for score in own[0]["scores"]:
            by_seed: dict[int, list[float]] = {}
            for run in own:
                by_seed.setdefault(run["seed"], []).append(run["scores"][score])
            means = [statistics.mean(values) for values in by_seed.values()]
            spread = statistics.stdev(means) if len(means) > 1 else 0.0
            found[name][score] = {"mean": round(statistics.mean(means), 4), "spread": round(spread, 4)}
    return found


def curve(base: Any) -> list[dict[str, Any]]:
    """DreamBooth without prior preservation, scored on the way to far too many steps."""
    kind, number = TOYS[1]
    subject = toy(kind, SPLITS["held-out"].start + number)
    recipe = limner.find("dreambooth")(subject, steps=MILESTONES[-1], prior_weight=0.0)
    start = limner.learn(base, subject, method="dreambooth", steps=1, prior_weight=0.0)
    running = limner.teach(base, Outfit(recipe, subject.handle), stages=recipe.tuning, seed=0)
    taught = {p.done: p.snapshot().tensors for p in running if p.done in MILESTONES}
    points = []
    for steps, tensors in taught.items():
        asked = [prompt.text.format(subject.handle) for prompt in PROMPTS]
        pictures = limner.paint(base, asked, concepts=[replace(start, tensors=tensors)], count=2)
        points.append({"steps": steps, **scores(pictures, subject=subject, prompts=PROMPTS)})
        print(points[-1], file=sys.stderr, flush=True)
    return points


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, lambda p: p.write_text(json.dumps(value, indent=1) + "\n"), overwrite=True)


if __name__ == "__main__":
    main()
