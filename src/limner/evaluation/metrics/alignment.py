"""Does the picture show what the prompt says?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

if TYPE_CHECKING:
    from torch import Tensor


@metric(encoder="clip", source="CLIPScore without its factor 2.5 and its clipping (arXiv:2104.08718, Eq. 1)")
def clip_t(pictures: Tensor, texts: Tensor) -> Tensor:
    """Cosine of a picture and its canonical prompt. [N] in [-1, 1]"""
    return (_unit(pictures) * _unit(texts)).sum(-1)


@metric(encoder="clip", source="StyleGAN-NADA (arXiv:2108.00946, Eq. 2)")
def clip_directional(pictures: Tensor, texts: Tensor, references: Tensor, plain_text: Tensor) -> Tensor:
    """Cosine of the way from the references to the picture and the way from "a photo of a dog" to the prompt. [N]"""
    seen = _unit(pictures) - _unit(references).mean(0)
    text_direction = _unit(texts) - _unit(plain_text)
    return (_unit(seen) * _unit(text_direction)).sum(-1)


@metric(encoder="pickscore", source="PickScore (arXiv:2305.01569): a CLIP tuned on preferences, times its logit scale")
def pickscore(pictures: Tensor, texts: Tensor, *, scale: float = 100.0) -> Tensor:
    """How well people would like the picture for the prompt. [N], the scale is that of the model"""
    return scale * clip_t(pictures, texts)


@metric(
    encoder="hps", source="HPS (arXiv:2303.14420) and HPS v2 (arXiv:2306.09341): cosine of a CLIP tuned on preferences"
)
def hps(pictures: Tensor, texts: Tensor) -> Tensor:
    """How well people would like the picture for the prompt, version 1 or 2 by the encoder's weights. [N]"""
    return clip_t(pictures, texts)


def _unit(features: Tensor) -> Tensor:
    from torch.nn.functional import normalize

    return normalize(features, dim=-1)
