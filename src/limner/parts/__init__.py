"""What recipes are made of: a folder for each noun of the field. Importing it loads no heavy library."""

from .attention.boxes import box_of, drawn_into
from .attention.followed import followed_subject, painted_at
from .attention.maps import keep_maps, kept_maps
from .attention.self_subject import interleaved_guidance, noised_reference, self_subject
from .attention.shared import adain, shared_reference
from .augmentations.erasing import erased
from .candidates.nearness import nearest
from .encoders.captions import structured_captions
from .encoders.clip import clip_classes, clip_depths, clip_global, clip_last, clip_places, clip_tokens
from .encoders.looks import all_of, alone, close_up, each_of, mean_of, pictures_alone, placed
from .encoders.masks import background_masks, propagated_masks, subject_masks
from .encoders.multimodal import multimodal_places
from .encoders.qformer import QueryFormer
from .fusion.aligner import aligner_net, alignment
from .fusion.clean_reference import clean_reference
from .fusion.context_stack import context_stack
from .fusion.convolutional import details_of_pixels
from .fusion.decoupled_cross_attention import decoupled_cross_attention
from .fusion.described import described, feature_regression
from .fusion.dual_path import dual_path
from .fusion.gated_attention import gated_attention
from .fusion.layered_attention import layered_attention
from .fusion.local_attention import details_of_depths, local_attention
from .fusion.multimodal_states import states_of_multimodal
from .fusion.noise_aware import noise_aware, tunable
from .fusion.query_states import explain, explanation, like_text_tower, query_states
from .fusion.query_words import query_word, query_words, released_query_words
from .fusion.reference_attention import attending, beside_own, cross_sites, in_context, self_sites
from .fusion.reference_network import reference_network
from .fusion.subject_attention import subject_attention
from .fusion.word_mappers import one_word, words_of_depths
from .fusion.words_of_pictures import words_of_pictures
from .guidance.adapter import adapter_guidance
from .guidance.adjoint import feature_distance, symplectic_adjoint_guidance
from .guidance.attention import attention_into_mask
from .guidance.branches import between, interleaved, picture_then_text
from .guidance.classifier_free import classifier_free
from .guidance.fused import fused_guidance
from .guidance.panels import beside_panel, enforced
from .guidance.reference import masked_reference, reference_statistics
from .modifiers.bottleneck import bottleneck_adapters
from .modifiers.branches import branch_integration
from .modifiers.distribution import prompt_distribution, prompts_apart
from .modifiers.head_low_rank import head_low_rank
from .modifiers.image_attention import attention_consistency, image_attention, otsu
from .modifiers.low_rank import low_rank
from .modifiers.mapped_words import mapped_words
from .modifiers.paired_low_rank import paired_low_rank
from .modifiers.predicted_low_rank import predicted_low_rank
from .modifiers.prefix import text_prefix
from .modifiers.rank_one import key_locked, noun_state, second_moment
from .modifiers.reference import inverted_reference, reference_features, reference_latents
from .modifiers.states import changed_states, image_added, last_states
from .modifiers.subspace_word import subspace_word
from .modifiers.value_residual import value_residual
from .modifiers.varying_words import ATTRIBUTES, neural, per_layer, per_stage, per_step, scoped, varying_word
from .modifiers.watched import maps_of, watched_word
from .modifiers.weight_changes import changed_weights, hadamard, kronecker, multiplied, orthogonal, spectral
from .modifiers.words import new_word, picture_words, rare_word, rare_word_and
from .objectives.anchors import near_anchor
from .objectives.attention import attention_on_mask
from .objectives.context import context_maps, context_states
from .objectives.contrast import contrast
from .objectives.denoising import denoising, penalty
from .objectives.disentangling import apart, picture_alone, without_picture
from .objectives.distillation import distillation
from .objectives.guided import guided_denoising
from .objectives.identity import same_identity
from .objectives.magnitude import magnitude
from .objectives.naturalness import kurtosis_gap
from .objectives.picture_text import picture_text, picture_text_contrast, picture_text_matching
from .objectives.picture_words import among_words, short
from .objectives.preserving import preserving
from .objectives.prototype import near_start, prototype, prototypical_embedding
from .objectives.refinement import refinement
from .objectives.rewards import clip_reward, policy_gradient, reward
from .objectives.views import appearance_contrast, semantic_contrast
from .parameters import (
    all_but,
    at_rate,
    base_parameters,
    cross_attention_kv,
    everything,
    learned,
    part_of,
    text_encoder,
    words,
)
from .sources.captioned import captioned
from .sources.class_pictures import STRUCTURED, class_pictures, prior_note
from .sources.diptychs import diptychs
from .sources.expert_pairs import expert_pairs
from .sources.pairs import jittered, pairs
from .sources.photos import PHOTO_TEMPLATES, photos
from .sources.pool import growing_pool
from .sources.prompts import prompts
from .sources.retrieved import retrieved
from .sources.shown import all_seen
from .sources.texts import corpus_texts
from .stops.variance import frozen_batch, frozen_loss, variance_stop

__all__ = [
    "ATTRIBUTES",
    "PHOTO_TEMPLATES",
    "STRUCTURED",
    "QueryFormer",
    "adain",
    "adapter_guidance",
    "aligner_net",
    "alignment",
    "all_but",
    "all_of",
    "all_seen",
    "alone",
    "among_words",
    "apart",
    "appearance_contrast",
    "at_rate",
    "attending",
    "attention_consistency",
    "attention_into_mask",
    "attention_on_mask",
    "background_masks",
    "base_parameters",
    "beside_own",
    "beside_panel",
    "between",
    "bottleneck_adapters",
    "box_of",
    "branch_integration",
    "captioned",
    "changed_states",
    "changed_weights",
    "class_pictures",
    "classifier_free",
    "clean_reference",
    "clip_classes",
    "clip_depths",
    "clip_global",
    "clip_last",
    "clip_places",
    "clip_reward",
    "clip_tokens",
    "close_up",
    "context_maps",
    "context_stack",
    "context_states",
    "contrast",
    "corpus_texts",
    "cross_attention_kv",
    "cross_sites",
    "decoupled_cross_attention",
    "denoising",
    "described",
    "details_of_depths",
    "details_of_pixels",
    "diptychs",
    "distillation",
    "drawn_into",
    "dual_path",
    "each_of",
    "enforced",
    "erased",
    "everything",
    "expert_pairs",
    "explain",
    "explanation",
    "feature_distance",
    "feature_regression",
    "followed_subject",
    "frozen_batch",
    "frozen_loss",
    "fused_guidance",
    "gated_attention",
    "growing_pool",
    "guided_denoising",
    "hadamard",
    "head_low_rank",
    "image_added",
    "image_attention",
    "in_context",
    "interleaved",
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
    "like_text_tower",
    "local_attention",
    "low_rank",
    "magnitude",
    "mapped_words",
    "maps_of",
    "masked_reference",
    "mean_of",
    "multimodal_places",
    "multiplied",
    "near_anchor",
    "near_start",
    "nearest",
    "neural",
    "new_word",
    "noise_aware",
    "noised_reference",
    "noun_state",
    "one_word",
    "orthogonal",
    "otsu",
    "painted_at",
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
    "picture_then_text",
    "picture_words",
    "pictures_alone",
    "placed",
    "policy_gradient",
    "predicted_low_rank",
    "preserving",
    "prior_note",
    "prompt_distribution",
    "prompts",
    "prompts_apart",
    "propagated_masks",
    "prototype",
    "prototypical_embedding",
    "query_states",
    "query_word",
    "query_words",
    "rare_word",
    "rare_word_and",
    "reference_features",
    "reference_latents",
    "reference_network",
    "reference_statistics",
    "refinement",
    "released_query_words",
    "retrieved",
    "reward",
    "same_identity",
    "scoped",
    "second_moment",
    "self_sites",
    "self_subject",
    "semantic_contrast",
    "shared_reference",
    "short",
    "spectral",
    "states_of_multimodal",
    "structured_captions",
    "subject_attention",
    "subject_masks",
    "subspace_word",
    "symplectic_adjoint_guidance",
    "text_encoder",
    "text_prefix",
    "tunable",
    "value_residual",
    "variance_stop",
    "varying_word",
    "watched_word",
    "without_picture",
    "words",
    "words_of_depths",
    "words_of_pictures",
]
