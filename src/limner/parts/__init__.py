"""What recipes are made of: a folder for each noun of the field. Importing it loads no heavy library."""

from .attention.shared import adain, shared_reference
from .encoders.clip import clip_global
from .fusion.decoupled_cross_attention import decoupled_cross_attention
from .guidance.classifier_free import classifier_free
from .modifiers.low_rank import low_rank
from .modifiers.reference import inverted_reference, reference_latents
from .modifiers.words import new_word, rare_word, rare_word_and
from .objectives.denoising import denoising, penalty
from .parameters import base_parameters, cross_attention_kv, everything, learned, text_encoder, words
from .sources.class_pictures import class_pictures, prior_note
from .sources.corpus import toy_pairs
from .sources.photos import PHOTO_TEMPLATES, photos

__all__ = [
    "PHOTO_TEMPLATES",
    "adain",
    "base_parameters",
    "class_pictures",
    "classifier_free",
    "clip_global",
    "cross_attention_kv",
    "decoupled_cross_attention",
    "denoising",
    "everything",
    "inverted_reference",
    "learned",
    "low_rank",
    "new_word",
    "penalty",
    "photos",
    "prior_note",
    "rare_word",
    "rare_word_and",
    "reference_latents",
    "shared_reference",
    "text_encoder",
    "toy_pairs",
    "words",
]
