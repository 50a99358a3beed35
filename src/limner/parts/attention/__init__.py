"""Operations on q, k, v and maps at a named site."""

from .boxes import box_of, drawn_into
from .face_region import read_in_region
from .followed import followed_subject, painted_at
from .maps import keep_maps, kept_maps
from .shared import adain, shared_reference

__all__ = [
    "adain",
    "box_of",
    "drawn_into",
    "followed_subject",
    "keep_maps",
    "kept_maps",
    "painted_at",
    "read_in_region",
    "shared_reference",
]
