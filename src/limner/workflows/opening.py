"""Opening the bases, concepts and encoders that requests name."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.wording import listed
from limner.errors import FileError

from .events import Note
from .requests import BaseChoice, ConceptChoice

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe


def open_base(choice: BaseChoice) -> Any:
    """Open a base. The place of a folder or file is remembered by the base's fingerprint, so that concepts learned on
    it find it again."""
    from limner.bases.common.loading import load
    from limner.bases.common.places import remember
    from limner.core.cache import check_cache

    check_cache()
    base = load(
        choice.name,
        device=choice.device,
        dtype=choice.dtype,
        quantise=choice.quantise,
        offload=choice.offload,
        tiling=choice.tiling,
        checkpointing=choice.checkpointing,
        offline=choice.offline or None,
        config=choice.config,
        faces=choice.faces or None,
    )
    remember(base.fingerprint, choice.name, config=choice.config)
    return base


def open_encoders(named: Mapping[str, str], *, device: str | None) -> dict[str, Any] | None:
    """Encoders to score with, role -> encoder; None where none is named."""
    from limner.evaluation.encoders import encoder

    return {role: encoder(where, device=device or "cpu") for role, where in named.items()} or None


def read_concept_choices(*choices: ConceptChoice) -> Generator[Note, None, list[Concept]]:
    """Read the concepts of files. A user's method that a file names is run only where its choice names it too;
    everything that a file names is run or opened only where its choice trusts the file. A concept of an older limner,
    which has no hash of its content, gets a note."""
    from limner.core.concept import Concept
    from limner.methods import find

    concepts = []
    for choice in choices:
        if choice.method:
            find(choice.method)
        concepts.append(Concept.load(choice.path, trust=choice.trust))
        if not concepts[-1].sha256:
            yield Note(
                f"{choice.path} was written by an older limner, without a hash of its content, so damage to it cannot "
                "be detected"
            )
    return concepts


def choice_for(concept: Concept, choice: BaseChoice, *, trust: bool = False) -> BaseChoice:
    """The base to attach a concept to: the one that `choice` names, else the one that the concept was learned on, from
    the place where the user opened it on this machine. Raises `FileError` for a base that only the concept's file
    names: a file alone opens no folder and no hub id."""
    from limner.bases.common.loading import comes_with_limner
    from limner.bases.common.places import place_of

    if choice.name:
        return choice
    place = place_of(concept.base)
    if place:
        return replace(choice, name=place.source, config=choice.config or place.config)
    name = str(concept.base["name"])
    if comes_with_limner(name) or trust:
        return replace(choice, name=name)
    raise FileError(
        f"{concept.handle} was learned on {name[:200]!r}, and limner opens no folder or hub id only because a file "
        "names it: name the base yourself, --base FOLDER or HUB/ID, or add --trust"
    )


def plan_memory(choice: BaseChoice, recipe: Recipe, *, batch: int = 1) -> tuple[BaseChoice, str]:
    """The choice changed so that a run fits into the free memory (or into `fit`), and a line about the estimate and
    about a precision that the device emulates. Bases that come with limner, and single files, the size of which is
    unknown before loading, stay as requested."""
    from limner.bases.common.loading import comes_with_limner

    if comes_with_limner(choice.name) or choice.name.endswith(".safetensors"):
        return choice, emulated_note(choice)
    from limner.bases.common.loading import sketch
    from limner.core.precision import emulates
    from limner.engine.memory_estimate import Choice, estimate, fitting, measured

    asked = Choice(choice.dtype, choice.offload, choice.tiling, choice.checkpointing, choice.quantise)
    on_gpu = _on_gpu(choice.device)
    shape = measured(sketch(choice.name, offline=choice.offline or None), recipe, batch=batch, fused=on_gpu)
    plan, limit = estimate(shape, asked), choice.fit * 1e9 if choice.fit else _free(on_gpu)
    if plan.peak > limit:
        half_last = emulates(_device(choice.device), "bfloat16")
        plan = fitting(shape, limit, start=asked, quantise=on_gpu, half_last=half_last)
        choice = replace(
            choice,
            dtype=plan.choice.dtype,
            offload=plan.choice.offload,
            tiling=plan.choice.tiling,
            checkpointing=plan.choice.checkpointing,
            quantise=plan.choice.quantise,
        )
    memory = f"memory: {plan}; {limit / 1e9:.1f} GB are free"
    return choice, "; ".join(filter(None, [memory, emulated_note(choice)]))


def emulated_note(choice: BaseChoice) -> str:
    """A note about a base in half precision on a device without instructions for it; else empty."""
    from limner.core.precision import emulates

    if not emulates(_device(choice.device), choice.dtype):
        return ""
    return f"this device emulates {choice.dtype}, which takes many times as long as float32"


def _device(named: str | None) -> str:
    import torch

    return named or ("cuda" if torch.cuda.is_available() else "cpu")


def _on_gpu(device: str | None) -> bool:
    import torch

    return torch.cuda.is_available() and (device or "cuda").startswith("cuda")


def free_memory(device: str | None) -> float:
    """Free memory of the device that a base would be opened on, in bytes."""
    return _free(_on_gpu(device))


def _free(on_gpu: bool) -> float:
    import torch

    if on_gpu:
        return float(torch.cuda.mem_get_info()[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def strange_words_note(base: str, text: str) -> str:
    """A note about words that a base with a small vocabulary does not know, and therefore ignores; else empty."""
    from limner.bases.common.loading import capabilities_of
    from limner.core.wording import words_not_in

    known = capabilities_of(base).known_words
    words = words_not_in(known(), text) if known else []
    if not words:
        return ""
    return (
        f"the base {base!r} does not know {listed(map(repr, words))}, and leaves that out of the picture; `limner "
        "words` "
        "lists the words that it knows"
    )
