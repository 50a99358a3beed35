"""AdamW against Muon for the networks of the pocket stack: each from scratch, on the same batches.

python benchmarks/optimizers.py --run FOLDER [--stage autoencoder clip judge denoiser] [--updates 600] [--factors 1 2]

FOLDER keeps the pictures. A factor multiplies Muon's rate, of matrices alone. The denoiser learns on the shipped
autoencoder's latents and reads the shipped words. Printed are means over the last tenth of the updates, in which the
rate has fallen, and processor seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from limner.core.memory import keep_memory
from limner.engine import train as teaching
from limner.engine.muon import Muon
from training.pocket import adopt, autoencoder, denoiser, judges, language
from training.pocket import run as runs
from training.pocket.data import pictures

STAGES: dict[str, tuple[Callable[[runs.Run], Any], int]] = {
    "autoencoder": (autoencoder.autoencoder, 10_000),
    "clip": (language.clip, 2_000),
    "judge": (judges.judge, 10_000),
    "denoiser": (denoiser.denoiser, 20_000),
}
"""The function that trains a network, and its updates at full size."""


def by(factor: float) -> Callable[..., torch.optim.Optimizer]:
    """Muon at that multiple of its rate; AdamW for 0."""

    class Faster(Muon):
        def _turn(self, parameter: Any, gradient: Any, rate: float, weight_decay: float) -> None:
            super()._turn(parameter, gradient, rate * factor, weight_decay)

    return Faster if factor else torch.optim.AdamW


def trained(folder: Path, stage: str, factor: float, updates: int, count: int) -> tuple[dict[str, float], float]:
    """The last values of the stage's log, and processor seconds an update."""
    train, whole = STAGES[stage]
    run = runs.Run(folder / f"{stage}-{factor:g}", pictures=count, precision="float32", scale=updates / whole)
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir(parents=True)
    run.path("pictures").symlink_to((folder / "pictures").resolve())
    if stage == "denoiser":
        adopt.adopt(run)
        run.path("denoiser.safetensors").unlink()
        autoencoder.train_latents(run)
    vars(runs)["Muon"] = teaching.OPTIMIZERS["muon"] = by(factor)  # type: ignore[assignment]  # the stage is the same otherwise
    began = time.process_time()
    train(run)
    seconds = (time.process_time() - began) / updates
    lines = [json.loads(line) for line in run.path(f"{stage}.jsonl").read_text().splitlines()]
    last = lines[-max(1, len(lines) // 10) :]
    return {k: sum(line[k] for line in last) / len(last) for k in last[0] if k != "step"}, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--pictures", type=int, default=4096)
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[0.0, 1.0], help="factors of Muon's rate; 0 is AdamW"
    )
    given = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    pictures(runs.Run(given.run, pictures=given.pictures), "train")
    for stage in given.stage:
        for factor in given.factors:
            last_values, seconds = trained(given.run, stage, factor, given.updates, given.pictures)
            text = "  ".join(f"{name} {value:.4f}" for name, value in last_values.items())
            name = f"Muon x{factor:g}" if factor else "AdamW"
            print(f"{stage}  {given.updates} updates  {name:8}  {text}  {seconds:.3f} s an update", flush=True)


if __name__ == "__main__":
    main()
