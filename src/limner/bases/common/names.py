"""Names of a base's layers in the files of other tools.

A table maps another tool's stem ("lora_unet_down_blocks_0_…") to our layers. Most stems name one layer; where a tool
keeps several of our layers in one matrix (the queries, keys and values of FLUX and SD 3 in their makers' own layout),
each target says which rows of that matrix it holds. The names are those of diffusers 0.42, sd-scripts' networks,
ComfyUI's comfy/lora.py and comfy/utils.py, LyCORIS 4.1, PEFT 0.21 and OneTrainer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from limner.core.base import Base

DIALECTS = ("diffusers", "kohya", "comfyui")
READ_BY = {
    "kohya": ("stable_diffusion", "sdxl", "sd3", "flux", "qwen_image"),
    "comfyui": ("stable_diffusion", "sdxl", "sd3", "flux", "qwen_image", "pixart"),
    "a1111": ("stable_diffusion", "sdxl", "sd3", "flux"),
}
"""Tool -> families whose layers it has names for (musubi-tuner is the one of kohya's tools that reads Qwen-Image)."""


class Target(NamedTuple):
    """One of our layers, and its place in another tool's matrix."""

    layer: str
    rows: slice | None = None
    """Rows of the matrix; None for all."""
    swapped: bool = False
    """Whether the two halves of the rows, scale and shift, are in the other order there."""


Stems = Iterator[tuple[str, tuple[Target, ...]]]


def table(base: Base, dialect: str) -> dict[str, tuple[Target, ...]]:
    """Stem -> targets, for every layer of the base that an adapter can change. A layer may have several stems; files
    are written with the first.

    base: the base whose layers are listed
    dialect: one of `DIALECTS`
    """
    targets_by_stem: dict[str, tuple[Target, ...]] = {}
    for stem, targets in _stems(base, dialect):
        targets_by_stem.setdefault(stem, targets)
    return targets_by_stem


def known_names(base: Base) -> dict[str, tuple[Target, ...]]:
    """Stem -> targets, for all names that known tools write, of every layer with a weight."""
    targets_by_stem: dict[str, tuple[Target, ...]] = {}
    for dialect in DIALECTS:
        targets_by_stem |= {
            stem: targets for stem, targets in table(base, dialect).items() if stem not in targets_by_stem
        }
    for stem, targets in _aliases(base):
        targets_by_stem.setdefault(stem, targets)
    return targets_by_stem


def _stems(base: Base, dialect: str) -> Stems:
    """The stems that a dialect's files are written with."""
    native = {"flux": _flux, "sd3": _mmdit}.get(base.family)
    if native and dialect != "diffusers":
        for stem, targets in native(base):
            yield f"lora_unet_{stem}".replace(".", "_") if dialect == "kohya" else f"diffusion_model.{stem}", targets
    for part, name in _layers(base):
        target = (Target(f"{part}.{name}"),)
        if part != "denoiser":
            yield from ((stem, target) for stem in _text_stems(base, part, name, dialect))
        elif dialect == "diffusers":
            yield f"{_diffusers(base, part)}.{name}", target
        elif base.family == "sdxl":
            yield f"lora_unet_{_sgm(base, name)}".replace(".", "_"), target
        elif base.family == "pixart" and dialect == "comfyui":
            yield f"transformer.{name}", target
        elif native is None:
            yield f"lora_unet_{name}".replace(".", "_"), target


def _text_stems(base: Base, part: str, name: str, dialect: str) -> Iterator[str]:
    bare = _clip_name(base, part, name)
    if dialect == "diffusers":
        yield f"{part}.{bare}"
        return
    number = _number(part)
    if _is_t5(base, part):
        yield f"lora_te3_{bare}".replace(".", "_")
    elif sum(p.startswith("text_encoder") for p in base.parts) > 1:
        yield f"lora_te{number}_{bare}".replace(".", "_")
    else:
        yield f"lora_te_{bare}".replace(".", "_")


def _aliases(base: Base) -> Stems:
    """Stems that are accepted on reading and never written."""
    for part, name in _layers(base, every=True):
        target = (Target(f"{part}.{name}"),)
        makers = _denoiser_aliases if part == "denoiser" else _text_aliases
        yield from ((stem, target) for stem in makers(base, part, name))
    native = {"flux": _flux, "sd3": _mmdit}.get(base.family)
    for stem, targets in native(base) if native else ():
        for prefix in ("diffusion_model.", "", "model.diffusion_model."):
            yield f"{prefix}{stem}", targets
        for prefix in ("lora_unet_", "lycoris_"):
            yield prefix + stem.replace(".", "_"), targets


def _denoiser_aliases(base: Base, part: str, name: str) -> Iterator[str]:
    own = _diffusers(base, part)
    names = [name, *_older(name)]
    if base.family in ("stable_diffusion", "sdxl"):
        makers = _sgm(base, name)
        yield f"diffusion_model.{makers}"
        yield f"model.diffusion_model.{makers}"
        yield f"lora_unet_{makers}".replace(".", "_")
    for each in names:
        for prefix in (
            f"{own}.",
            "",
            "base_model.model.",
            f"{own}.base_model.model.",
            "diffusion_model.",
            "transformer.",
        ):
            yield prefix + each
    for prefix in ("lora_unet_", "lycoris_", "lora_transformer_"):
        yield prefix + name.replace(".", "_")


def _text_aliases(base: Base, part: str, name: str) -> Iterator[str]:
    bare, number = _clip_name(base, part, name), _number(part)
    kind = "t5xxl" if _is_t5(base, part) else "clip_l" if number == "1" else "clip_g"
    kinds = (kind, "clip_h") if number == "1" else (kind,)  # SD 2 has clip_h
    starts = [
        f"lora_te{number}_",
        *(["lora_te_"] if number == "1" else []),
        *(["lora_te3_"] if kind == "t5xxl" else []),
    ]
    for each in (bare, bare.removeprefix("text_model."), name):
        yield f"{part}.{each}"
        yield f"{part}.base_model.model.{each}"
        yield from (f"text_encoders.{k}.transformer.{each}" for k in kinds)
        yield from (start + each.replace(".", "_") for start in starts)


def _layers(base: Base, *, every: bool = False) -> Iterator[tuple[str, str]]:
    """Part and name of every linear and convolution layer; with `every`, of every layer with a weight."""
    for part in base.parts:
        if part == "denoiser" or part.startswith("text_encoder"):
            for name, layer in base.module(part).named_modules():
                own = layer._parameters.get("weight") is not None
                if isinstance(layer, nn.Linear | nn.Conv2d) or (every and own):
                    yield part, name


def _diffusers(base: Base, part: str) -> str:
    """Name of a part in diffusers' pipelines."""
    unet = type(base.module("denoiser")).__name__.startswith(("UNet",))
    return ("unet" if unet else "transformer") if part == "denoiser" else part


def _number(part: str) -> str:
    return part.removeprefix("text_encoder").lstrip("_") or "1"


def _is_t5(base: Base, part: str) -> bool:
    return type(base.module(part)).__name__.startswith(("T5", "UMT5", "MT5"))


def _clip_name(base: Base, part: str, name: str) -> str:
    """Name of a text encoder's layer in transformers 4, which all files use; transformers 5 leaves "text_model." out in
    some classes."""
    clip = type(base.module(part)).__name__.startswith("CLIP")
    inner = name.startswith(("encoder.", "embeddings.", "final_layer_norm"))
    return f"text_model.{name}" if clip and inner else name


def unread_by_scripts(base: Base, layer: str) -> bool:
    """Whether sd-scripts' own network (networks.lora, lora_flux, lora_qwen_image) ignores a layer. It reads layers
    inside blocks alone, and attention and perceptrons alone in text encoders; LyCORIS' network for sd-scripts reads all
    layers."""
    part, _, name = layer.partition(".")
    if part != "denoiser":
        return not re.search(r"\.(self_attn|mlp|SelfAttention|DenseReluDense)\.", name)
    if base.family in ("stable_diffusion", "sdxl"):
        return not re.search(r"\.(attentions|resnets|downsamplers|upsamplers)\.", name)
    if base.family == "flux":
        return name.startswith(("proj_out", "norm_out"))
    return base.family == "qwen_image" and (not name.startswith("transformer_blocks.") or "_mod." in name)


def _older(name: str) -> Iterator[str]:
    """Name of an attention layer in diffusers' first LoRA files."""
    match = re.fullmatch(r"(.+)\.(to_[qkv]|to_out)(\.0)?", name)
    if match:
        yield f"{match[1]}.processor.{match[2]}_lora"


def _sgm(base: Base, name: str) -> str:
    """Name of a layer in the original code of Stable Diffusion's UNets, which numbers down and up blocks in
    sequence."""
    if name in _OUTER:
        return _OUTER[name]
    per_block = int(base.module("denoiser").config.layers_per_block)  # type: ignore[union-attr, arg-type]
    kinds = {"resnets": "0", "attentions": "1"}
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if match:
        way, block, kind, place, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (per_block + 1)}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            last = (block + 1) * (per_block + 1) - 1
            has = any(n.startswith(f"up_blocks.{block}.attentions") for n, _ in base.module("denoiser").named_modules())
            return f"output_blocks.{last}.{2 if has else 1}.{rest}"
        if way == "down":
            return f"input_blocks.{1 + block * (per_block + 1) + place}.{kinds[kind]}.{_resnet(kind, rest)}"
        return f"output_blocks.{block * (per_block + 1) + place}.{kinds[kind]}.{_resnet(kind, rest)}"
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if match:
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_resnet(match[1], match[3])}"
    return name


_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def _resnet(kind: str, rest: str) -> str:
    """Name of a residual block's layer in the original code."""
    if kind != "resnets":
        return rest
    names = {
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
        "norm1": "in_layers.0",
        "norm2": "out_layers.0",
    }
    return names.get(rest, rest)


class _Rows:
    """Targets for layers whose rows are stacked in one matrix, from the sizes of a base's layers."""

    def __init__(self, base: Base) -> None:
        layers = base.module("denoiser").named_modules()
        self.sizes: dict[str, int] = {}
        for name, layer in layers:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                self.sizes[name] = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels

    def __call__(self, *names: str) -> tuple[Target, ...]:
        targets, start = [], 0
        for name in names:
            targets.append(Target(f"denoiser.{name}", slice(start, start + self.sizes[name])))
            start += self.sizes[name]
        return tuple(targets)

    def blocks(self, start: str) -> list[str]:
        """Names of the blocks that begin with `start`, in order."""
        numbers = {int(name.removeprefix(start).split(".")[0]) for name in self.sizes if name.startswith(start)}
        return [f"{start}{k}" for k in sorted(numbers)]


def _flux(base: Base) -> Stems:
    """Black Forest Labs' names of FLUX.1: queries, keys and values in one matrix."""
    rows = _Rows(base)
    for ours in rows.blocks("transformer_blocks."):
        theirs = ours.replace("transformer_blocks", "double_blocks")
        yield f"{theirs}.img_attn.qkv", rows(*(f"{ours}.attn.to_{x}" for x in "qkv"))
        yield f"{theirs}.txt_attn.qkv", rows(*(f"{ours}.attn.add_{x}_proj" for x in "qkv"))
        for stem, name in _FLUX_DOUBLE.items():
            yield f"{theirs}.{stem}", (Target(f"denoiser.{ours}.{name}"),)
    for ours in rows.blocks("single_transformer_blocks."):
        theirs = ours.replace("single_transformer_blocks", "single_blocks")
        yield f"{theirs}.linear1", rows(*(f"{ours}.attn.to_{x}" for x in "qkv"), f"{ours}.proj_mlp")
        yield f"{theirs}.linear2", (Target(f"denoiser.{ours}.proj_out"),)
        yield f"{theirs}.modulation.lin", (Target(f"denoiser.{ours}.norm.linear"),)
    for stem, name in _FLUX_REST.items():
        if name in rows.sizes:
            yield stem, (Target(f"denoiser.{name}"),)
    yield "final_layer.adaLN_modulation.1", (Target("denoiser.norm_out.linear", swapped=True),)


def _mmdit(base: Base) -> Stems:
    """Stability AI's names of SD 3 and 3.5. The last block drops the text after attention; the modulation of its text
    therefore has scale and shift in the other order, as the final layer has."""
    rows = _Rows(base)
    blocks = rows.blocks("transformer_blocks.")
    for ours in blocks:
        theirs = ours.replace("transformer_blocks", "joint_blocks")
        fused = {
            "x_block.attn.qkv": [f"{ours}.attn.to_{x}" for x in "qkv"],
            "context_block.attn.qkv": [f"{ours}.attn.add_{x}_proj" for x in "qkv"],
            "x_block.attn2.qkv": [f"{ours}.attn2.to_{x}" for x in "qkv"],
        }
        for stem, names in fused.items():
            if all(name in rows.sizes for name in names):
                yield f"{theirs}.{stem}", rows(*names)
        for stem, name in _MMDIT_BLOCK.items():
            if f"{ours}.{name}" in rows.sizes:
                swapped = ours == blocks[-1] and name == "norm1_context.linear"
                yield f"{theirs}.{stem}", (Target(f"denoiser.{ours}.{name}", swapped=swapped),)
    for stem, name in _MMDIT_REST.items():
        if name in rows.sizes:
            yield stem, (Target(f"denoiser.{name}", swapped=name == "norm_out.linear"),)


_FLUX_DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
}
_FLUX_REST = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_MMDIT_BLOCK = {
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
}
_MMDIT_REST = {
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "x_embedder.proj": "pos_embed.proj",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
    "final_layer.linear": "proj_out",
}


RESAMPLER_ATTENTION = {"0.to_q.weight": "query", "0.to_kv.weight": "key_value", "0.to_out.weight": "out"}
"""The attention in a layer of IP-Adapter's and InstantID's resampler -> `parts.encoders.resampler`'s names."""


def aligner_names(depths: int = 6) -> dict[str, str]:
    """The layers of SSR-Encoder's aligner -> `parts.fusion.selected_states`' names. Theirs rise to the full depth, ours
    begin with it."""
    names = {"aligner.to_q.weight": "query", "aligner.to_k.weight": "key"}
    names |= {f"norm.{end}": f"norm.{end}" for end in ("weight", "bias")}
    for k in range(depths):
        ours = (k + 1) % depths
        names |= {f"aligner.processor.to_v.{k}.weight": f"value.{ours}"}
        names |= {f"aligner.processor.to_out.{k}.weight": f"out.{ours}"}
    return names


def image_sites(base: Base) -> dict[int, str]:
    """IP-Adapter's number -> cross-attention layer. Its files number all attention layers in the order in which
    diffusers lists them."""
    sites = {site.name for site in base.sites if site.kind == "cross"}
    listed = [name.removesuffix(".processor") for name in base.module("denoiser").attn_processors]  # type: ignore[union-attr]
    return {2 * k + 1: name for k, name in enumerate(name for name in listed if name in sites)}


def attention_sites(base: Base) -> dict[int, str]:
    """IP-Adapter's number -> attention layer of the denoiser, self-attention among them."""
    known = {site.name for site in base.sites}
    listed = [name.removesuffix(".processor") for name in base.module("denoiser").attn_processors]  # type: ignore[union-attr]
    return dict(enumerate(name for name in listed if name in known))


def custom_diffusion_names(base: Base) -> dict[str, str]:
    """Name of a weight in diffusers' Custom Diffusion files -> our name, for keys, values, queries and outputs."""
    names = {}
    for site in base.sites:
        if site.kind == "cross":
            for layer in ("to_k", "to_v", "to_q"):
                names[f"{site.name}.processor.{layer}_custom_diffusion.weight"] = f"denoiser.{site.name}.{layer}.weight"
            for end in ("weight", "bias"):
                names[f"{site.name}.processor.to_out_custom_diffusion.0.{end}"] = f"denoiser.{site.name}.to_out.0.{end}"
    return names


def custom_diffusion_untouched(base: Base) -> list[str]:
    """Names of the attention layers that a Custom Diffusion file lists as empty."""
    return [f"{site.name}.processor" for site in base.sites if site.kind == "self"]
