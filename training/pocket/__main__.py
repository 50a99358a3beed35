"""`python -m training.pocket --run FOLDER [--stage NAME …] [--device cuda]`: everything, in one resumable call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from limner.core.memory import keep_memory
from limner.core.precision import fastest_precision
from limner.pocket import SIZE
from limner.pocket.judges import WEIGHTS
from limner.pocket.world import WORLDS

from . import (
    adopt,
    autoencoder,
    data,
    decoder,
    denoiser,
    depth,
    evaluate,
    export,
    gan,
    judges,
    language,
    motion,
    multimodal,
    preview,
    readers,
)
from .run import Run, Stopped, keep

STAGES: dict[str, Callable[[Run], object]] = {
    "adopt": lambda run: adopt.adopt(run, run.target),
    "render": lambda run: [data.pictures(run, p, workers=2) for p in ("train", "dev")],
    "tokenizer": language.tokenizer,
    "autoencoder": autoencoder.autoencoder,
    "latents": autoencoder.train_latents,
    "decoder": decoder.decoder,
    "clip": language.clip,
    "judge": judges.judge,
    "identity": judges.identity,
    "landmarks": readers.landmarks,
    "faces": judges.faces,
    "segmenter": judges.segmenter,
    "places": judges.places,
    "depth": depth.depth,
    "reader": readers.reader,
    "manner": readers.manner,
    "dino": judges.dino,
    "denoiser": denoiser.denoiser,
    "motion": motion.motion,
    "gan": gan.gan,
    "gan_encoder": gan.encoder,
    "preview": lambda run: print(preview.preview(run)),
    "export": lambda run: export.export(run, run.target),
    "multimodal": multimodal.multimodal,
    "evaluate": lambda run: print(
        evaluate.evaluate(Path("results/pocket.json"), painted=run.painted, folder=run.path("painted"))
    ),
    "readings": lambda run: print(evaluate.read_again(Path("results/pocket.json"))),
    "sheet": lambda run: evaluate.sheet(Path("docs/images/pocket.webp")),
}


ASKED_FOR = ("adopt", "motion", "gan", "gan_encoder", "preview", "readings")
"""Stages that make no part of what ships today, such as motion modules and the GAN of faces."""


def _every(*, elsewhere: bool) -> list[str]:
    every = [stage for stage in STAGES if stage not in ASKED_FOR]
    return every[: every.index("export") + 1] if elsewhere else every


def main() -> None:
    parser = argparse.ArgumentParser("training.pocket", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder: everything needed to go on")
    parser.add_argument(
        "--stage",
        nargs="+",
        choices=STAGES,
        help="only these, in this order; all that make what ships if not said, up to the export where that goes elsewhere",
    )
    parser.add_argument("--world", default="whole", choices=WORLDS, help="half of the pictures are of the core in any")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the pictures, in pixels")
    parser.add_argument("--pictures", type=int, default=40_000, help="training pictures")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every stage")
    parser.add_argument("--from", type=Path, dest="before", help="a run whose weights every stage begins with")
    parser.add_argument(
        "--first", type=int, default=Run.first, help="number of the first batch of every stage, for a second round"
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        default=(),
        choices=("autoencoder", "standardised", "clip", "decoder", *adopt.NETWORKS),
        help="networks of that earlier run to take as they are",
    )
    parser.add_argument("--samples", type=int, default=Run.samples, help="training samples of the denoiser in all")
    parser.add_argument(
        "--weights",
        type=Path,
        default=WEIGHTS,
        help="where to export to and adopt from; the package itself if not said",
    )
    parser.add_argument(
        "--painted", type=int, default=Run.painted, help="pictures that the evaluation's Fréchet distance is over"
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: then everything is done there, rendering too")
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        help="precision of all stages but motion and multimodal; the device's fastest if not said",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="threads of the CPU; 0 leaves their number as it is")
    given = parser.parse_args()
    keep_memory()
    if given.threads:
        torch.set_num_threads(given.threads)
    run = Run(
        given.run,
        world=given.world,
        size=given.size,
        pictures=given.pictures,
        scale=given.scale,
        before=given.before,
        device=given.device,
        precision=given.precision or fastest_precision(given.device),
        seed=given.seed,
        target=given.weights,
        painted=given.painted,
        samples=given.samples,
        first=given.first,
    )
    if given.keep and run.before is None:
        parser.error("--keep needs --from: the run whose networks are taken")
    keep(run, given.keep)
    try:
        for stage in given.stage or _every(elsewhere=given.weights != WEIGHTS):
            STAGES[stage](run)
    except Stopped:
        raise SystemExit("stopped; the same command goes on from here") from None


if __name__ == "__main__":
    main()
