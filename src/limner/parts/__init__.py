"""What recipes are made of: a folder for each noun of the field. Importing it loads no heavy library."""

from .attention.boxes import box_of, drawn_into
from .attention.maps import keep_maps, kept_maps
from .attention.self_subject import interleaved_guidance, noised_reference, self_subject
from .attention.shared import adain, shared_reference
from .encoders.captions import structured_captions
from .encoders.clip import clip_global, clip_last, clip_places
from .encoders.looks import each_of
from .encoders.masks import background_masks, propagated_masks, subject_masks
from .encoders.qformer import QueryFormer
from .fusion.decoupled_cross_attention import decoupled_cross_attention
from .fusion.layered_attention import layered_attention
from .fusion.query_words import query_word, query_words, released_query_words
from .fusion.subject_attention import subject_attention
from .fusion.words_of_pictures import words_of_pictures
from .guidance.adapter import adapter_guidance
from .guidance.attention import attention_into_mask
from .guidance.classifier_free import classifier_free
from .guidance.reference import masked_reference, reference_statistics
from .modifiers.bottleneck import bottleneck_adapters
from .modifiers.branches import branch_integration
from .modifiers.distribution import prompt_distribution, prompts_apart
from .modifiers.head_low_rank import head_low_rank
from .modifiers.image_attention import attention_consistency, image_attention, otsu
from .modifiers.low_rank import low_rank
from .modifiers.mapped_words import mapped_words
from .modifiers.paired_low_rank import paired_low_rank
from .modifiers.prefix import text_prefix
from .modifiers.rank_one import key_locked, noun_state, second_moment
from .modifiers.reference import inverted_reference, reference_latents
from .modifiers.states import changed_states, image_added, last_states
from .modifiers.subspace_word import subspace_word
from .modifiers.value_residual import value_residual
from .modifiers.varying_words import ATTRIBUTES, neural, per_layer, per_stage, per_step, scoped, varying_word
from .modifiers.watched import maps_of, watched_word
from .modifiers.weight_changes import changed_weights, hadamard, kronecker, orthogonal, spectral
from .modifiers.words import new_word, picture_words, rare_word, rare_word_and
from .objectives.anchors import near_anchor
from .objectives.attention import attention_on_mask
from .objectives.context import context_maps, context_states
from .objectives.contrast import contrast
from .objectives.denoising import denoising, penalty
from .objectives.disentangling import apart, picture_alone, without_picture
from .objectives.distillation import distillation
from .objectives.guided import guided_denoising
from .objectives.naturalness import kurtosis_gap
from .objectives.picture_text import picture_text, picture_text_contrast, picture_text_matching
from .objectives.preserving import preserving
from .objectives.prototype import near_start, prototype, prototypical_embedding
from .objectives.rewards import clip_reward, policy_gradient, reward
from .objectives.views import appearance_contrast, semantic_contrast
from .parameters import at_rate, base_parameters, cross_attention_kv, everything, learned, part_of, text_encoder, words
from .sources.captioned import captioned
from .sources.class_pictures import STRUCTURED, class_pictures, prior_note
from .sources.pairs import jittered, pairs
from .sources.photos import PHOTO_TEMPLATES, photos
from .sources.pool import growing_pool
from .sources.prompts import prompts
from .sources.shown import all_seen
from .stops.variance import frozen_batch, frozen_loss, variance_stop

__all__ = [
    "ATTRIBUTES",
    "PHOTO_TEMPLATES",
    "STRUCTURED",
    "QueryFormer",
    "adain",
    "adapter_guidance",
    "all_seen",
    "apart",
    "appearance_contrast",
    "at_rate",
    "attention_consistency",
    "attention_into_mask",
    "attention_on_mask",
    "background_masks",
    "base_parameters",
    "bottleneck_adapters",
    "box_of",
    "branch_integration",
    "captioned",
    "changed_states",
    "changed_weights",
    "class_pictures",
    "classifier_free",
    "clip_global",
    "clip_last",
    "clip_places",
    "clip_reward",
    "context_maps",
    "context_states",
    "contrast",
    "cross_attention_kv",
    "decoupled_cross_attention",
    "denoising",
    "distillation",
    "drawn_into",
    "each_of",
    "everything",
    "frozen_batch",
    "frozen_loss",
    "growing_pool",
    "guided_denoising",
    "hadamard",
    "head_low_rank",
    "image_added",
    "image_attention",
    "interleaved_guidance",
    "inverted_reference",
    "jittered",
    "keep_maps",
    "kept_maps",
    "key_locked",
    "kronecker",
    "kurtosis_gap",
    "last_states",
    "layered_attention",
    "learned",
    "low_rank",
    "mapped_words",
    "maps_of",
    "masked_reference",
    "near_anchor",
    "near_start",
    "neural",
    "new_word",
    "noised_reference",
    "noun_state",
    "orthogonal",
    "otsu",
    "paired_low_rank",
    "pairs",
    "part_of",
    "penalty",
    "per_layer",
    "per_stage",
    "per_step",
    "photos",
    "picture_alone",
    "picture_text",
    "picture_text_contrast",
    "picture_text_matching",
    "picture_words",
    "policy_gradient",
    "preserving",
    "prior_note",
    "prompt_distribution",
    "prompts",
    "prompts_apart",
    "propagated_masks",
    "prototype",
    "prototypical_embedding",
    "query_word",
    "query_words",
    "rare_word",
    "rare_word_and",
    "reference_latents",
    "reference_statistics",
    "released_query_words",
    "reward",
    "scoped",
    "second_moment",
    "self_subject",
    "semantic_contrast",
    "shared_reference",
    "spectral",
    "structured_captions",
    "subject_attention",
    "subject_masks",
    "subspace_word",
    "text_encoder",
    "text_prefix",
    "value_residual",
    "variance_stop",
    "varying_word",
    "watched_word",
    "without_picture",
    "words",
    "words_of_pictures",
]
