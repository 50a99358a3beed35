"""Encoders of pictures: pixels -> features."""

from .autoencoder import autoencoder_levels
from .captions import (
    content_captions,
    contents_in,
    named_contents,
    structured_captions,
    structured_class_captions,
)
from .clip import (
    clip_before_last,
    clip_classes,
    clip_depths,
    clip_global,
    clip_last,
    clip_places,
    clip_tokens,
    shuffled_patches,
    unplaced_patches,
)
from .clusters import photo_words
from .denoiser import denoiser_levels
from .details import detail_map
from .expressions import clip_class_depths, expression_code, side_by_side
from .faces import face_embedding, face_landmarks, face_points, landmark_names
from .gan_latent import gan_latent
from .keypoints import face_region, keypoint_image, keypoints, landmark_image, landmark_map
from .looks import all_of, alone, close_up, each_of, first_of, mean_of, pictures_alone, placed
from .masks import background_masks, face_masks, masks_around_faces, propagated_masks, subject_masks
from .multimodal import multimodal_places
from .patches import patch_tokens
from .qformer import QueryFormer
from .random_field import dense_crf
from .resampler import Resampler
from .scenes import scene_of
from .semantic_context import SemanticContext, clip_pyramid

__all__ = [
    "QueryFormer",
    "Resampler",
    "SemanticContext",
    "all_of",
    "alone",
    "autoencoder_levels",
    "background_masks",
    "clip_before_last",
    "clip_class_depths",
    "clip_classes",
    "clip_depths",
    "clip_global",
    "clip_last",
    "clip_places",
    "clip_pyramid",
    "clip_tokens",
    "close_up",
    "content_captions",
    "contents_in",
    "denoiser_levels",
    "dense_crf",
    "detail_map",
    "each_of",
    "expression_code",
    "face_embedding",
    "face_landmarks",
    "face_masks",
    "face_points",
    "face_region",
    "first_of",
    "gan_latent",
    "keypoint_image",
    "keypoints",
    "landmark_image",
    "landmark_map",
    "landmark_names",
    "masks_around_faces",
    "mean_of",
    "multimodal_places",
    "named_contents",
    "patch_tokens",
    "photo_words",
    "pictures_alone",
    "placed",
    "propagated_masks",
    "scene_of",
    "shuffled_patches",
    "side_by_side",
    "structured_captions",
    "structured_class_captions",
    "subject_masks",
    "unplaced_patches",
]
