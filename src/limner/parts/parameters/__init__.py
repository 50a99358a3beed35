"""Choices of the weights to train: functions that make a `Selection`."""

from .selections import (
    all_but,
    at_rate,
    base_parameters,
    beginning,
    cross_attention_kv,
    everything,
    learned,
    part_of,
    parts_of,
    reached,
    text_encoder,
    words,
)

__all__ = [
    "all_but",
    "at_rate",
    "base_parameters",
    "beginning",
    "cross_attention_kv",
    "everything",
    "learned",
    "part_of",
    "parts_of",
    "reached",
    "text_encoder",
    "words",
]
