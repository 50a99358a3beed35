"""Changes of a base's network or of its input, undone when the adapter is detached."""

from .basis_word import basis_word
from .bottleneck import attention_adapters, bottleneck_adapters
from .branch_low_rank import branch_low_rank
from .branches import branch_integration
from .control_branch import COLOURS, control_branch, feature_branch, opened_control, painted_in, segmentation_branch
from .distribution import prompt_distribution, prompts_apart
from .explicit_rank_one import explicit_rank_one
from .further_channels import further_channels
from .head_low_rank import head_low_rank
from .image_attention import attention_consistency, image_attention, otsu
from .low_rank import low_rank
from .mapped_words import mapped_words
from .mixed_word import adjectives, mixed_word, mixture, nouns_shown, word_weights
from .motion import motion_modules
from .names import encoded_mean_name, name_vectors
from .neurons import concept_neurons
from .normalisation import shared_statistics
from .null_text import null_text
from .paired_low_rank import paired_low_rank
from .predicted_low_rank import predicted_low_rank
from .prefix import text_prefix
from .query_transfer import along_content, query_transfer
from .rank_one import key_locked, noun_state, second_moment
from .reference import first_picture, inverted_reference, reference_features, reference_latents
from .regional_low_rank import regional_low_rank
from .residual_word import residual_word
from .scene_collage import onto_scene, scene_around, scene_collage
from .source_picture import along_source, kept_around, source_picture
from .stacked_control import stacked_control
from .states import changed_states, image_added, last_states
from .subspace_word import subspace_word
from .timed_words import timed
from .value_residual import value_residual
from .varying_words import ATTRIBUTES, neural, per_layer, per_stage, per_step, scoped, varying_word
from .watched import maps_of, watched_word
from .watched_text import watched_text
from .weight_changes import changed_weights, hadamard, kronecker, multiplied, orthogonal, spectral
from .words import new_word, picture_words, random_start, rare_word, rare_word_and

__all__ = [
    "ATTRIBUTES",
    "COLOURS",
    "adjectives",
    "along_content",
    "along_source",
    "attention_adapters",
    "attention_consistency",
    "basis_word",
    "bottleneck_adapters",
    "branch_integration",
    "branch_low_rank",
    "changed_states",
    "changed_weights",
    "concept_neurons",
    "control_branch",
    "encoded_mean_name",
    "explicit_rank_one",
    "feature_branch",
    "first_picture",
    "further_channels",
    "hadamard",
    "head_low_rank",
    "image_added",
    "image_attention",
    "inverted_reference",
    "kept_around",
    "key_locked",
    "kronecker",
    "last_states",
    "low_rank",
    "mapped_words",
    "maps_of",
    "mixed_word",
    "mixture",
    "motion_modules",
    "multiplied",
    "name_vectors",
    "neural",
    "new_word",
    "noun_state",
    "nouns_shown",
    "null_text",
    "onto_scene",
    "opened_control",
    "orthogonal",
    "otsu",
    "painted_in",
    "paired_low_rank",
    "per_layer",
    "per_stage",
    "per_step",
    "picture_words",
    "predicted_low_rank",
    "prompt_distribution",
    "prompts_apart",
    "query_transfer",
    "random_start",
    "rare_word",
    "rare_word_and",
    "reference_features",
    "reference_latents",
    "regional_low_rank",
    "residual_word",
    "scene_around",
    "scene_collage",
    "scoped",
    "second_moment",
    "segmentation_branch",
    "shared_statistics",
    "source_picture",
    "spectral",
    "stacked_control",
    "subspace_word",
    "text_prefix",
    "timed",
    "value_residual",
    "varying_word",
    "watched_text",
    "watched_word",
    "word_weights",
]
