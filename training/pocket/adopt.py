"""From the folders that ship back to a run, so that anyone can go on from them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from limner.pocket.judges import WEIGHTS

from .run import Run

NETWORKS = {
    "autoencoder": "base/vae",
    "standardised": "base/vae",
    "denoiser": "base/unet",
    "clip": "clip",
    "dino": "dino",
    "judge": "judge.safetensors",
    "identity": "identity.safetensors",
    "faces": "faces.safetensors",
    "segmenter": "segmenter.safetensors",
    "places": "places.safetensors",
    "depth": "estimators/depth.safetensors",
    "reader": "reader.safetensors",
    "landmarks": "landmarks.safetensors",
    "manner": "manner.safetensors",
}


def adopt(run: Run, folder: Path = WEIGHTS) -> None:
    """Make an exported edition the run's finished stages, in single precision; stages that are finished stay as they
    are, and what the edition has not yet stays to be trained.

    Delete the file of a stage and give this run's weights with `--from` to train that stage further.
    """
    if not run.path("tokenizer").exists():
        shutil.copytree(folder / "base" / "tokenizer", run.path("tokenizer"))
    for stage, place in NETWORKS.items():
        if not run.finished(stage) and (folder / place).exists():
            run.save(stage, {key: value.float() for key, value in _tensors(folder / place).items()})


def _tensors(place: Path) -> dict[str, Tensor]:
    """Tensors of a file, of a folder's shards, or of a ViT, whose tensors have other names on disk than in memory."""
    if place.name == "dino":
        from transformers import ViTModel

        state: dict[str, Tensor] = ViTModel.from_pretrained(place, add_pooling_layer=False).state_dict()
        return state
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
    return {key: value for file in files for key, value in load_file(file).items()}
