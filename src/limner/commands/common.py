"""What commands share: printing, and encoders and bases as they are named on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

ROLES = {
    "clip": "openai/clip-vit-base-patch32",
    "dino": "facebook/dino-vits16",
    "dinov2": "facebook/dinov2-base",
    "pickscore": "yuvalkirstain/PickScore_v1",
    "hps": "a CLIP with HPS weights",
}
"""Encoders that can be named on the command line, and an example of each."""


def encoders(given: argparse.Namespace) -> dict[str, Any] | None:
    """Those named on the command line by role, or None."""
    from limner.evaluation.encoders import encoder

    named = {role: getattr(given, role) for role in ROLES if getattr(given, role)}
    return {role: encoder(where, device=given.device or "cpu") for role, where in named.items()} or None


def opened(given: argparse.Namespace, name: str) -> Any:
    """The base of that name, as the flags want it."""
    from limner.bases.loading import load

    return load(
        name,
        device=given.device,
        dtype=given.dtype,
        quantise=given.quantise,
        offload=given.offload,
        tiling=given.tiling,
        checkpointing=given.checkpointing,
        offline=given.offline or None,
        config=given.base_config,
    )


def out(given: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=2) if given.json else text)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
