"""A token for part of the time, made of the time and the subject's face (PersonaMagic, arXiv:2412.15674)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .varying_words import Varied, Vary

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams


def timed(
    subject: Subject,
    encoder: Callable[[Base, Tensor], Tensor],
    *,
    first: float = 0.4,
    last: float = 0.8,
    anchors: int = 200,
    width: int = 128,
    keep: float = 0.5,
) -> Vary:
    """For `varying_word`: v(t) = length * normalise(MLP(PE(t)) + v_0) at times between `first` and `last`.

    At noisier times the token is the one it starts as; at cleaner times it is the one of time `first` (Sec. 3.2 of
    arXiv:2412.15674). PE are sines and cosines of the time. Values also read a vector that a perceptron makes of a
    picture (the image-conditioned bypass), which training drops at random.

    subject: the subject whose pictures are used
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> features [n, F]
    first: share of the time below which the token no longer changes, from 0 to `last`
    last: share of the time from which on there is no learned token, from `first` to 1
    anchors: width of the time's encoding, even
    width: width of the perceptrons
    keep: probability of the bypass in an update, from 0 to 1
    """

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        import torch
        import torch.nn.functional as F

        wide, total, size = plain.shape[-1], base.num_train_times, base.picture_size
        length = plain.float().norm(dim=-1).mean()
        known = subject.pictures and all(picture.image is not None for picture in subject.pictures)
        # a stored concept has no pictures: its features are read from the file
        shown = subject.tensor(size) if known else torch.zeros(1, 3, size, size)
        with torch.no_grad():
            features = encoder(base, shown.to(base.device)).float().mean(0).cpu()

        def matrix(out: int, into: int, spread: float = 1.0) -> Tensor:
            return torch.randn(out, into, generator=generator) * spread / into**0.5

        start = {"first": matrix(width, anchors), "second": matrix(width, width), "word": matrix(wide, width, 0.1)}
        start |= {"bypass.first": matrix(width, len(features)), "bypass.second": matrix(wide, width)}
        start["features"] = features

        def moment(time: int) -> int:
            if time >= last * total:
                return -1
            return max(time, round(first * total))

        def vectors(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            if moment < 0:
                return plain
            h = F.leaky_relu(own["first"] @ time_encoding(moment / total, anchors).to(own["first"]))
            h = F.leaky_relu(own["second"] @ h)
            moved = own["word"] @ h + plain.mean(0)
            return (moved / moved.norm() * length)[None]

        def bypass(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            there = moment >= 0 and (random is None or float(torch.rand((), generator=random("image bypass"))) < keep)
            hidden = F.leaky_relu(own["bypass.first"] @ F.layer_norm(own["features"], own["features"].shape))
            return own["bypass.second"] @ hidden * float(there)

        return Varied(start, moment, vectors, bypass)

    return vary


def time_encoding(time: float, count: int) -> Tensor:
    """[count]: sines and cosines of a time, with frequencies evenly spaced in their logarithm.

    They go from half a turn to five hundred turns over all times (as in Sec. 3.5 of arXiv:1706.03762).

    time: from 0 to 1
    count: width of the encoding, even
    """
    import math

    import torch

    angles = math.pi * time * torch.logspace(0, 3, count // 2)
    return torch.cat([angles.sin(), angles.cos()]) / math.sqrt(count / 2)
