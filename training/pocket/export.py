"""From a run to the folders that ship: standard classes, standard layout, half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from limner.pocket.judges import WEIGHTS

from . import autoencoder, denoiser, gan, judges, language, motion
from .adopt import NETWORKS
from .language import write_json
from .run import Run

JUDGES = "judge", "identity", "faces", "segmenter", "places", "reader", "landmarks", "manner", "depth"
SHARD = "15MB"  # small enough for machines that hand files back in pieces


def export(run: Run, folder: Path = WEIGHTS) -> None:
    """Write what the run has finished in the place of earlier weights: the base, the judges, and what was asked for.
    Files of stages that are not finished stay.

    Weights of methods stay: those of another base are refused by their fingerprint when they are asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if run.finished("clip"):
        export_clip(run, folder)
    if run.finished(denoiser.NAME):
        export_base(run, folder)
    else:
        export_latents(run, folder)
    export_judges(run, folder)
    export_motion(run, folder)
    gan.export_gan(run, folder)
    _losses(run, folder / "losses.json")


def export_base(run: Run, folder: Path = WEIGHTS) -> None:
    """The base as a Stable Diffusion folder."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from limner.bases.diffusion.stable_diffusion import StableDiffusion

    base = denoiser.assembled(run, denoiser.denoiser(run))
    assert isinstance(base, StableDiffusion)
    tower = base.towers[0]
    shutil.rmtree(folder / "base", ignore_errors=True)
    pipeline = StableDiffusionPipeline(
        vae=base.autoencoder.half(),
        text_encoder=tower.model.half(),
        tokenizer=tower.tokenizer,
        unet=base.denoiser.half(),
        scheduler=DDIMScheduler(**denoiser.SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "base", safe_serialization=True, max_shard_size=SHARD)
    _opened_in_single_precision(folder / "base" / "text_encoder" / "config.json")


def export_latents(run: Run, folder: Path = WEIGHTS) -> None:
    """The tokenizer and the autoencoder alone, in their places in a base whose denoiser is still to be trained."""
    if run.finished(autoencoder.STANDARDISED):
        for part in ("tokenizer", "vae"):
            shutil.rmtree(folder / "base" / part, ignore_errors=True)
        language.tokenizer(run).save_pretrained(folder / "base" / "tokenizer")
        autoencoder.best(run).half().save_pretrained(folder / "base" / "vae", max_shard_size=SHARD)


def export_clip(run: Run, folder: Path = WEIGHTS) -> None:
    """The CLIP that the base's text encoder comes from."""
    shutil.rmtree(folder / "clip", ignore_errors=True)
    language.clip(run).half().save_pretrained(folder / "clip")
    size = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": run.size, "width": run.size}}
    write_json(folder / "clip" / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **size})
    _opened_in_single_precision(folder / "clip" / "config.json")


def export_motion(run: Run, folder: Path = WEIGHTS) -> None:
    """The motion modules as a diffusers `MotionAdapter`, where the run has made them."""
    shutil.rmtree(folder / "motion", ignore_errors=True)
    if run.finished(motion.NAME):
        motion.motion(run).half().save_pretrained(folder / "motion")


def export_judges(run: Run, folder: Path = WEIGHTS) -> None:
    """The networks that judge, and the estimator of depth."""
    import torch
    from safetensors.torch import save_file

    if run.finished("dino"):
        shutil.rmtree(folder / "dino", ignore_errors=True)
        judges.dino(run).half().save_pretrained(folder / "dino")
        _opened_in_single_precision(folder / "dino" / "config.json")
    (folder / "estimators").mkdir(parents=True, exist_ok=True)
    for name in JUDGES:
        if run.finished(name):
            half = {k: v.to(torch.float16).contiguous() for k, v in run.weights(name).items()}
            save_file(half, folder / NETWORKS[name])


def _opened_in_single_precision(path: Path) -> None:
    """transformers opens weights in the precision its config names: half on disk, single in memory, as diffusers
    does."""
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "dtype": "float32"})


def _losses(run: Run, path: Path) -> None:
    """Fifty points of every stage's log; a stage that this run did not train keeps the points it shipped with."""
    points = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for log in sorted(run.folder.glob("*.jsonl")):
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        points[log.stem] = lines[:: max(1, len(lines) // 50)] + lines[-1:]
    write_json(path, points)
