"""Image features through keys and values of their own, beside those of the text (IP-Adapter, arXiv:2308.06721)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from limner.errors import FileError
from limner.parts.encoders.masks import subject_masks
from limner.parts.sources.pairs import on_plain
from limner.recipe import Live

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.bases.attention import AttentionCall, Kind, Pass
    from limner.bases.protocol import Base
    from limner.subject import Subject

Encoder: TypeAlias = "Callable[[Base, Tensor], Tensor]"
FEATURES = "image.features"


@dataclass(frozen=True)
class decoupled_cross_attention:
    """out = attention(Q, K_text, V_text) + scale * attention(Q, K_image, V_image), in every cross-attention layer (Eq. 5).
    Where text and picture attend jointly, the same is added to what the picture sees.

    The image's states are `tokens` vectors: a linear map of one global embedding, normalised. K_image and V_image start
    as copies of the text's. A dropped picture is a zero embedding, before the linear map. While teaching, rows see the
    references of their batch; while painting, the mean embedding of the subject's pictures, and the negative branch a
    dropped picture. `alone`: the encoder looks at the subject as its masks cut it out, on plain ground.
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross", "joint")

    subject: Subject
    encoder: Encoder
    tokens: int = 4
    scale: float = 1.0
    alone: bool = False

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        strength = scale * self.scale
        features = self._features(base, stored)
        weights = self._weights(base, features.shape[-1], stored, generator)
        live = Live(tensors={**weights, FEATURES: features})

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind in self.acts_in and live.on:
                states = self._states(base, call.run, len(call.query), features, weights)
                key, value = (states @ weights[f"image.{call.site.name}.{part}"].T for part in ("key", "value"))
                call.beside.append((call.heads(key), call.heads(value), strength))
            return call

        if strength:
            live.operations = (operation,)
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

    def _weights(
        self, base: Base, dim: int, stored: Mapping[str, Tensor], generator: Generator
    ) -> dict[str, nn.Parameter]:
        import torch

        sites = [site for site in base.sites if site.kind in self.acts_in]
        wide = base.key_value(sites[0])[0].weight.shape[1]
        noise = torch.randn(self.tokens * wide, dim, generator=generator) / dim**0.5
        start = {"image.projection.weight": noise, "image.projection.bias": torch.zeros(self.tokens * wide)}
        start |= {"image.norm.weight": torch.ones(wide), "image.norm.bias": torch.zeros(wide)}
        for site in sites:
            key, value = base.key_value(site)
            start |= {f"image.{site.name}.key": key.weight, f"image.{site.name}.value": value.weight}
        found = {}
        for name, tensor in start.items():
            given = stored.get(name, tensor)
            if given.shape != tensor.shape:
                raise FileError(
                    f"{name} is {tuple(given.shape)} in the file; this base and setting want {tuple(tensor.shape)}"
                )
            found[name] = torch.nn.Parameter(given.detach().clone().to(base.device, base.dtype), requires_grad=False)
        return found

    def _states(self, base: Base, run: Pass, rows: int, features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """[rows, tokens, C], made once in a run."""
        import torch
        import torch.nn.functional as F

        if self not in run.cache:
            seen = self._seen(base, run, rows, features)
            flat = F.linear(seen, weights["image.projection.weight"], weights["image.projection.bias"])
            wide = weights["image.norm.weight"].shape[0]
            states = flat.view(rows, self.tokens, wide)
            run.cache[self] = F.layer_norm(states, (wide,), weights["image.norm.weight"], weights["image.norm.bias"])
        found: torch.Tensor = run.cache[self]
        return found

    def _seen(self, base: Base, run: Pass, rows: int, features: Tensor) -> Tensor:
        """[rows, D]: which embedding each row of the run sees."""
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
