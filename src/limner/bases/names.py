"""What other tools call the layers of a base's networks.

A table goes from another tool's stem ("lora_unet_down_blocks_0_…") to the layers it means. Most stems are one layer; where
a tool keeps several layers of ours in one matrix (the queries, keys and values of FLUX in its makers' own layout), each
target says which of that matrix's rows are its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from .protocol import Base

DIALECTS = ("diffusers", "kohya", "comfyui")


class Target(NamedTuple):
    """A layer of ours, and its rows in the other tool's matrix; None is all of them."""

    layer: str
    rows: slice | None = None


def table(base: Base, dialect: str) -> dict[str, tuple[Target, ...]]:
    """Stem -> targets, for every layer of the base that a change can be of. A layer may have several stems; the first listed is
    the one that is written."""
    found: dict[str, tuple[Target, ...]] = {}
    for stem, *targets in _stems(base, dialect):
        found.setdefault(stem, tuple(targets))
    return found


def _stems(base: Base, dialect: str) -> Iterator[tuple[str, *tuple[Target, ...]]]:
    layers = list(_layers(base))
    if dialect == "diffusers":
        for part, name in layers:
            yield f"{_diffusers(base, part)}.{name}", Target(f"{part}.{name}")
            for older in _older(name):
                yield f"{_diffusers(base, part)}.{older}", Target(f"{part}.{name}")
        return
    if base.family == "flux":
        prefix, join = ("lora_unet_", "_") if dialect == "kohya" else ("diffusion_model.", ".")
        for stem, targets in _flux(base):
            yield prefix + stem.replace(".", join), *targets
    for part, name in layers:
        target = Target(f"{part}.{name}")
        if part == "denoiser":
            if base.family == "flux":
                continue
            if base.family == "sdxl":
                yield f"lora_unet_{_sgm(base, name)}".replace(".", "_"), target
            yield f"lora_unet_{name}".replace(".", "_"), target
            if dialect == "comfyui":
                yield f"diffusion_model.{name}", target
                yield f"transformer.{name}", target
            continue
        number = part.removeprefix("text_encoder").lstrip("_") or "1"
        several = sum(p.startswith("text_encoder") for p in base.parts) > 1
        bare = name.removeprefix("text_model.")
        starts = [f"lora_te{number}_"] if several else ["lora_te_", "lora_te1_"]
        for start in starts:
            yield f"{start}text_model_{bare}".replace(".", "_"), target
            yield f"{start}{bare}".replace(".", "_"), target


def _layers(base: Base) -> Iterator[tuple[str, str]]:
    for part in base.parts:
        if part == "denoiser" or part.startswith("text_encoder"):
            for name, layer in base.module(part).named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    yield part, name


def _diffusers(base: Base, part: str) -> str:
    """What diffusers' pipelines call a part."""
    unet = type(base.module("denoiser")).__name__.startswith(("UNet",))
    return ("unet" if unet else "transformer") if part == "denoiser" else part


def _older(name: str) -> Iterator[str]:
    """How diffusers named a layer of attention in its first LoRA files."""
    found = re.fullmatch(r"(.+)\.(to_[qkv]|to_out)(\.0)?", name)
    if found:
        yield f"{found[1]}.processor.{found[2]}_lora"


def _sgm(base: Base, name: str) -> str:
    """A layer of SDXL's UNet as its makers number it: down and up blocks counted through."""
    per_block = int(base.module("denoiser").config.layers_per_block)  # type: ignore[union-attr, arg-type]
    kinds = {"resnets": "0", "attentions": "1"}
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if found:
        way, block, kind, place, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (per_block + 1)}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            last = (block + 1) * (per_block + 1) - 1
            has = any(n.startswith(f"up_blocks.{block}.attentions") for n, _ in base.module("denoiser").named_modules())
            return f"output_blocks.{last}.{2 if has else 1}.{rest}"
        if way == "down":
            return f"input_blocks.{1 + block * (per_block + 1) + place}.{kinds[kind]}.{_resnet(kind, rest)}"
        return f"output_blocks.{block * (per_block + 1) + place}.{kinds[kind]}.{_resnet(kind, rest)}"
    found = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if found:
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_resnet(found[1], found[3])}"
    return name


def _resnet(kind: str, rest: str) -> str:
    """The layers of a residual block in the makers' numbering."""
    if kind != "resnets":
        return rest
    names = {
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    return names.get(rest, rest)


def _flux(base: Base) -> Iterator[tuple[str, tuple[Target, ...]]]:
    """Black Forest Labs' names of FLUX.1: queries, keys and values in one matrix."""
    network = base.module("denoiser")
    sizes = {name: layer.out_features for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}

    def rows(*names: str) -> tuple[Target, ...]:
        targets, start = [], 0
        for name in names:
            targets.append(Target(f"denoiser.{name}", slice(start, start + sizes[name])))
            start += sizes[name]
        return tuple(targets)

    blocks = sorted({int(n.split(".")[1]) for n in sizes if n.startswith("transformer_blocks.")})
    for k in blocks:
        ours, theirs = f"transformer_blocks.{k}", f"double_blocks.{k}"
        yield f"{theirs}.img_attn.qkv", rows(*(f"{ours}.attn.to_{x}" for x in "qkv"))
        yield f"{theirs}.txt_attn.qkv", rows(*(f"{ours}.attn.add_{x}_proj" for x in "qkv"))
        for stem, name in _FLUX_DOUBLE.items():
            yield f"{theirs}.{stem}", (Target(f"denoiser.{ours}.{name}"),)
    for k in sorted({int(n.split(".")[1]) for n in sizes if n.startswith("single_transformer_blocks.")}):
        ours, theirs = f"single_transformer_blocks.{k}", f"single_blocks.{k}"
        yield f"{theirs}.linear1", rows(*(f"{ours}.attn.to_{x}" for x in "qkv"), f"{ours}.proj_mlp")
        yield f"{theirs}.linear2", (Target(f"denoiser.{ours}.proj_out"),)
        yield f"{theirs}.modulation.lin", (Target(f"denoiser.{ours}.norm.linear"),)
    for stem, name in _FLUX_REST.items():
        if name in sizes:
            yield stem, (Target(f"denoiser.{name}"),)


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
}


def image_sites(base: Base) -> dict[int, str]:
    """IP-Adapter's number of each cross-attention layer: they are counted among all attention layers, in the order in which
    diffusers lists them."""
    sites = {site.name for site in base.sites if site.kind == "cross"}
    listed = [name.removesuffix(".processor") for name in base.module("denoiser").attn_processors]  # type: ignore[union-attr]
    return {2 * k + 1: name for k, name in enumerate(name for name in listed if name in sites)}


def custom_diffusion_names(base: Base) -> dict[str, str]:
    """diffusers' name of a layer in a Custom Diffusion file -> ours, for keys, values, queries and outputs."""
    found = {}
    for site in base.sites:
        if site.kind == "cross":
            for layer in ("to_k", "to_v", "to_q"):
                found[f"{site.name}.processor.{layer}_custom_diffusion.weight"] = f"denoiser.{site.name}.{layer}.weight"
            for end in ("weight", "bias"):
                found[f"{site.name}.processor.to_out_custom_diffusion.0.{end}"] = f"denoiser.{site.name}.to_out.0.{end}"
    return found


def custom_diffusion_untouched(base: Base) -> list[str]:
    """The attention layers that such a file names with nothing in them."""
    return [f"{site.name}.processor" for site in base.sites if site.kind == "self"]
