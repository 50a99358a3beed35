"""DreamBooth taught far too long, scored on the way: results/dreambooth_curve.json.

    python benchmarks/curve.py

The toy is held out. Fidelity must rise and alignment fall: that this trade-off can be measured is what the world is
for.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import limner
from limner.core.files import atomic_write
from limner.engine.attach import Adapter
from limner.evaluation.datasets.toys import toys
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.measuring import Album
from limner.evaluation.score import images, judged
from limner.workflows.score import painted

MILESTONES = (5, 20, 60, 150, 400, 1200)
RESULTS = Path("results/dreambooth_curve.json")
SEEDS = (0, 1)


def main() -> None:
    base = limner.load("pocket", device="cpu")
    record = {"fingerprint": base.fingerprint, "points": curve(base)}
    RESULTS.parent.mkdir(exist_ok=True)
    atomic_write(RESULTS, lambda p: p.write_text(json.dumps(record, indent=1) + "\n"), overwrite=True)


def curve(base: Any) -> list[dict[str, Any]]:
    """The scores after each milestone, without prior preservation."""
    case = toys(count=2).cases[1]
    subject = case.member.subject("<rex>")
    recipe = limner.find("dreambooth")(subject, steps=MILESTONES[-1], prior_weight=0.0)
    start = limner.learn(base, subject, method="dreambooth", steps=1, prior_weight=0.0)
    running = limner.train(base, Adapter(recipe, subject.handle), stages=recipe.tuning, seed=0)
    taught = {p.done: p.snapshot().tensors for p in running if p.done in MILESTONES}
    canonical = [case.canonical(p) for p in case.prompts]
    album = Album(
        case.member.noun,
        images(painted(base, canonical, SEEDS)),
        tuple(c for c in canonical for _ in SEEDS),
        base=images(painted(base, canonical, SEEDS)),
        training=case.member.images,
        held_out=case.member.held_out,
    )
    truths = [p for p in case.truth for _ in SEEDS]
    points = []
    for steps, tensors in {0: None, **taught}.items():
        adapted = replace(start, tensors=tensors) if tensors is not None else None
        asked = [p.format("<rex>") for p in case.prompts] if adapted else canonical
        shown = replace(album, pictures=images(painted(base, asked, SEEDS, concept=adapted)))
        card = judged(shown, pocket_encoders(), truths=truths, only=("identity", "clip_t", "copy_index"))
        assert card.tradeoff is not None
        points.append(
            {
                "steps": steps,
                "F": round(card.tradeoff.fidelity, 4),
                "T": round(card.tradeoff.alignment, 4),
                "H": round(card.tradeoff.harmonic, 4),
                "obeyed": round(card.truth["obeyed"], 4),
                "diagnosis": card.diagnosis.label,
                **{name: m.value for name, m in card.measured.items()},
            }
        )
        print(points[-1], file=sys.stderr, flush=True)
    return points


if __name__ == "__main__":
    main()
