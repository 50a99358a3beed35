"""Shared by commands: printing, and bases, concepts and encoders as they are named on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.escaping import terminal_text
from limner.core.method import settings
from limner.methods import find
from limner.workflows.requests import BaseChoice, ConceptChoice

if TYPE_CHECKING:
    from limner.core.concept import Concept

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


def choice_of(given: argparse.Namespace, name: str | None = None) -> BaseChoice:
    """The base that the flags name (or the one that is named here), and how they open it."""
    return BaseChoice(
        name=given.base or "" if name is None else name,
        device=given.device,
        dtype=given.dtype,
        fit=given.fit,
        quantise=given.quantise,
        offload=given.offload,
        tiling=given.tiling,
        checkpointing=given.checkpointing,
        offline=given.offline,
        config=given.base_config,
        faces=getattr(given, "faces", None) or "",
    )


def concept_choice(given: argparse.Namespace, path: Path) -> ConceptChoice:
    """A concept's file, with what the flags let it name."""
    return ConceptChoice(path=path, method=given.method or "", trust=given.trust)


def roles_of(given: argparse.Namespace) -> dict[str, str]:
    """Encoders named on the command line, by role."""
    return {role: str(getattr(given, role)) for role in ROLES if getattr(given, role)}


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """The settings of the method that were given as flags."""
    return {s.name: value for s in settings(find(given.asked)) if (value := getattr(given, s.name)) is not None}


def opened(given: argparse.Namespace, name: str) -> Any:
    """The base of that name, as the flags want it."""
    from limner.workflows.opening import open_base

    return open_base(choice_of(given, name))


def read_concept(given: argparse.Namespace, path: Path) -> Concept:
    """The concept of a file. What it names is run or opened only as the flags say: a method of a file by --method,
    all by --trust."""
    from limner.workflows import opening

    concept = opening.read_concept(concept_choice(given, path))
    if note := opening.hash_note(concept, path):
        say(f"note: {note}")
    return concept


def base_of(given: argparse.Namespace, concept: Concept) -> str:
    """The base that a concept is worn on (see `limner.workflows.opening.choice_for`)."""
    from limner.workflows.opening import choice_for

    choice = choice_for(concept, choice_of(given), trust=given.trust)
    given.base_config = choice.config
    return choice.name


def out(given: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=2) if given.json else terminal_text(text))


def say(text: str) -> None:
    print(terminal_text(text), file=sys.stderr, flush=True)
