"""The host: bit-identical to stock with no operation, and open to all with some."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from limner.bases.common.attention import host_sites
from limner.core.types import AttentionCall, Pass


def tiny_unet(**more: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        **{"attention_head_dim": 2, **more},
    )


@pytest.mark.parametrize(
    "more", [{}, {"attention_head_dim": (2, 4), "use_linear_projection": True}, {"upcast_attention": True}]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bit_identical_to_stock(more: dict[str, Any], dtype: torch.dtype) -> None:
    unet = tiny_unet(**more).to(dtype)
    x, t, states = torch.randn(2, 4, 8, 8, dtype=dtype), torch.tensor([3, 700]), torch.randn(2, 5, 12, dtype=dtype)
    with torch.no_grad():
        unet.set_attn_processor(AttnProcessor2_0())
        stock = unet(x, t, encoder_hidden_states=states).sample
        host_sites(unet)
        hosted = unet(x, t, encoder_hidden_states=states, cross_attention_kwargs={"run": Pass()}).sample
    assert torch.equal(stock, hosted)


def test_plain_steps_agree_with_the_fused_ones() -> None:
    unet = tiny_unet()
    host_sites(unet)
    x, t, states = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 12)
    with torch.no_grad():
        fused, plain = (
            unet(x, t, encoder_hidden_states=states, cross_attention_kwargs={"run": Pass(fused=f)}).sample
            for f in (True, False)
        )
    assert torch.allclose(fused, plain, atol=1e-5)


def test_sites_name_their_place() -> None:
    sites = host_sites(tiny_unet())
    assert {site.kind for site in sites} == {"self", "cross"}
    assert {site.block for site in sites} == {"down", "mid", "up"}
    cross = [site.index for site in sites if site.kind == "cross"]
    assert cross == list(range(len(cross)))


def test_maps_can_be_seen_and_changed() -> None:
    unet = tiny_unet()
    host_sites(unet)
    x, t, states = torch.randn(1, 4, 8, 8), torch.tensor([3]), torch.randn(1, 5, 12)

    def keep(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            call.on_maps.append(lambda maps: call.run.activations.setdefault(call.site.name, maps))
        return call

    def only_the_first_word(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            call.on_maps.append(lambda maps: torch.zeros_like(maps).index_fill(3, torch.tensor([0]), 1.0))
        return call

    run = Pass(operations=(keep,))
    with torch.no_grad():
        unet(x, t, encoder_hidden_states=states, cross_attention_kwargs={"run": run})
        changed = unet(
            x, t, encoder_hidden_states=states, cross_attention_kwargs={"run": Pass((only_the_first_word,))}
        ).sample
        first = unet(x, t, encoder_hidden_states=states[:, :1], cross_attention_kwargs={"run": Pass()}).sample
    assert all(torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-5) for maps in run.activations.values())
    assert torch.allclose(changed, first, atol=1e-5)


def test_operations_compose_in_order() -> None:
    unet = tiny_unet()
    host_sites(unet)
    seen: list[str] = []

    def say(word: str):  # type: ignore[no-untyped-def]
        def operation(call: AttentionCall) -> AttentionCall:
            seen.append(word)
            return call

        return operation

    run = Pass(operations=(say("first"), say("second")))
    with torch.no_grad():
        unet(
            torch.randn(1, 4, 8, 8),
            torch.tensor([3]),
            encoder_hidden_states=torch.randn(1, 5, 12),
            cross_attention_kwargs={"run": run},
        )
    assert seen[:4] == ["first", "second", "first", "second"]


@pytest.mark.parametrize("fused", [True, False])
def test_keys_behind_the_others_share_their_softmax(fused: bool) -> None:
    """Further states put behind those of the text are read as a longer text is; masked for all queries, not at all."""
    unet = tiny_unet()
    host_sites(unet)
    x, t, states, more = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 12), torch.randn(2, 3, 12)

    def painted(text: torch.Tensor, bias: float | None = None) -> torch.Tensor:
        def behind(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "cross" and bias is not None:
                key, value = call.keys_values(more)
                call.behind.append((key, value, call.query.new_full((1, 1, 1, 3), bias)))
            return call

        about = {"run": Pass(operations=(behind,), fused=fused)}
        with torch.no_grad():
            found: torch.Tensor = unet(x, t, encoder_hidden_states=text, cross_attention_kwargs=about).sample
        return found

    assert torch.allclose(painted(states, 0.0), painted(torch.cat([states, more], 1)), atol=1e-5)
    assert torch.allclose(painted(states, float("-inf")), painted(states), atol=1e-5)
    assert not torch.allclose(painted(states, 0.0), painted(states), atol=1e-4)
