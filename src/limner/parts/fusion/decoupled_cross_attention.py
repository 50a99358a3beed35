"""Image features through keys and values of their own, beside those of the text (IP-Adapter, arXiv:2308.06721)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from limner.core.types import Live
from limner.parts.attention.regions import within_region
from limner.parts.augmentations.plain import on_plain
from limner.parts.encoders.masks import subject_masks
from limner.parts.modifiers.parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass, Site

Encoder: TypeAlias = "Callable[[Base, Tensor], Tensor]"
FEATURES = "image.features"
STATES = "image vectors"
"""Name under which the attached modifier offers a function: (run, rows of it) -> the vectors [rows, tokens, C] that it
reads."""

Tokens: TypeAlias = (
    "Callable[[Base, Mapping[str, Tensor], Generator], "
    "tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]]"
)
"""Base, stored tensors by name, generator -> tensors of its own, and (those tensors, run, number of its rows) ->
image tokens [rows, tokens, C]."""


@dataclass(frozen=True)
class decoupled_cross_attention:
    """In every cross-attention layer, out = attention(Q, K_text, V_text) + scale * attention(Q, K_image, V_image).

    Source: Eq. 5 of arXiv:2308.06721. In joint attention the same is added to the picture's output. The image tokens
    are a linear map of one global embedding, normalised. K_image and V_image start as copies of the text's. A dropped
    picture is a zero embedding, before the linear map. In training, rows have the references of their batch; in
    sampling, they have the mean embedding of the subject's pictures, and the negative branch a dropped picture.

    subject: the subject whose pictures are used in sampling
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> embeddings [n, D]
    tokens: number of image tokens
    scale: weight of the image attention
    alone: whether the encoder sees the masked subject on a plain background
    states: makes the image tokens in another way, for example from the prompt too; None is the linear map
    gate: call and the subject's handle -> weight of each position of a layer [B, 1, N, 1]; None is 1
    weighted: whether every layer's image attention has a learned weight, which starts at 1
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross", "joint")

    subject: Subject
    encoder: Encoder
    tokens: int = 4
    scale: float = 1.0
    alone: bool = False
    states: Tokens | None = None
    gate: Callable[[AttentionCall, str], Tensor] | None = None
    weighted: bool = False

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        strength = scale * self.scale
        own, make = self.states(base, stored, generator) if self.states else self._projected(base, stored, generator)
        live = Live(tensors={**own, **self._keys_values(base, stored)})
        live.takes_view = getattr(self.states, "takes_view", False)

        def read(run: Pass, rows: int) -> Tensor:
            if id(self) not in run.cache:
                run.cache[id(self)] = make(live.tensors, run, rows)
            states: Tensor = run.cache[id(self)]
            return states

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind in self.acts_in and live.on:
                states = read(call.run, len(call.query))
                key, value = (states @ live.tensors[f"image.{call.site.name}.{part}"].T for part in ("key", "value"))
                much = strength if self.gate is None else strength * self.gate(call, self.subject.handle)
                much = much * within_region(call, self.subject.handle)
                much = much * live.tensors[f"image.{call.site.name}.weight"] if self.weighted else much
                call.beside.append((call.heads(key), call.heads(value), much))
            return call

        if strength:
            live.operations = (operation,)
        live.offers[STATES] = read
        yield live

    def _features(self, base: Base, stored: Mapping[str, Tensor]) -> Tensor:
        """[n, D] of the subject's pictures; of a subject without pictures (pre-training), one dropped picture."""
        import torch

        if FEATURES in stored:
            return stored[FEATURES].to(base.device, base.dtype)
        if self.subject.pictures:
            where = subject_masks(base, self.subject) if self.alone else None
            return self._looked(base, self.subject.tensor(base.picture_size), where)
        return torch.zeros_like(self.encoder(base, torch.zeros(1, 3, base.picture_size, base.picture_size)))

    def _projected(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        """A linear map of one embedding."""
        import torch
        import torch.nn.functional as F

        features, wide = self._features(base, stored), base.key_value(self._sites(base)[0])[0].weight.shape[1]
        dim = features.shape[-1]
        noise = torch.randn(self.tokens * wide, dim, generator=generator) / dim**0.5
        start = {"image.projection.weight": noise, "image.projection.bias": torch.zeros(self.tokens * wide)}
        start |= {"image.norm.weight": torch.ones(wide), "image.norm.bias": torch.zeros(wide)}

        def make(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            seen = self._seen(base, run, rows, own[FEATURES])
            flat = F.linear(seen, own["image.projection.weight"], own["image.projection.bias"])
            states = flat.view(rows, self.tokens, wide)
            return F.layer_norm(states, (wide,), own["image.norm.weight"], own["image.norm.bias"])

        return {**taken(start, stored, base, what="the image's states"), FEATURES: features}, make

    def _keys_values(self, base: Base, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        import torch

        start: dict[str, Tensor] = {}
        for site in self._sites(base):
            key, value = base.key_value(site)
            start |= {f"image.{site.name}.key": key.weight, f"image.{site.name}.value": value.weight}
            start |= {f"image.{site.name}.weight": torch.ones(1)} if self.weighted else {}
        return taken(start, stored, base, what="the image's keys and values")

    def _sites(self, base: Base) -> list[Site]:
        return [site for site in base.sites if site.kind in self.acts_in]

    def _seen(self, base: Base, run: Pass, rows: int, features: Tensor) -> Tensor:
        """[rows, D]: the embedding of each row of the run."""
        import torch

        if run.references is not None:
            masks = run.references.masks
            seen = self._looked(base, run.references.first, None if masks is None else masks[:, 0]).clone()
            seen[~run.references.on] = 0
            return seen
        mean = features.mean(0, keepdim=True)
        each = rows // len(run.branches)
        return torch.cat([(mean if branch == "text" else 0 * mean).expand(each, -1) for branch in run.branches])

    def _looked(self, base: Base, pixels: Tensor, masks: Tensor | None) -> Tensor:
        """[n, D] of pictures [n, 3, H, W] with masks [n, 1, H, W]."""
        if self.alone:
            assert masks is not None
            pixels = on_plain(pixels, masks.to(pixels))
        return self.encoder(base, pixels)
