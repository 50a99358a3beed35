"""Sources: batches of pictures, captions and references to learn from."""

from .captioned import captioned
from .class_pictures import STRUCTURED, class_pictures, prior_note
from .concepts import shown_for
from .diptychs import diptychs
from .edited import edited_portraits
from .expert_pairs import expert_pairs
from .feedback import by_hand, by_score, feedback
from .inpainting import with_holes
from .other_people import people_by_age
from .pairs import jittered, pairs
from .people import pairs_of_people, references_to_paint
from .photos import FACE_TEMPLATES, PHOTO_TEMPLATES, photos
from .pool import growing_pool
from .prompts import prompts
from .retrieved import retrieved
from .scheduled import scheduled, with_memory
from .shown import all_seen
from .texts import corpus_texts
from .times import at_times

__all__ = [
    "FACE_TEMPLATES",
    "PHOTO_TEMPLATES",
    "STRUCTURED",
    "all_seen",
    "at_times",
    "by_hand",
    "by_score",
    "captioned",
    "class_pictures",
    "corpus_texts",
    "diptychs",
    "edited_portraits",
    "expert_pairs",
    "feedback",
    "growing_pool",
    "jittered",
    "pairs",
    "pairs_of_people",
    "people_by_age",
    "photos",
    "prior_note",
    "prompts",
    "references_to_paint",
    "retrieved",
    "scheduled",
    "shown_for",
    "with_holes",
    "with_memory",
]
