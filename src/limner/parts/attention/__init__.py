"""Operations on q, k, v and maps at a named site."""

from .boxes import box_of, drawn_into
from .followed import followed_subject, painted_at
from .maps import keep_maps, kept_maps
from .regions import drawn_to_regions, kept_to_regions, regions_of
from .shared import adain, shared_reference

__all__ = [
    "adain",
    "box_of",
    "drawn_into",
    "drawn_to_regions",
    "followed_subject",
    "keep_maps",
    "kept_maps",
    "kept_to_regions",
    "painted_at",
    "regions_of",
    "shared_reference",
]
