"""Captions in everyday words, for statistics of a text encoder where a base brings no texts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from limner.core.streams import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from limner.core.base import Base

MANNERS = (
    "a photo of {}", "a picture of {}", "{}", "a close-up of {}", "a painting of {}", "a drawing of {}",
    "a black and white photo of {}", "a view of {}", "an old photograph of {}", "there is {}", "we see {}",
    "an illustration of {}",
)  # fmt: skip
NOUNS = (
    "airplane", "apple", "baby", "backpack", "ball", "banana", "basket", "beach", "bear", "bed", "bench", "bicycle",
    "bird", "boat", "book", "bottle", "bowl", "boy", "bridge", "building", "bus", "butterfly", "cake", "camera",
    "candle", "car", "castle", "cat", "chair", "child", "church", "clock", "cloud", "coat", "couple", "cow", "crowd",
    "cup", "dancer", "desk", "doctor", "dog", "door", "dress", "drum", "elephant", "farmer", "fence", "field", "fire",
    "fish", "flag", "flower", "forest", "fountain", "fox", "fruit", "garden", "girl", "glass", "guitar", "hat",
    "horse", "house", "island", "jacket", "kitchen", "kite", "ladder", "lake", "lamp", "leaf", "library", "lion",
    "man", "market", "mirror", "monkey", "motorcycle", "mountain", "mouse", "musician", "orange", "painter", "park",
    "phone", "piano", "pizza", "plant", "plate", "pond", "rabbit", "river", "road", "robot", "rock", "room", "sailor",
    "sandwich", "sheep", "ship", "shoe", "sign", "singer", "skirt", "snake", "sofa", "soldier", "spoon", "statue",
    "street", "student", "suitcase", "table", "teacher", "team", "tent", "tiger", "towel", "train", "tree", "truck",
    "umbrella", "vase", "village", "wall", "watch", "waterfall", "window", "woman",
)  # fmt: skip
LOOKS = (
    "big", "small", "old", "new", "red", "blue", "green", "yellow", "white", "black", "brown", "golden", "wooden",
    "broken", "beautiful", "colorful", "bright", "dark", "empty", "busy", "quiet", "young", "tall", "round",
    "striped", "shiny", "dirty", "clean", "wet",
)  # fmt: skip
PLACES = (
    "", "in the city", "by the sea", "on a table", "at night", "in the rain", "under a tree", "on a hill", "in the morning",
    "behind a window", "in front of a house", "next to a road", "with a smile", "on a sunny day", "in winter", "for sale",
    "in a small town", "from above", "near the water", "on the grass", "at a party", "with friends", "in the mountains",
)  # fmt: skip


def everyday_captions() -> Iterator[str]:
    """Captions without end, such as "a photo of a red bicycle and an old man by the sea"."""
    import torch

    def one(words: tuple[str, ...], chance: float) -> str:
        return words[int(chance * len(words))]

    def thing(look: float, noun: float, plain: float) -> str:
        words = f"{one(LOOKS, look)} {one(NOUNS, noun)}" if plain < 0.5 else one(NOUNS, noun)
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    for number in itertools.count():
        draw = torch.rand(10, generator=stream(number, "everyday captions")).tolist()
        things = thing(*draw[:3]) if draw[3] < 0.6 else f"{thing(*draw[:3])} and {thing(*draw[4:7])}"
        yield f"{one(MANNERS, draw[7]).format(things)} {one(PLACES, draw[8])}".strip()


def texts_for(base: Base, count: int) -> list[str]:
    """So many texts that the base can read whole: those of its corpus, else everyday captions.

    base: the base
    count: number of texts
    """
    from .corpus import text

    corpus = base.corpus
    texts = (text(corpus, number) for number in itertools.count()) if corpus is not None else everyday_captions()
    return list(itertools.islice((t for t in texts if base.num_tokens(t, words={}) <= base.max_tokens), count))
