"""What recipes are made of: a folder for each noun of the field. Importing it loads no heavy library."""

from .guidance.classifier_free import classifier_free
from .modifiers.low_rank import low_rank
from .modifiers.words import new_word, rare_word, rare_word_and
from .objectives.denoising import denoising, penalty
from .parameters import base_parameters, cross_attention_kv, everything, learned, text_encoder, words
from .sources.class_pictures import class_pictures
from .sources.photos import PHOTO_TEMPLATES, photos

__all__ = [
    "PHOTO_TEMPLATES",
    "base_parameters",
    "class_pictures",
    "classifier_free",
    "cross_attention_kv",
    "denoising",
    "everything",
    "learned",
    "low_rank",
    "new_word",
    "penalty",
    "photos",
    "rare_word",
    "rare_word_and",
    "text_encoder",
    "words",
]
