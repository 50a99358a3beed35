"""Motion modules in hooks do what diffusers' motion UNet does, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from limner.bases.video.motion import moving

FRAMES = 4


def unet(**more: Any) -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=8,
        **more,
    ).eval()


def adapter(**more: Any) -> Any:
    torch.manual_seed(1)
    made = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
        motion_max_seq_length=8,
        **more,
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


@pytest.mark.parametrize("middle", [True, False])
def test_it_equals_the_motion_unet_of_diffusers(middle: bool) -> None:
    plain, modules = unet(), adapter(use_motion_mid_block=middle)
    whole = UNetMotionModel.from_unet2d(plain, modules).eval()
    clip, text = torch.randn(2, 4, FRAMES, 8, 8), torch.randn(2, 5, 16)
    rows = clip.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        wanted = whole(clip, torch.tensor(10), text.repeat_interleave(FRAMES, 0)).sample.transpose(1, 2).flatten(0, 1)
        still = plain(rows, torch.tensor(10), text.repeat_interleave(FRAMES, 0)).sample
        with moving(plain, modules, FRAMES):
            found = plain(rows, torch.tensor(10), text.repeat_interleave(FRAMES, 0)).sample
        after = plain(rows, torch.tensor(10), text.repeat_interleave(FRAMES, 0)).sample
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, still, atol=1e-3)
    assert torch.equal(after, still)


def test_frames_see_their_own_clip_alone() -> None:
    plain, modules = unet(only_cross_attention=(True, False)), adapter()
    rows, text = torch.randn(2 * FRAMES, 4, 8, 8), torch.randn(2 * FRAMES, 5, 16)
    other = rows.clone()
    other[0] += 1
    with torch.no_grad(), moving(plain, modules, FRAMES):
        first, second = (plain(x, torch.tensor(10), text).sample for x in (rows, other))
    changed = [not torch.allclose(a, b, atol=1e-5) for a, b in zip(first, second, strict=True)]
    assert changed == [True] * FRAMES + [False] * FRAMES


def test_nothing_stays_after_an_error() -> None:
    plain = unet()
    with pytest.raises(ZeroDivisionError), moving(plain, adapter(), FRAMES):
        raise ZeroDivisionError
    assert not [m for m in plain.modules() if m._forward_hooks]
