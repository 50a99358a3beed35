"""Sources: batches of pictures, captions and references to learn from."""

from .captioned import captioned
from .class_pictures import STRUCTURED, class_pictures, prior_note
from .composed import called, style_photos, with_references_of
from .concepts import shown_for
from .diptychs import diptychs
from .edited import edited_portraits
from .expert_pairs import expert_pairs
from .feedback import by_hand, by_score, feedback
from .hidden_patches import with_hidden_patches
from .inpainting import with_holes
from .other_people import people_by_age
from .pairs import jittered, pairs
from .people import pairs_of_people, references_to_paint
from .photos import FACE_TEMPLATES, PHOTO_TEMPLATES, photos
from .pool import growing_pool
from .prompts import prompts
from .rescaled import rescaled_photos
from .retrieved import retrieved
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
    "called",
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
    "rescaled_photos",
    "retrieved",
    "shown_for",
    "style_photos",
    "with_hidden_patches",
    "with_holes",
    "with_references_of",
]
