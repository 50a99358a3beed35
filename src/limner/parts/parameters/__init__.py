"""Which weights learn: functions that make a `Selection`."""

from .selections import at_rate, base_parameters, cross_attention_kv, everything, learned, part_of, text_encoder, words

__all__ = [
    "at_rate",
    "base_parameters",
    "cross_attention_kv",
    "everything",
    "learned",
    "part_of",
    "text_encoder",
    "words",
]
