"""Shared by commands: printing, and encoders and bases as they are named on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.escaping import terminal_text
from limner.core.wording import counted, listed
from limner.errors import FileError

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe

ROLES = {
    "clip": "openai/clip-vit-base-patch32",
    "dino": "facebook/dino-vits16",
    "dinov2": "facebook/dinov2-base",
    "pickscore": "yuvalkirstain/PickScore_v1",
    "hps": "a CLIP with HPS weights",
}
"""Encoders that can be named on the command line, and an example of each."""


def check_device(name: str | None) -> None:
    """Raise `InputError` for a device that is not here, before any work is done for it."""
    if name and name != "cpu":
        from limner.bases.common.loading import checked_device

        checked_device(name)


def encoders(given: argparse.Namespace) -> dict[str, Any] | None:
    """Those named on the command line by role, or None."""
    from limner.evaluation.encoders import encoder

    named = {role: getattr(given, role) for role in ROLES if getattr(given, role)}
    return {role: encoder(where, device=given.device or "cpu") for role, where in named.items()} or None


def opened(given: argparse.Namespace, name: str) -> Any:
    """The base of that name, as the flags want it. A folder or file is remembered by the base's fingerprint, so that what is
    taught on it finds it again."""
    from limner.bases.common.loading import load
    from limner.bases.common.places import remember
    from limner.core.cache import check_cache

    check_cache()
    base = load(
        name,
        device=given.device,
        dtype=given.dtype,
        quantise=given.quantise,
        offload=given.offload,
        tiling=given.tiling,
        checkpointing=given.checkpointing,
        offline=given.offline or None,
        config=given.base_config,
        faces=getattr(given, "faces", None),
    )
    remember(base.fingerprint, name, config=given.base_config)
    return base


def read_concept(given: argparse.Namespace, path: Path) -> Concept:
    """The concept of a file. What it names is run or opened only as the flags say: a method of a file by --method, all by --trust."""
    from limner.core.concept import Concept
    from limner.methods import find

    if given.method:
        find(given.method)
    concept = Concept.load(path, trust=given.trust)
    if not concept.sha256:
        say(
            f"note: {path} was written by an older limner, without a hash of its content: whether it is as it was written is not known"
        )
    return concept


def base_of(given: argparse.Namespace, concept: Concept) -> str:
    """The base that a concept is worn on: the one named, else the one it was taught on, wherever the user opened that on this
    machine. Raises `FileError` for one that only the concept's file names: a file opens no folder and no hub id of itself."""
    from limner.bases.common.places import place_of

    if given.base:
        return str(given.base)
    found = place_of(concept.base)
    if found:
        given.base_config = given.base_config or found.config
        return found.source
    name = str(concept.base["name"])
    if name == "pocket" or given.trust:
        return name
    raise FileError(
        f"{concept.handle} was taught on {name[:200]!r}, and a concept's file opens no folder or hub id of itself: name the base, "
        "--base FOLDER or HUB/ID, or say --trust to open what the file names"
    )


def planned(given: argparse.Namespace, name: str, recipe: Recipe, *, batch: int = 1) -> None:
    """Say what memory a run will take, and choose how the base is opened so that it fits (or into what --fit says). The pocket
    base and single files, which cannot be laid out first, are opened as asked."""
    if name == "pocket" or name.endswith(".safetensors"):
        return
    from limner.bases.common.loading import sketch
    from limner.engine.memory_estimate import Choice, estimate, fitting, measured

    asked = Choice(given.dtype, given.offload, given.tiling, given.checkpointing, given.quantise)
    on_gpu = _on_gpu(given.device)
    shape = measured(sketch(name, offline=given.offline or None), recipe, batch=batch, fused=on_gpu)
    found, limit = estimate(shape, asked), given.fit * 1e9 if given.fit else _free(on_gpu)
    if found.peak > limit:
        found = fitting(shape, limit, start=asked, quantise=on_gpu)
        given.dtype, given.offload, given.tiling = found.choice.dtype, found.choice.offload, found.choice.tiling
        given.checkpointing, given.quantise = found.choice.checkpointing, found.choice.quantise
    say(f"memory: {found}; {limit / 1e9:.1f} GB are there")


def _on_gpu(device: str | None) -> bool:
    import torch

    return torch.cuda.is_available() and (device or "cuda").startswith("cuda")


def free_memory(device: str | None) -> float:
    """Bytes that are free where a base would be opened."""
    return _free(_on_gpu(device))


def _free(on_gpu: bool) -> float:
    import os

    import torch

    if on_gpu:
        return float(torch.cuda.mem_get_info()[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def say_heic(places: Sequence[Path]) -> None:
    """A word about pictures of telephones that are not read, since their format needs a decoder that Pillow does not have."""
    files = [file for place in places for file in (place.iterdir() if place.is_dir() else [place])]
    found = [file for file in files if file.suffix.lower() in (".heic", ".heif") and file.is_file()]
    if found:
        say(f"note: {counted(len(found), 'HEIC picture')} cannot be read, such as {found[0].name}: save as JPEG or PNG (a telephone's setting "
            "'most compatible' does, and so does heif-convert)")  # fmt: skip


def say_strange(base: str | None, text: str) -> None:
    """A word about words that a base of few words does not know, which paint nothing in particular."""
    from limner.bases.common.loading import capabilities_of
    from limner.core.wording import words_not_in

    known = capabilities_of(base or "pocket").known_words
    words = words_not_in(known(), text) if known else []
    if words:
        say(
            f"note: the base {base or 'pocket'!r} does not know {listed(map(repr, words))}, and paints as if it were not "
            "there; `limner words` lists the words it knows"
        )


def out(given: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=2) if given.json else terminal_text(text))


def say(text: str) -> None:
    print(terminal_text(text), file=sys.stderr, flush=True)
