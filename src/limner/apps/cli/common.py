"""Helpers that commands share: printing, and bases, concepts and encoders from the names on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from limner.core.escaping import terminal_text
from limner.core.method import settings
from limner.errors import InputError
from limner.methods import find
from limner.workflows.requests import BaseChoice, ConceptChoice

ROLES = {
    "clip": "openai/clip-vit-base-patch32",
    "dino": "facebook/dino-vits16",
    "dinov2": "facebook/dinov2-base",
    "pickscore": "yuvalkirstain/PickScore_v1",
    "hps": "a CLIP with HPS weights",
}
"""Role of each encoder that the command line can name -> an example."""


def check_device(name: str | None) -> None:
    """Raise `InputError` for a device that this machine lacks, before any work is done."""
    if name and name != "cpu":
        from limner.bases.common.loading import checked_device

        checked_device(name)


def choice_of(given: argparse.Namespace, name: str | None = None) -> BaseChoice:
    """The base that the flags name, or `name` where it is given, and how the flags open it."""
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
    """A concept's file, with the method and the trust that the flags give it."""
    return ConceptChoice(path=path, method=given.method or "", trust=given.trust)


def roles_of(given: argparse.Namespace) -> dict[str, str]:
    """Encoders named on the command line, by role."""
    return {role: str(getattr(given, role)) for role in ROLES if getattr(given, role)}


def encoders_of(given: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Encoders that the flags name, by role; networks of faces have the role "face"."""
    named = [(role, getattr(given, role)) for role in ROLES if getattr(given, role)]
    faces = getattr(given, "faces", None)
    return (*named, *([("face", faces)] if faces else []))


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """The method's settings that were given as flags."""
    return {s.name: value for s in settings(find(given.asked)) if (value := getattr(given, s.name)) is not None}


def named_values(flag: str, given: list[str], example: str) -> dict[str, str]:
    """NAME=VALUE words as a mapping. Raises `InputError` for a word of another form, and for a name that is given
    twice."""
    values: dict[str, str] = {}
    for word in given:
        name, _, value = (part.strip() for part in word.partition("="))
        if not name or not value:
            raise InputError(f"{flag} takes NAME=VALUE, such as {example}, not {word!r}")
        if name.strip("<>") in (other.strip("<>") for other in values):
            raise InputError(f"{flag} is given {name!r} twice; once is enough")
        values[name] = value
    return values


def out(given: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=2) if given.json else terminal_text(text))


def say(text: str) -> None:
    print(terminal_text(text), file=sys.stderr, flush=True)
