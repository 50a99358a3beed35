"""Capabilities of the pocket base beside sampling: its judges, its corpora and its vocabulary."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from limner.core.capabilities import Bench, Capabilities, Judge

from . import SIZE, judges
from .asked import obeyed
from .corpus import toys
from .estimators import ESTIMATORS
from .face_networks import PocketFaces
from .facts import FACTS
from .garment_corpus import garments
from .people_corpus import people
from .style_corpus import styles
from .subjects import DEVELOPMENT, others, prompts, toy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from limner.core.capabilities import PixelEncoder

NETWORKS = {"face": "faces", "object": "identity", "landmarks": "landmarks"}
"""Role of an encoder -> file of its weights."""


def encode(name: str, pixels: Tensor) -> Tensor:
    """Output of a judge's network, a row for each picture, on the device of the pixels; gradients pass.

    name: name of the network
    pixels: [n, 3, H, W] in [0, 1], which are resized to SIZE
    """
    import torch.nn.functional as F

    fitted = pixels.float()
    if pixels.shape[-2:] != (SIZE, SIZE):
        fitted = F.interpolate(fitted, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    rows: Tensor = _network_on(name, str(pixels.device))(fitted)
    return rows


@functools.cache
def _network_on(name: str, device: str) -> Any:
    """A judge's network on a device; the network on the CPU is shared with the metrics."""
    import copy

    return judges.network(name) if device == "cpu" else copy.deepcopy(judges.network(name)).to(device)


def _encoders() -> dict[str, PixelEncoder]:
    """Encoders whose weights this edition ships, by role."""
    there = {role: name for role, name in NETWORKS.items() if (judges.WEIGHTS / f"{name}.safetensors").is_file()}
    return {role: functools.partial(encode, name) for role, name in there.items()}


def captions(pixels: Tensor) -> list[str]:
    """A caption for each picture [n, 3, SIZE, SIZE], with {} for the toy: the scene and the view that the judge
    reads."""
    from .world.grammar import PLACES, VIEWED

    texts = []
    for row in judges.read(pixels):
        view = "" if row["view"] == "front" else f", {VIEWED[row['view']][0]}"
        texts.append(f"a photo of {{}} {PLACES[row['scene']][0]}{view}")
    return texts


@functools.cache
def known_words() -> frozenset[str]:
    """Words in the captions of the shipped edition; other tokens of its tokenizer are syllables without a meaning."""
    from .known import words
    from .world import grammar

    caption_words = {part for word in grammar.words() for part in word.split("-")}
    return words() & caption_words


PROMPTS_ELSEWHERE = (
    "a photo of a car on the beach",
    "a photo of a teapot in the kitchen",
    "a photo of a boat",
    "a photo of a robot in the city",
)


def _quality(pixels: Tensor) -> Tensor:
    """[n, 1]: mean of the judge's largest probabilities for class and scene."""
    import torch

    logits = judges.logits(pixels)
    return torch.stack([logits[f].softmax(-1).amax(-1) for f in ("class", "scene")]).mean(0)[:, None]


def _judge(
    network: str, see: Callable[[Tensor], Tensor], read: Callable[[Sequence[str]], Tensor] | None = None
) -> Judge:
    path = judges.WEIGHTS / network
    file = path / "model.safetensors" if path.is_dir() else path.with_suffix(".safetensors")
    return Judge(see, file, SIZE, read)


BENCH = Bench(
    "pocket",
    {
        "clip": _judge("clip", judges.picture_features, judges.text_features),
        "dino": _judge("dino", judges.appearances),
        "identity": _judge("identity", judges.identities),
        "face": _judge("faces", lambda pixels: judges.identities(pixels, faces=True)),
        "judge": _judge("judge", judges.features),
        "logits": _judge("judge", lambda pixels: judges.logits(pixels)["class"]),
        "gram": _judge("judge", judges.gram),
        "quality": _judge("judge", _quality),
    },
    prompts,
    PROMPTS_ELSEWHERE,
    functools.partial(toy, *DEVELOPMENT),
    others,
    obeyed,
)
CAPABILITIES = Capabilities(
    encoders=_encoders(),
    faces=PocketFaces(encode),
    segmenter=judges.masks,
    estimators=ESTIMATORS,
    captioner=captions,
    multimodal=str(judges.WEIGHTS / "multimodal"),
    corpus=toys(),
    people=people(),
    styles=styles(),
    garments=garments(),
    known_words=known_words,
    weights=judges.WEIGHTS / "methods",
    full_size=FACTS.full_size,
    photographs=FACTS.photographs,
    bench=BENCH,
)
