"""Changes of photographs that make them hard to learn from or to edit."""

from .perturbation import perturbation
from .targets import latents_near, texture

__all__ = [
    "latents_near",
    "perturbation",
    "texture",
]
