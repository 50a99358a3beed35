"""Sources: batches of pictures, captions and references to learn from."""

from .active import uncertain
from .auxiliary import auxiliary_note, auxiliary_pictures
from .captioned import captioned
from .choosing import by_hand
from .class_pictures import class_pictures, prior_note
from .composed import called, style_photos, with_references_of
from .concept_crops import concept_crops, concepts_of
from .concepts import shown_for
from .degraded import degraded_photos, degraded_subjects
from .diptychs import diptychs
from .edited import edited_portraits
from .estimated import estimated_masks, mask_of, with_estimated_masks
from .expert_pairs import expert_pairs
from .feedback import by_score, feedback
from .garments import pairs_of_garments
from .hidden_patches import with_hidden_patches
from .inpainting import with_holes
from .joined import joined
from .maps import STRUCTURE, any_map
from .other_people import people_by_age
from .pairs import Mapped, Truth, jittered, pairs
from .people import pairs_of_people, references_to_paint, without_references
from .photos import FACE_TEMPLATES, PHOTO_TEMPLATES, photos
from .placed import placed
from .placing import Hole
from .pool import growing_pool
from .preferred import preferred
from .prompts import prompts
from .recognition import recognition_pictures
from .relocated import relocated
from .rescaled import rescaled_photos
from .retrieved import retrieved
from .scheduled import scheduled, with_memory
from .shown import all_seen
from .statements import check_statements, statement_of
from .styles import pairs_of_styles
from .texts import corpus_texts
from .times import at_log_snr, at_times, cubic_times, mostly_at, noisier, times_of_log_snr
from .triplets import action_triplets

__all__ = [
    "FACE_TEMPLATES",
    "PHOTO_TEMPLATES",
    "STRUCTURE",
    "STRUCTURED",
    "Hole",
    "Mapped",
    "Truth",
    "action_triplets",
    "all_seen",
    "any_map",
    "at_log_snr",
    "at_times",
    "auxiliary_note",
    "auxiliary_pictures",
    "by_hand",
    "by_score",
    "called",
    "captioned",
    "check_statements",
    "class_pictures",
    "concept_crops",
    "concepts_of",
    "corpus_texts",
    "cubic_times",
    "degraded_photos",
    "degraded_subjects",
    "diptychs",
    "edited_portraits",
    "estimated_masks",
    "expert_pairs",
    "feedback",
    "growing_pool",
    "jittered",
    "joined",
    "mask_of",
    "mostly_at",
    "noisier",
    "pairs",
    "pairs_of_garments",
    "pairs_of_people",
    "pairs_of_styles",
    "people_by_age",
    "photos",
    "placed",
    "preferred",
    "prior_note",
    "prompts",
    "recognition_pictures",
    "references_to_paint",
    "relocated",
    "rescaled_photos",
    "retrieved",
    "scheduled",
    "shown_for",
    "statement_of",
    "style_photos",
    "times_of_log_snr",
    "uncertain",
    "with_estimated_masks",
    "with_hidden_patches",
    "with_holes",
    "with_memory",
    "with_references_of",
    "without_references",
]
