"""Sources: batches of pictures, captions and references to learn from."""

from .captioned import captioned
from .class_pictures import STRUCTURED, class_pictures, prior_note
from .diptychs import diptychs
from .expert_pairs import expert_pairs
from .pairs import jittered, pairs
from .photos import PHOTO_TEMPLATES, photos
from .pool import growing_pool
from .prompts import prompts
from .retrieved import retrieved
from .shown import all_seen
from .texts import corpus_texts

__all__ = [
    "PHOTO_TEMPLATES",
    "STRUCTURED",
    "all_seen",
    "captioned",
    "class_pictures",
    "corpus_texts",
    "diptychs",
    "expert_pairs",
    "growing_pool",
    "jittered",
    "pairs",
    "photos",
    "prior_note",
    "prompts",
    "retrieved",
]
