"""`python -m limner.pocket.pretrain --run FOLDER [--stage NAME …] [--world core] [--device cpu]`"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from . import autoencoder, data, denoiser, evaluate, export, judges, language, preview
from .run import Run, Stopped

STAGES: dict[str, Callable[[Run], object]] = {
    "render": lambda run: [data.pictures(run, p, workers=2) for p in ("train", "dev")],
    "tokenizer": language.tokenizer,
    "autoencoder": autoencoder.autoencoder,
    "clip": language.clip,
    "judge": judges.judge,
    "identity": judges.identity,
    "faces": judges.faces,
    "segmenter": judges.segmenter,
    "dino": judges.dino,
    "denoiser": denoiser.denoiser,
    "preview": lambda run: print(preview.preview(run)),
    "export": lambda run: export.export(run),
    "evaluate": lambda run: print(evaluate.evaluate(Path("results/pocket.json"), world=run.world)),
}


def main() -> None:
    parser = argparse.ArgumentParser("limner.pocket.pretrain", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder: everything needed to go on")
    parser.add_argument(
        "--stage",
        nargs="+",
        choices=STAGES,
        default=[s for s in STAGES if s != "preview"],
        help="only these, in this order",
    )
    parser.add_argument("--world", default="core", help="core or whole")
    parser.add_argument("--pictures", type=int, default=28_000, help="training pictures")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every stage")
    parser.add_argument("--from", type=Path, dest="before", help="a run whose weights every stage begins with")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves them as they are")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    run = Run(
        given.run,
        world=given.world,
        pictures=given.pictures,
        scale=given.scale,
        before=given.before,
        device=given.device,
        seed=given.seed,
    )
    try:
        for stage in given.stage:
            STAGES[stage](run)
    except Stopped:
        raise SystemExit("stopped; the same command goes on from here") from None


if __name__ == "__main__":
    main()
