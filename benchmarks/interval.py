"""Guidance in a part of the steps: what it costs, and what the pictures are worth by the judges of the pocket world.

Seconds are those of the processor, so that other work on the machine counts little.

python benchmarks/interval.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from common import spread, write

from limner.pocket import SIZE

STEPS, GUIDANCE = 15, 4.0
BETWEEN = ((0.0, 1.0), (0.0, 0.8), (0.0, 0.6), (0.2, 1.0), (0.2, 0.8))
"""Shares of the steps between which there is guidance, noisiest first; beside them, no guidance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    import limner
    from limner.core.pixels import to_tensor
    from limner.evaluation import truth
    from limner.evaluation.datasets.toys import STANDARD, asked
    from limner.evaluation.tradeoff import paired
    from limner.pocket import judges

    torch.set_num_threads(given.threads)
    base = limner.load("pocket", device="cpu")
    prompts, nouns = asked(), [kind for kind, _ in STANDARD]
    ways: dict[str, Any] = {f"{a:g} to {b:g}": {"guidance": GUIDANCE, "guide_between": (a, b)} for a, b in BETWEEN}
    ways["none"] = {"guidance": 1.0}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores: dict[str, dict[str, dict[str, float]]] = {way: {} for way in ways}
    limner.paint(base, "a dog", settings=limner.PaintSettings(2))
    for noun in nouns:
        texts = [p.text.format(noun) for p in prompts]
        for seed in range(given.seeds):
            for way, how in ways.items():
                began = time.process_time()
                shown = limner.paint(base, texts, seed=seed, settings=limner.PaintSettings(STEPS, **how))
                seconds[way].append((time.process_time() - began) / len(shown))
                images = [picture.image for picture in shown]
                scores[way][f"{noun} {seed}"] = {
                    "clip_t": float(judges.text_similarity(to_tensor(images, SIZE), texts).mean()),
                    "obeyed": float(truth.obeyed(images, prompts).mean()),
                    "alignment": float(truth.alignment(images, prompts).mean()),
                    "class": statistics.mean(row["class"] == noun for row in judges.read(to_tensor(images, SIZE))),
                }
    rows = {}
    usual = spread(seconds["0 to 1"])["median"]
    for way in ways:
        row: dict[str, Any] = {"cpu_seconds_a_picture": spread(seconds[way])}
        row["faster"] = round(usual / row["cpu_seconds_a_picture"]["median"], 2)
        for name in ("clip_t", "obeyed", "alignment", "class"):
            own, all_steps = ({k: v[name] for k, v in scores[w].items()} for w in (way, "0 to 1"))
            change = paired(own, all_steps)
            row[name] = round(statistics.mean(own.values()), 3)
            row[f"{name}_change"] = [round(x, 3) for x in (change.mean, change.low, change.high)]
        rows[way] = row
    write(
        "interval",
        what=f"{len(nouns)} classes x {len(prompts)} prompts x {given.seeds} seeds of 128 px, {STEPS} DDIM steps, guidance {GUIDANCE} between shares of the steps, float32; pocket, no concept. Change against all steps: mean, and 95 % of bootstrap samples of class and seed",
        rows=rows,
    )


if __name__ == "__main__":
    main()
