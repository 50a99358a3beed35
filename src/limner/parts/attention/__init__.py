"""Operations on q, k, v and maps at a named site."""

from .boxes import box_of, drawn_into
from .followed import followed_subject, painted_at
from .foundation import foundation_attention
from .maps import keep_maps, kept_maps
from .shared import adain, shared_reference

__all__ = [
    "adain",
    "box_of",
    "drawn_into",
    "followed_subject",
    "foundation_attention",
    "keep_maps",
    "kept_maps",
    "painted_at",
    "shared_reference",
]
