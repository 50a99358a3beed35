"""BLIP-Diffusion as it was released: a pipeline of diffusers whose `qformer/` becomes the weights of `blip_diffusion`.

The folder itself is the base: its denoiser and text encoder learned along. Its image encoder is a CLIP in other names,
and is put beside the base as `image_encoder/`. Nouns are read with BERT's vocabulary, which the release leaves to the
hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.tensor_files import read_pickle, read_tensors
from limner.core.untrusted import MAX_TEXT, read_bytes, read_json, read_text, table, whole_number
from limner.errors import FileError, InputError
from limner.parts.encoders.qformer import QueryFormer

from .changes import Report

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

TOWER = "visual_encoder."
ENDS = ("weight", "bias")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's preprocessing, the default where the release has none."""


def is_qformer(path: Path) -> bool:
    """Is this such a pipeline's folder, or its `qformer/`?"""
    return path.is_dir() and _inside(path) is not None


def read_qformer(path: Path, base: Base) -> tuple[dict[str, Tensor], dict[str, Any], Report]:
    """Read the released weights of `blip_diffusion`; write its image encoder into the pipeline's folder if it has none.

    path: the pipeline's folder, or its qformer/
    base: the pipeline, opened as a base

    Returns the tensors by their names in the recipe, fields for the header of its weights, and a report of the keys
    that were read. Raises `FileError` for an incomplete folder, and `InputError` for another base than the pipeline
    itself.
    """
    folder = _inside(path)
    if folder is None:
        raise FileError(f"{path} has no qformer/config.json: expected BLIP-Diffusion as diffusers saves it")
    config = table(read_json(folder / "config.json"), folder / "config.json")
    former = _former(config)
    tensors, vocabulary = _tensors(folder), _vocabulary(folder)
    names = {key: "" for key in tensors if key.startswith(TOWER) or key.endswith("position_ids")} | _names(former)
    if base.name != folder.parent.name:
        raise InputError(
            f"{folder.parent} works with its own base alone, since denoiser and text encoder were trained with it: use "
            f"--base {folder.parent}"
        )
    _put_tower(folder.parent, config["vision_config"], tensors)
    weights = {
        f"states.blip_diffusion.{ours}": tensors[theirs] for theirs, ours in names.items() if ours and theirs in tensors
    }
    weights["states.blip_diffusion.queries"] = weights["states.blip_diffusion.queries"].flatten(0, 1)
    report = Report(
        read=[key for key in tensors if key in names],
        ignored=[key for key in tensors if key not in names],
        missing=[key for key in names if key not in tensors],
    )
    hidden = tensors["proj_layer.dense1.weight"].shape[0]
    return (
        weights,
        {"former": asdict(former), "projector": hidden, "vocabulary": vocabulary, "source": path.name},
        report,
    )


def _inside(path: Path) -> Path | None:
    return next((x for x in (path / "qformer", path) if _is_one(x / "config.json")), None)


def _is_one(config: Path) -> bool:
    return config.is_file() and b"qformer_config" in read_bytes(config, limit=MAX_TEXT)


def _former(config: Mapping[str, Any]) -> QueryFormer:
    """The shape. Missing fields of a config default to BERT's base."""
    inner = table(config.get("qformer_config"), "qformer_config")

    def count(about: Mapping[str, Any], name: str, usual: int, most: int) -> int:
        return whole_number(about.get(name, usual), name, least=1, most=most)

    return QueryFormer(
        queries=count(config, "num_query_tokens", 16, 4096),
        layers=count(inner, "num_hidden_layers", 12, 256),
        width=count(inner, "hidden_size", 768, 16_384),
        heads=count(inner, "num_attention_heads", 12, 256),
        hidden=count(inner, "intermediate_size", 3072, 65_536),
        every=count(inner, "cross_attention_frequency", 2, 256),
        room=count(inner, "max_position_embeddings", 512, 65_536),
        vocabulary=count(inner, "vocab_size", 30523, 1_000_000),
        whole=True,
    )


def _tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise FileError(f"{folder} has no weights: expected model.safetensors or pytorch_model.bin")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)[1] if file.suffix == ".safetensors" else read_pickle(file)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def _vocabulary(folder: Path) -> list[str]:
    file = next((x / "vocab.txt" for x in (folder, folder.parent) if (x / "vocab.txt").is_file()), None)
    if file is None:
        raise FileError(
            f"BLIP-Diffusion reads the class noun with BERT's vocabulary, which its release leaves out: put vocab.txt of "
            f"bert-base-uncased into {folder}"
        )
    return read_text(file).split("\n")[:-1]


def _names(former: QueryFormer) -> dict[str, str]:
    """Their name -> ours."""
    names = {
        "query_tokens": "queries",
        "embeddings.word_embeddings.weight": "table",
        "embeddings.position_embeddings.weight": "positions",
    }
    layers = {
        "embeddings.LayerNorm": "norm",
        "proj_layer.LayerNorm": "projector.norm",
        f"{TOWER}post_layernorm": "places",
    }
    layers |= {"proj_layer.dense1": "projector.in", "proj_layer.dense2": "projector.out"}
    for k in range(former.layers):
        theirs, ours = f"encoder.layer.{k}", f"layers.{k}"
        for attention, mine in (
            ("attention", "self"),
            *((("crossattention", "cross"),) if k % former.every == 0 else ()),
        ):
            parts = {f"attention.{part}": part for part in ("query", "key", "value")}
            parts |= {"output.dense": "out", "output.LayerNorm": "norm"}
            layers |= {f"{theirs}.{attention}.{a}": f"{ours}.{mine}.{b}" for a, b in parts.items()}
        for end, mine in (("", "of_words"), ("_query", "of_queries")):
            layers |= {f"{theirs}.intermediate{end}.dense": f"{ours}.{mine}.in"}
            layers |= {
                f"{theirs}.output{end}.{a}": f"{ours}.{mine}.{b}" for a, b in (("dense", "out"), ("LayerNorm", "norm"))
            }
    return names | {f"{a}.{end}": f"{b}.{end}" for a, b in layers.items() for end in ENDS}


# ---------------------------------------------------------------------------------------------------- the image encoder


def _put_tower(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the image encoder into the pipeline's folder as image_encoder/, unless the folder has one."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    where, part = folder / "image_encoder", folder / "image_encoder.part"
    if where.exists():
        return
    wide = int(tensors[f"{TOWER}post_layernorm.weight"].shape[0])
    size_keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
    )
    settings = {key: config[key] for key in (*size_keys, "hidden_act", "layer_norm_eps") if key in config}
    tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**settings, projection_dim=wide))
    values = _as_clip({key.removeprefix(TOWER): t for key, t in tensors.items() if key.startswith(TOWER)})
    lacking, strange = tower.load_state_dict(values | {"visual_projection.weight": torch.eye(wide)}, strict=False)
    if strange or [key for key in lacking if not key.endswith("position_ids")]:
        raise FileError(f"the image encoder of {folder} is no CLIP: it lacks {lacking[:3]}, and has {strange[:3]}")
    tower.save_pretrained(part)
    (part / "preprocessor_config.json").write_text(json.dumps(_preparation(folder)), encoding="utf-8")
    part.rename(where)


def _as_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BLIP-2's names of a vision transformer's tensors -> CLIP's; queries, keys and values are one tensor there."""
    clip_tensors = {}
    for key, tensor in tensors.items():
        name = "vision_model." + key.replace("pre_layernorm", "pre_layrnorm").replace("projection", "out_proj")
        if key == "embeddings.position_embedding":
            clip_tensors[f"{name}.weight"] = tensor[0]
        elif ".qkv." in key:
            for part, one in zip("qkv", tensor.chunk(3), strict=True):
                clip_tensors[name.replace(".qkv.", f".{part}_proj.")] = one
        else:
            clip_tensors[name] = tensor.flatten() if key == "embeddings.class_embedding" else tensor
    return clip_tensors


def _preparation(folder: Path) -> dict[str, Any]:
    """Mean and deviation that pictures are brought to."""
    file = folder / "image_processor" / "preprocessor_config.json"
    index = folder / "model_index.json"
    settings = table(read_json(file), file) if file.is_file() else {}
    settings |= {f"image_{k}": v for k, v in (table(read_json(index), index) if index.is_file() else {}).items() if v}
    return {"image_mean": settings.get("image_mean") or MEAN, "image_std": settings.get("image_std") or STD}
