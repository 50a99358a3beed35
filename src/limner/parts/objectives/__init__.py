"""Objectives: scalars to minimise."""

from .anchors import near_anchor
from .attention import attention_on_mask, attention_refocused, attention_within_mask
from .balancing import momentum_consistency, worst_subject
from .classification import classification
from .codes import near_base, off_face
from .consolidation import consolidation, fisher
from .context import context_maps, context_states
from .contrast import contrast
from .denoising import denoising, penalty, scaled_denoising, suppressed_denoising
from .disentangled import action_denoising
from .disentangling import apart, picture_alone, without_picture
from .distillation import distillation
from .guided import guided_denoising
from .identity import same_identity
from .inhibition import inhibition
from .localised import localised
from .magnitude import magnitude, squared_length
from .masked import class_outside, sometimes_masked
from .mixtures import near_mixture, near_top_words
from .naturalness import kurtosis_gap
from .noise_matching import face_distance, noise_contrast, noise_cosine
from .people import recognition, same_person
from .picture_text import picture_text, picture_text_contrast, picture_text_matching
from .picture_words import among_words, short
from .preference import preference
from .preserving import preserving
from .prototype import near_start, prototype, prototypical_embedding
from .refinement import refinement
from .reward_feedback import face_worths, reward_feedback, structure_worth
from .rewards import clip_reward, policy_gradient, reward, text_score
from .self_regularised import self_regularised
from .starts import near_begin
from .steering import steering
from .text_balance import text_balance
from .understanding import facts_of, knowledge, recognition_answer
from .views import appearance_contrast, semantic_contrast

__all__ = [
    "action_denoising",
    "among_words",
    "apart",
    "appearance_contrast",
    "attention_on_mask",
    "attention_refocused",
    "attention_within_mask",
    "class_outside",
    "classification",
    "clip_reward",
    "consolidation",
    "context_maps",
    "context_states",
    "contrast",
    "denoising",
    "distillation",
    "face_distance",
    "face_worths",
    "facts_of",
    "fisher",
    "guided_denoising",
    "inhibition",
    "knowledge",
    "kurtosis_gap",
    "localised",
    "magnitude",
    "momentum_consistency",
    "near_anchor",
    "near_base",
    "near_begin",
    "near_mixture",
    "near_start",
    "near_top_words",
    "noise_contrast",
    "noise_cosine",
    "off_face",
    "penalty",
    "picture_alone",
    "picture_text",
    "picture_text_contrast",
    "picture_text_matching",
    "policy_gradient",
    "preference",
    "preserving",
    "prototype",
    "prototypical_embedding",
    "recognition",
    "recognition_answer",
    "refinement",
    "reward",
    "reward_feedback",
    "same_identity",
    "same_person",
    "scaled_denoising",
    "self_regularised",
    "semantic_contrast",
    "short",
    "sometimes_masked",
    "squared_length",
    "steering",
    "structure_worth",
    "suppressed_denoising",
    "text_balance",
    "text_score",
    "without_picture",
    "worst_subject",
]
