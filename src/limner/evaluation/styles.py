"""Judge pictures in an individual style: the style, the content that the prompt asks for, and content that leaked from
the reference images.

The style is read from two descriptions that were fitted to no individual style: Gram matrices of the judge's second
block (arXiv:1508.06576, Eq. 3, square roots of their entries) and the palette, the share of each of 64 colours. The
cosine of the style network is a measure of its own. Neither tells families apart, so a family is read by the judge,
where its edition was trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.core.pixels import to_tensor
from limner.pocket import SIZE

from .datasets.styles import CONTENTS
from .encoders import pocket_encoders
from .metrics.copying import copy_index
from .metrics.fidelity import similarity
from .metrics.several import coloured_alike
from .suites import as_values
from .truth import fields_right

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .datasets.styles import StyleCase


def judged_styles(case: StyleCase, images: Sequence[Image.Image], seeds: int) -> dict[str, Any]:
    """The fields `values` and `each` of a unit; `style_network` is NaN where the edition ships none.

    case: the individual style
    images: pictures ordered by prompt, `seeds` of each
    seeds: number of pictures of a prompt
    """
    import torch

    pixels, dino = to_tensor(images, SIZE), pocket_encoders()["dino"]
    asked = [{name: p.truth[name] for name in ("class", "scene")} for p in case.prompts for _ in range(seeds)]
    right = fields_right(pixels, [{**truth, "style": case.family} for truth in asked])
    measures = {
        **style_fidelity(case, images),
        "style_network": _by_network(images, case.held_out),
        "family": right.get("style", torch.full((len(images),), float("nan"))),
        "class": right["class"],
        "scene": right["scene"],
        "content": right["class"] * right["scene"],
        "leakage": leaked(pixels, len(case.references)),
        "copy_index": copy_index(*(dino.pictures(shown) for shown in (images, case.references, case.held_out))),
    }
    return as_values({name: values.tolist() for name, values in measures.items()})


def style_fidelity(case: StyleCase, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """`style` and `individual` of each picture.

    `style` is the likeness to held-out renders in the style, 0 for renders of their contents without any style, and 1
    for the held-out renders among themselves. `individual` is 1 where the likeness to this individual is above that to
    every other individual of the family whose renders the case has.
    """
    import torch

    seen, own, plain = (features_of(shown) for shown in (images, case.held_out, case.unstyled))
    alike, floor = similarity(seen, own), similarity(plain, own).mean()
    count = len(own)
    ceiling = (own @ own.T)[~torch.eye(count, dtype=torch.bool)].mean()
    relatives = features_of(case.relatives).unflatten(0, (-1, count))
    others = torch.stack([similarity(seen, relative) for relative in relatives], -1)
    return {
        "style": (alike - floor) / (ceiling - floor).clamp_min(1e-6),
        "individual": (alike > others.amax(-1)).float(),
    }


def features_of(images: Sequence[Image.Image]) -> Tensor:
    """[N, D] unit vectors: Gram matrices and palette of each picture, with equal weight."""
    import torch
    from torch.nn.functional import normalize

    matrices = pocket_encoders()["gram"].pictures(images)
    pixels = to_tensor(images, SIZE)
    palette = coloured_alike(pixels, torch.ones_like(pixels[:, :1]))[:, 0]
    parts = (matrices.sign() * matrices.abs().sqrt(), palette.sqrt())
    return torch.cat([normalize(part, dim=-1) for part in parts], -1) / 2**0.5


def leaked(pixels: Tensor, references: int) -> Tensor:
    """[N] of 0 and 1: whether the judge reads the class or the scene of one of the first reference images, none of
    which a prompt asks for.

    pixels: [N, 3, SIZE, SIZE] in [0, 1]
    references: number of reference images
    """
    import torch

    from limner.pocket import judges

    kinds, scenes = zip(*CONTENTS[:references], strict=True)
    return torch.tensor([float(row["class"] in kinds or row["scene"] in scenes) for row in judges.read(pixels)])


def _by_network(images: Sequence[Image.Image], held_out: Sequence[Image.Image]) -> Tensor:
    """[N]: mean cosine of the style network to the held-out renders; NaN where this edition ships none."""
    import torch

    from limner.pocket import judges

    if not (judges.WEIGHTS / "manner.safetensors").is_file():
        return torch.full((len(images),), float("nan"))
    return similarity(*(judges.manners(to_tensor(shown, SIZE)) for shown in (images, held_out)))
