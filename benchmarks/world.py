"""How fast the pocket world draws: pictures a second, and their spread.

python benchmarks/world.py [--size 128] [--workers 2] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from limner.pocket.world import CORE, WHOLE, draw, draw_many, sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for world in (CORE, WHOLE):
        graphs = [sample(k, world=world) for k in range(256)]
        speeds = []
        if given.device != "cpu" or given.workers < 2:
            for _ in range(4):
                began = time.monotonic()
                draw(graphs, size=given.size, device=given.device)
                if given.device != "cpu":
                    torch.cuda.synchronize()
                speeds.append(len(graphs) / (time.monotonic() - began))
        else:
            began = time.monotonic()
            for part in draw_many(graphs * 6, size=given.size, chunk=64, workers=given.workers):
                now = time.monotonic()
                speeds.append(len(part.graphs) / max(now - began, 1e-9))
                began = now
            speeds = [1 / statistics.mean(1 / s for s in speeds[k : k + 4]) for k in range(4, len(speeds), 4)]
        print(
            f"{world.name}  {given.size} px  {statistics.median(speeds):.0f} pictures/s  (from {min(speeds):.0f} to {max(speeds):.0f})"
        )


if __name__ == "__main__":
    main()
