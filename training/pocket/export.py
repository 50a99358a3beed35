"""From a run to the folders that ship: standard classes, standard layout, half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from torch import nn

from limner.pocket.judges import WEIGHTS

from . import denoiser, depth, gan, judges, language, motion, readers
from .language import write_json
from .run import Run

SHARD = "15MB"  # small enough for machines that hand files back in pieces


def export(run: Run, folder: Path = WEIGHTS) -> None:
    """Write the base and the judges in the place of earlier ones.

    Weights of methods stay: those of another base are refused by their fingerprint when they are asked for.
    """
    export_base(run, folder)
    export_judges(run, folder)
    export_motion(run, folder)
    gan.export_gan(run, folder)
    _losses(run, folder / "losses.json")


def export_base(run: Run, folder: Path = WEIGHTS) -> None:
    """The base as a Stable Diffusion folder, and the CLIP that its text encoder comes from."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from limner.bases.diffusion.stable_diffusion import StableDiffusion

    base = denoiser.assembled(run, denoiser.denoiser(run))
    assert isinstance(base, StableDiffusion)
    tower = base.towers[0]
    for name in ("base", "clip"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
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
    language.clip(run).half().save_pretrained(folder / "clip")
    size = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": run.size, "width": run.size}}
    write_json(folder / "clip" / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **size})
    for place in ("base/text_encoder", "clip"):
        _opened_in_single_precision(folder / place / "config.json")


def export_motion(run: Run, folder: Path = WEIGHTS) -> None:
    """The motion modules as a diffusers `MotionAdapter`, where the run has made them."""
    shutil.rmtree(folder / "motion", ignore_errors=True)
    if run.finished(motion.NAME):
        motion.motion(run).half().save_pretrained(folder / "motion")


def export_judges(run: Run, folder: Path = WEIGHTS) -> None:
    """The networks that judge, and the estimator of depth."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "dino", ignore_errors=True)
    judges.dino(run).half().save_pretrained(folder / "dino")
    _opened_in_single_precision(folder / "dino" / "config.json")
    networks: dict[str, nn.Module] = {
        "judge": judges.judge(run), "identity": judges.identity(run), "faces": judges.faces(run),
        "segmenter": judges.segmenter(run), "places": judges.places(run), "reader": readers.reader(run),
        "landmarks": readers.landmarks(run), "manner": readers.manner(run),
    }  # fmt: skip
    (folder / "estimators").mkdir(exist_ok=True)
    for name, network in {**networks, "estimators/depth": depth.depth(run)}.items():
        half = {k: v.to(torch.float16).contiguous() for k, v in network.state_dict().items()}
        save_file(half, folder / f"{name}.safetensors")


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
