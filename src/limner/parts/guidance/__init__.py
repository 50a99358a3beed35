"""Guidance of sampling: denoiser -> denoiser."""

from limner.engine.guidance import classifier_free

from .adapter import adapter_guidance, same_prompt, two_strengths
from .adjoint import distance_of, feature_distance, symplectic_adjoint_guidance
from .attention import attention_into_mask
from .branches import between, interleaved, picture_then_text
from .concept import concept_and_text, dual_process
from .delayed import delayed
from .fused import fused_guidance
from .fusion_sampling import fusion_stage, subject_and_words
from .layout import layout_guidance
from .mixed import mixed_conditions
from .panels import beside_panel, enforced
from .reference import masked_reference, reference_statistics
from .regional import guided_by_region
from .saliency import saliency_fusion
from .self_subject import interleaved_guidance, noised_reference, self_subject
from .separation import kept_apart
from .structure import structure_guidance

__all__ = [
    "adapter_guidance",
    "attention_into_mask",
    "beside_panel",
    "between",
    "classifier_free",
    "concept_and_text",
    "delayed",
    "distance_of",
    "dual_process",
    "enforced",
    "feature_distance",
    "fused_guidance",
    "fusion_stage",
    "guided_by_region",
    "interleaved",
    "interleaved_guidance",
    "kept_apart",
    "layout_guidance",
    "masked_reference",
    "mixed_conditions",
    "noised_reference",
    "picture_then_text",
    "reference_statistics",
    "saliency_fusion",
    "same_prompt",
    "self_subject",
    "structure_guidance",
    "subject_and_words",
    "symplectic_adjoint_guidance",
    "two_strengths",
]
