"""Operations on queries, keys, values and attention maps of a layer."""

from .boxes import box_of, drawn_into
from .face_region import read_in_region
from .first_pass import faces_of_first, followed_attention, subject_regions, summed_maps
from .followed import followed_subject, painted_at
from .forward_layout import forward_layout
from .foundation import foundation_attention
from .maps import keep_maps, kept_maps
from .regions import drawn_to_regions, kept_to_regions, regions_of, within_region
from .shared import adain, shared_reference
from .swapped import adapted_latents, attended, soft_mask, swapped_attention

__all__ = [
    "adain",
    "adapted_latents",
    "attended",
    "box_of",
    "drawn_into",
    "drawn_to_regions",
    "faces_of_first",
    "followed_attention",
    "followed_subject",
    "forward_layout",
    "foundation_attention",
    "keep_maps",
    "kept_maps",
    "kept_to_regions",
    "painted_at",
    "read_in_region",
    "regions_of",
    "shared_reference",
    "soft_mask",
    "subject_regions",
    "summed_maps",
    "swapped_attention",
    "within_region",
]
