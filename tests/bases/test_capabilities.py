"""Capabilities: networks and facts that come with a base, asked for in the place of its name."""

from __future__ import annotations

import torch

from limner.bases.common.loading import POCKET, sketch
from limner.core.base import Base
from limner.pocket import judges


def test_encoders_are_the_judges_with_gradients(base: Base) -> None:
    pixels = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    faces = base.encoders["face"](pixels)
    assert torch.equal(faces, judges.identities(pixels.detach(), faces=True))
    assert torch.equal(base.encoders["object"](pixels), judges.identities(pixels.detach()))
    assert torch.allclose(faces.norm(dim=1), torch.ones(2))
    (faces[0] @ faces[1]).backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_encoders_read_pictures_of_any_size(base: Base) -> None:
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small, large = (torch.nn.functional.interpolate(pixels, n, mode="bicubic").clamp(0, 1) for n in (128, 256))
    one, other = base.encoders["object"](small), base.encoders["object"](large)
    assert one.shape == other.shape
    assert float((one * other).sum()) > 0.95


def test_a_base_by_folder_has_none_of_the_pocket_ones(base: Base) -> None:
    assert base.encoders
    assert sketch(POCKET).encoders == {}
