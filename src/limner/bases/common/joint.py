"""Hosts for attention in which text and picture form one sequence: transformers after SD 3, and UNets with added keys.

Each host does what its family's stock processor in diffusers does, operation for operation, and lets a recipe's
operations act before attention. `picture` and `picture_keys` of an `AttentionCall` are the positions of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from limner.core.types import AttentionCall, Pass, Site, split

from .attention import Host, attend, mask_bias, normalised, operated

if TYPE_CHECKING:
    from torch import Tensor


class JointHost:
    """Text and picture have separate projections; attention runs over both."""

    text_first = True

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        encoder_hidden_states_mask: Tensor | None = None,
        run: Pass | None = None,
    ) -> Any:
        """[B, N, C] and, except in layers with a single stream, [B, M, C] -> the same shapes."""
        run, text = run or Pass(), encoder_hidden_states
        picture = self._projected(attn, hidden_states, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
        asking = picture[0].transpose(1, 2)
        if text is None:
            parts, places = picture, run.text_places if self.site.kind == "merged" else 0
            picture_part = slice(places, None)
            asking = asking[:, :, picture_part]
        else:
            names = ("add_q_proj", "add_k_proj", "add_v_proj"), ("norm_added_q", "norm_added_k")
            worded, places = self._projected(attn, text, *names), text.shape[1]
            picture, worded, image_rotary_emb = self._turned_apart(picture, worded, image_rotary_emb)
            order = ((worded, picture) if self.text_first else (picture, worded)) if worded else (picture,)
            parts = [torch.cat(pair, 1) for pair in zip(*order, strict=True)]
            picture_part = slice(places, None) if self.text_first else slice(0, -places)
        query, key, value = (x.transpose(1, 2) for x in self._turned(parts, image_rotary_emb))
        bias = self._bias(encoder_hidden_states_mask, hidden_states)
        states = hidden_states if text is None else text
        about: dict[str, Any] = {"picture": picture_part, "picture_keys": picture_part, "asking": asking}
        call = operated(AttentionCall(self.site, attn, hidden_states, states, query, key, value, run, bias, **about))
        out = attend(call).transpose(1, 2).flatten(2).to(call.query.dtype)
        if text is None:
            return self._out(attn, out)
        first, second = (out[:, :places], out[:, places:]) if self.text_first else (out[:, :-places], out[:, -places:])
        worded_out, seen = (first, second) if self.text_first else (second, first)
        if not getattr(attn, "context_pre_only", None):
            worded_out = attn.to_add_out(worded_out.contiguous())
        return self._out(attn, seen.contiguous()), worded_out

    def _projected(self, attn: Any, x: Tensor, layers: tuple[str, ...], norms: tuple[str, ...]) -> list[Tensor]:
        """Query, key and value [B, N, H, d], normalised where the layer has norms for them."""
        width = attn.to_k.out_features // attn.heads
        projections = [getattr(attn, layer)(x).unflatten(-1, (-1, width)) for layer in layers]
        for place, norm in enumerate(norms):
            if getattr(attn, norm, None) is not None:
                projections[place] = getattr(attn, norm)(projections[place])
        return projections

    def _turned_apart(self, picture: list[Tensor], text: list[Tensor], rotary: Any) -> tuple[Any, Any, Any]:
        """Apply rotary embeddings to picture and text separately; return both, and the embedding that is still to be
        applied to their concatenation."""
        return picture, text, rotary

    def _turned(self, parts: list[Tensor], rotary: Any) -> list[Tensor]:
        if rotary is None:
            return parts
        from diffusers.models.embeddings import apply_rotary_emb

        query, key, value = parts
        return [*(apply_rotary_emb(x, rotary, sequence_dim=1) for x in (query, key)), value]

    def _bias(self, mask: Tensor | None, picture: Tensor) -> Tensor | None:
        """The mask [B, M] of the text's positions -> the term [B, 1, 1, M + N] that is added to the logits: -inf at
        padding, 0 elsewhere."""
        if mask is None:
            return None
        seen = torch.cat([mask.bool(), mask.new_ones(picture.shape[:2], dtype=torch.bool)], 1)
        return picture.new_zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None, None]

    def _out(self, attn: Any, x: Tensor) -> Tensor:
        if getattr(attn, "pre_only", False):
            return x
        for layer in attn.to_out:
            x = layer(x)
        return x


class PictureFirstHost(JointHost):
    """The picture's positions come before the text's, as in SD 3."""

    text_first = False


class ComplexRotaryHost(JointHost):
    """Rotary embeddings are complex numbers, separate for picture and text, as in Qwen-Image."""

    def _turned_apart(self, picture: list[Tensor], text: list[Tensor], rotary: Any) -> tuple[Any, Any, Any]:
        if rotary is None:
            return picture, text, None
        from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen

        def turned(parts: list[Tensor], places: Tensor) -> list[Tensor]:
            return [*(apply_rotary_emb_qwen(x, places, use_real=False) for x in parts[:2]), parts[2]]

        return turned(picture, rotary[0]), turned(text, rotary[1]), None


class ParallelHost(JointHost):
    """Attention and feed-forward layers share one input and one output projection, as in FLUX.2's single blocks."""

    def __call__(  # type: ignore[override]  # diffusers calls these layers with fewer arguments
        self,
        attn: Any,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        run: Pass | None = None,
    ) -> Tensor:
        run = run or Pass()
        inner = 3 * attn.inner_dim
        projected = attn.to_qkv_mlp_proj(hidden_states)
        attending, feeding = projected[..., :inner], projected[..., inner:]
        query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in attending.chunk(3, -1))
        query, key = attn.norm_q(query), attn.norm_k(key)
        part = slice(run.text_places, None)
        asking = query.transpose(1, 2)[:, :, part]
        query, key, value = (x.transpose(1, 2) for x in self._turned([query, key, value], image_rotary_emb))
        about: dict[str, Any] = {"picture": part, "picture_keys": part, "asking": asking}
        call = operated(AttentionCall(self.site, attn, hidden_states, hidden_states, query, key, value, run, **about))
        out = attend(call).transpose(1, 2).flatten(2).to(call.query.dtype)
        output: Tensor = attn.to_out(torch.cat([out, attn.mlp_act_fn(feeding)], -1))
        return output


class AddedKeysHost(Host):
    """A UNet's layer in which the picture attends to itself and the text at once, as in DeepFloyd IF and Kandinsky
    2.2."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        run: Pass | None = None,
    ) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]; the steps of diffusers' `AttnAddedKVProcessor2_0`."""
        run, residual = run or Pass(), hidden_states
        hidden = hidden_states.flatten(2).transpose(1, 2)
        rows, length, width = hidden.shape
        text = hidden if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            text = attn.norm_encoder_hidden_states(text)
        bias = attn.prepare_attention_mask(attention_mask, length, rows, out_dim=4)
        hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
        query, key, value = (
            split(x, attn.heads) for x in (attn.to_q(hidden), attn.add_k_proj(text), attn.add_v_proj(text))
        )
        places = key.shape[2]
        if not attn.only_cross_attention:
            own = (split(x, attn.heads) for x in (attn.to_k(hidden), attn.to_v(hidden)))
            key, value = (torch.cat(pair, 2) for pair in zip((key, value), own, strict=True))
        call = operated(
            AttentionCall(self.site, attn, hidden, text, query, key, value, run, bias, picture_keys=slice(places, None))
        )
        out = attend(call).transpose(1, 2).reshape(rows, -1, width)
        out = attn.to_out[1](attn.to_out[0](out))
        return out.transpose(-1, -2).reshape(residual.shape) + residual


class Held:
    """The current pass, for networks that hand no arguments on to their attention layers."""

    run: Pass | None = None


class NormedAcrossHost(Host):
    """Cross-attention whose norms span all heads and whose pass comes from a `Held`, as in Sana."""

    def __init__(self, site: Site, held: Held) -> None:
        super().__init__(site)
        self.held = held

    def __call__(  # type: ignore[override]  # Sana hands no pass on
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, run=self.held.run)

    def _call(self, attn: Any, hidden: Tensor, text: Tensor | None, mask: Tensor | None, run: Pass) -> AttentionCall:
        states = hidden if text is None else text
        bias = mask_bias(attn, states, mask)
        query, key, value = attn.to_q(hidden), attn.to_k(states), attn.to_v(states)
        query, key = normalised(attn, query, key)
        query, key, value = (split(x, attn.heads) for x in (query, key, value))
        return AttentionCall(self.site, attn, hidden, states, query, key, value, run, bias)
