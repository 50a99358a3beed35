"""Inversion of held-out toys' latents: how near the sampler comes back to them, and what it costs.

An error is the mean square of the difference by the mean square of the latents. Passes are the denoiser's, of one
branch; seconds are those of the processor.

python benchmarks/inversion.py
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from common import write

PROMPT, GUIDANCE, TOYS = "a photo of a {}", 4.0, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch
    from torch import Tensor

    import limner
    from limner.core.types import Pass
    from limner.engine.inversion import inverted_along, null_text_inverted, solved_along
    from limner.evaluation.datasets.toys import STANDARD
    from limner.pocket.subjects import toy
    from limner.pocket.world import SPLITS

    torch.set_num_threads(given.threads)
    base = limner.load("pocket", device="cpu")
    pixels = torch.cat(
        [
            toy(kind, SPLITS["held-out"].start + number, count=1).tensor(base.picture_size)
            for kind, number in STANDARD[:TOYS]
        ]
    )
    passes = 0

    def run(x: Tensor, at: Tensor, states: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        output: Tensor = base.predict(x, at, states, context=Pass(time=at))
        return output

    with torch.no_grad():
        clean = base.encode(pixels)[0]
        states = base.text_states([PROMPT.format(kind) for kind, _ in STANDARD[:TOYS]], words={})
        empty = base.text_states([""] * len(clean), words={})

    def text(x: Tensor, at: Tensor) -> Tensor:
        return run(x, at, states)

    def negative(x: Tensor, at: Tensor, against: Tensor) -> Tensor:
        return run(x, at, against)

    def guided(x: Tensor, at: Tensor) -> Tensor:
        return torch.lerp(run(x, at, empty), text(x, at), GUIDANCE)

    times = base.scheduler(steps=given.steps).timesteps

    def there_and_back(sampler: str, invert: Callable[[Tensor], list[Tensor]], predict: Any) -> Tensor:
        scheduler = base.scheduler(sampler, steps=given.steps)
        now = invert(scheduler.timesteps)[0]
        with torch.no_grad():
            for time_ in scheduler.timesteps:
                output = predict(now, time_.expand(len(now)))
                now = base.stepped(scheduler, output, time_, now, [torch.Generator() for _ in now])
        return now

    def by_null_text() -> Tensor:
        way = inverted_along(base, text, clean, times)
        null = null_text_inverted(base, text, negative, way, empty, times, guidance=GUIDANCE)
        return null.latents[-1]

    ways: dict[str, Callable[[], Tensor]] = {
        "ddim": lambda: there_and_back("ddim", lambda at: inverted_along(base, text, clean, at), text),
        "dpm": lambda: there_and_back("dpm", lambda at: inverted_along(base, text, clean, at, order=2), text),
        "exact": lambda: there_and_back("ddim", lambda at: solved_along(base, text, clean, at), text),
        "ddim, guided": lambda: there_and_back("ddim", lambda at: inverted_along(base, text, clean, at), guided),
        "null text, guided": by_null_text,
        "exact, guided": lambda: there_and_back("ddim", lambda at: solved_along(base, guided, clean, at), guided),
    }
    rows = {}
    for name, way in ways.items():
        passes, began = 0, time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            back = way()
        errors = ((back - clean).square().mean((1, 2, 3)) / clean.square().mean((1, 2, 3))).tolist()
        rows[name] = {
            "error": float(f"{statistics.mean(errors):.2g}"),
            "largest_error": float(f"{max(errors):.2g}"),
            "passes": passes,
            "cpu_seconds": round(time.process_time() - began, 1),
            "warnings": [str(one.message) for one in caught],
        }
        print(name, rows[name], flush=True)
    write(
        "inversion",
        what=f"{len(clean)} held-out toys of 128 px, latents inverted and sampled again in {given.steps} steps, float32; guidance {GUIDANCE} where guided, else none; pocket, no concept. Both ways in passes and seconds",
        rows=rows,
    )


if __name__ == "__main__":
    main()
