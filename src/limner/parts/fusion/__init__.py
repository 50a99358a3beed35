"""Fusions: features of pictures enter the network."""

from .aligner import aligner_net, alignment
from .clean_reference import clean_reference
from .context_stack import context_stack
from .convolutional import details_of_pixels
from .decoupled_cross_attention import decoupled_cross_attention
from .described import described, feature_regression
from .dual_path import dual_path
from .gated_attention import gated_attention
from .layered_attention import layered_attention
from .local_attention import details_of_depths, local_attention
from .multimodal_states import states_of_multimodal
from .noise_aware import noise_aware, tunable
from .query_states import explain, explanation, like_text_tower, query_states
from .query_words import query_word, query_words, released_query_words
from .reference_attention import attending, beside_own, cross_sites, in_context, self_sites
from .reference_network import reference_network
from .subject_attention import subject_attention
from .word_mappers import one_word, words_of_depths
from .words_of_pictures import words_of_pictures

__all__ = [
    "aligner_net",
    "alignment",
    "attending",
    "beside_own",
    "clean_reference",
    "context_stack",
    "cross_sites",
    "decoupled_cross_attention",
    "described",
    "details_of_depths",
    "details_of_pixels",
    "dual_path",
    "explain",
    "explanation",
    "feature_regression",
    "gated_attention",
    "in_context",
    "layered_attention",
    "like_text_tower",
    "local_attention",
    "noise_aware",
    "one_word",
    "query_states",
    "query_word",
    "query_words",
    "reference_network",
    "released_query_words",
    "self_sites",
    "states_of_multimodal",
    "subject_attention",
    "tunable",
    "words_of_depths",
    "words_of_pictures",
]
