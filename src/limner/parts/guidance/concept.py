"""Guidance of a concept's own network beside the text's (Generalised Classifier-free Guidance, arXiv:2312.08195)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.types import Denoiser, Guidance


def concept_and_text(scale: float, *, branch: str = "concept") -> Guidance:
    """negative + scale * (concept - negative) + w * (text - negative), with w the user's guidance scale.

    At scale 0 this is classifier-free guidance, and the concept's branch is not run (gcfg.py of
    PRIV-Creation/Concept-centric-Personalization).

    scale: guidance scale of the concept
    branch: name of the concept's branch
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            negative, text, *concept = denoise(x, t, branches=("negative", "text", *((branch,) if scale else ())))
            prediction = negative + w * (text - negative)
            return (prediction + scale * (concept[0] - negative) if concept else prediction,)

        return guided

    return guidance


def dual_process(*, branch: str = "concept") -> Callable[[Adapted, Denoiser], Denoiser]:
    """A denoiser whose branches are run by different networks.

    The concept's branch is run by the network with this recipe alone, the negative branch by the unchanged base, and
    the text by the base with all other concepts that are attached: any customised network may give the text's guidance
    (Sec. 4 of arXiv:2312.08195).

    branch: name of the concept's branch
    """

    def process(adapted: Adapted, denoise: Denoiser) -> Denoiser:
        def places(own: bool) -> tuple[int, ...]:
            known = enumerate(adapter.recipe.painting.denoiser is process for adapter in adapted.adapters)
            return tuple(place for place, is_own in known if is_own == own)

        def split(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            networks: dict[tuple[int, ...], list[str]] = {}
            for name in branches:
                networks.setdefault(_network(name, branch, places), []).append(name)
            predictions: dict[str, Tensor] = {}
            for network, names in networks.items():
                with adapted.only(*network):
                    predictions |= zip(names, denoise(x, t, branches=tuple(names)), strict=True)
            return tuple(predictions[name] for name in branches)

        return split

    return process


def _network(name: str, concept: str, places: Callable[[bool], Sequence[int]]) -> tuple[int, ...]:
    """The places of the adapters that run a branch."""
    if name == "negative":
        return ()
    return tuple(places(name == concept))
