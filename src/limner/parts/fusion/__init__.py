"""Fusions: parts through which features of pictures enter the network."""

from .aligner import aligner_net, alignment
from .attention_mixture import attention_mixture, router_prior
from .box_channel import box_channel
from .clean_reference import clean_reference
from .collage_network import SILHOUETTE, collage_network
from .context_stack import context_stack
from .context_states import context_states
from .context_tokens import aggregated_tokens, context_tokens
from .convolutional import details_of_pixels
from .decoupled_cross_attention import decoupled_cross_attention
from .dual_path import dual_path
from .face_words import IDENTITY, identity_words
from .feature_nerf import PICTURE, feature_nerf, render_supervision
from .fused_words import fused_words
from .gated_attention import gated_attention
from .grounded_states import grounded_states, within_box
from .grounding import grounding
from .hybrid_states import hybrid_states, prior_regression
from .identity_network import KEYPOINTS, identity_network
from .identity_weights import identity_weights, weight_regression
from .instances import instance_shading
from .last_tokens import last_tokens
from .layered_attention import layered_attention
from .level_tokens import content_adapter, level_tokens
from .local_attention import details_of_depths, local_attention
from .looked_tokens import face_tokens, looked_tokens
from .masked_identities import masked_identities, stacked_tokens
from .multimodal_features import feature_regression, multimodal_features
from .multimodal_states import states_of_multimodal
from .noise_aware import noise_aware, tunable
from .posed_tokens import placed_latents, posed_tokens
from .predicted_embedding import embedding_regression, predicted_embedding
from .query_states import explain, explanation, like_text_tower, query_states
from .query_words import multimodal_word, query_word, query_words, released_query_words
from .reference_attention import attending, beside_own, cross_sites, in_context, self_sites
from .reference_network import reference_network
from .resampled_tokens import resampled_tokens
from .residual_cross_attention import code_tokens, residual_cross_attention
from .selected_states import query_consistency, selected_states
from .set_tokens import few_to_many, set_tokens
from .style_tokens import style_tokens
from .subject_attention import subject_attention
from .text_off import mixed_attention, text_off
from .tokens_for_text import states_for_text, tokens_for_text
from .visual_branch import strengths_of, visual_branch
from .word_mappers import one_word, words_of_depths
from .words_of_pictures import words_of_pictures

__all__ = [
    "IDENTITY",
    "KEYPOINTS",
    "PICTURE",
    "SILHOUETTE",
    "aggregated_tokens",
    "aligner_net",
    "alignment",
    "attending",
    "attention_mixture",
    "beside_own",
    "box_channel",
    "clean_reference",
    "code_tokens",
    "collage_network",
    "content_adapter",
    "context_stack",
    "context_states",
    "context_tokens",
    "cross_sites",
    "decoupled_cross_attention",
    "details_of_depths",
    "details_of_pixels",
    "dual_path",
    "embedding_regression",
    "explain",
    "explanation",
    "face_tokens",
    "feature_nerf",
    "feature_regression",
    "few_to_many",
    "fused_words",
    "gated_attention",
    "grounded_states",
    "grounding",
    "hybrid_states",
    "identity_network",
    "identity_weights",
    "identity_words",
    "in_context",
    "instance_shading",
    "last_tokens",
    "layered_attention",
    "level_tokens",
    "like_text_tower",
    "local_attention",
    "looked_tokens",
    "masked_identities",
    "mixed_attention",
    "multimodal_features",
    "multimodal_word",
    "noise_aware",
    "one_word",
    "placed_latents",
    "posed_tokens",
    "predicted_embedding",
    "prior_regression",
    "query_consistency",
    "query_states",
    "query_word",
    "query_words",
    "reference_network",
    "released_query_words",
    "render_supervision",
    "resampled_tokens",
    "residual_cross_attention",
    "router_prior",
    "selected_states",
    "self_sites",
    "set_tokens",
    "stacked_tokens",
    "states_for_text",
    "states_of_multimodal",
    "strengths_of",
    "style_tokens",
    "subject_attention",
    "text_off",
    "tokens_for_text",
    "tunable",
    "visual_branch",
    "weight_regression",
    "within_box",
    "words_of_depths",
    "words_of_pictures",
]
