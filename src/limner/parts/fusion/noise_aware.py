"""Tokens made of a picture and of the noised latents, hence different at every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from limner.parts.encoders.denoiser import features_under_way

from .words_of_pictures import Mapped, Mapper

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass

Start: TypeAlias = Literal["noun", "any word"]
"""Origin of the offset: the class noun, or the mean of the whole vocabulary, which is independent of the class."""

CLOCK = 6
"""Frequencies of the time."""


WORN_AT = "how strongly words are put in"
"""Key in a run's cache, with a handle: factor of the vectors of the handle's tokens."""


def noise_aware(
    *, start: Start = "noun", width: int = 192, scale: float = 0.1, words: int = 1, handle: str = ""
) -> Mapper:
    """v = v_start + scale * E(picture, x_t, t): vectors of a token that depend on the noised latents (E4T,
    arXiv:2302.12228).

    E is a multilayer perceptron of the picture's features (CLIP's class tokens, for example), of the base's features of
    x_t (see `features_under_way`) and of the time, which E4T's features of the denoiser already contain. The addition
    is kept in the run as "word offset" [rows, D].

    start: the vector to start from
    width: width of the hidden layer
    scale: factor of the addition; 0.1 is mkshing/e4t-diffusion's
    words: number of vectors; E4T has one
    handle: token whose vectors a run may scale by WORN_AT; empty is none
    """

    def mapper(base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        import torch
        import torch.nn.functional as F

        wide, begins = base.word_vectors("a").shape[-1], base.word_table().float().mean(0)
        dim = shape[-1] + _num_under_way(base) + 2 * CLOCK
        tensors = {
            "first.weight": torch.randn(width, dim, generator=generator) / dim**0.5,
            "first.bias": torch.zeros(width),
            "second.weight": torch.randn(words * wide, width, generator=generator) * 0.1 / width**0.5,
            "second.bias": torch.zeros(words * wide),
        }

        def vectors(own: Mapping[str, Tensor], seen: Tensor, plain: Tensor, run: Pass) -> Tensor:
            assert run.time is not None
            about = torch.cat([seen, features_under_way(base, run).to(seen), clock(base, run.time).to(seen)], -1)
            hidden = F.leaky_relu(F.linear(about, own["first.weight"], own["first.bias"]))
            offset = scale * F.linear(hidden, own["second.weight"], own["second.bias"])
            run.activations["word offset"] = offset
            first = plain[:, 0] if start == "noun" else begins.expand(len(seen), -1).to(plain)
            token_vectors = first[:, None] + offset.unflatten(-1, (words, wide))
            return token_vectors * run.cache.get((WORN_AT, handle), 1.0) if handle else token_vectors

        return Mapped(tensors, vectors, changing=True)

    return mapper


def tunable(mapper: Mapper) -> Mapper:
    """Tokens with a shift of their own, zero at first, for tuning with a frozen encoder.

    mapper: features -> vectors
    """

    def with_shift(base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        import torch

        mapped = mapper(base, shape, generator)

        def vectors(own: Mapping[str, Tensor], seen: Tensor, plain: Tensor, run: Pass) -> Tensor:
            return mapped.vectors(own, seen, plain, run) + own["shift"]

        start = {**mapped.start, "shift": torch.zeros(base.word_vectors("a").shape[-1])}
        return replace(mapped, start=start, vectors=vectors)

    return with_shift


def clock(base: Base, time: Tensor) -> Tensor:
    """[B, 2 * CLOCK]: sines and cosines of the time at octaves, from half a turn over all times upwards.

    base: the base
    time: [B]
    """
    import math

    import torch

    octaves = 2.0 ** torch.arange(CLOCK, dtype=torch.float32, device=time.device)
    turns = time.float()[:, None] / base.num_train_times * octaves * math.pi
    return torch.cat([turns.sin(), turns.cos()], -1)


def _num_under_way(base: Base) -> int:
    """Number of features that `features_under_way` gives."""
    return sum(base.attention_widths(site)[1] for site in base.sites if site.kind != "self" and site.block != "up")
