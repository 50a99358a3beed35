"""Pictures -> features."""

from .captions import structured_captions
from .clip import clip_before_last, clip_classes, clip_depths, clip_global, clip_last, clip_places, clip_tokens
from .looks import all_of, alone, close_up, each_of, mean_of, pictures_alone, placed
from .masks import background_masks, propagated_masks, subject_masks
from .multimodal import multimodal_places
from .qformer import QueryFormer
from .resampler import Resampler

__all__ = [
    "QueryFormer",
    "Resampler",
    "all_of",
    "alone",
    "background_masks",
    "clip_before_last",
    "clip_classes",
    "clip_depths",
    "clip_global",
    "clip_last",
    "clip_places",
    "clip_tokens",
    "close_up",
    "each_of",
    "mean_of",
    "multimodal_places",
    "pictures_alone",
    "placed",
    "propagated_masks",
    "structured_captions",
    "subject_masks",
]
