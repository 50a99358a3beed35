"""A set of pictures that grows from an unsorted pool (COTI, arXiv:2304.05265)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch

from .class_pictures import painted

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

TOP = 10.0  # largest value of the aesthetic scale


@dataclass(eq=False)
class growing_pool:
    """The subject's pictures, and with every cycle the pictures of its pool with the best scores.

    The score is aesthetic quality, in tenths, plus the probability of showing the subject (Sec. 3.2 of
    arXiv:2304.05265). Both are predicted from CLIP's embedding by models fitted again in every cycle: a ridge
    regression on an aesthetic scale of 0 to 10, and a logistic regression of selected pictures against class images.
    The authors have a predictor of aesthetics; here the scale is sharpness relative to the subject's own pictures, and
    selected pictures rise towards 10 over the cycles. A subject without a pool takes class images.

    subject: the subject with its pictures and pool
    queries: pictures selected in a cycle
    cycles: number of cycles
    painted_pool: number of class images for a subject without a pool
    """

    subject: Subject
    queries: int
    cycles: int
    painted_pool: int = 32
    _base: dict[str, Pool] = field(default_factory=dict, repr=False)

    def photos(self, cycle: int, *, captions: Sequence[str], batch: int) -> Source:
        """Batches of the pictures of a cycle, from 0: the subject's own pictures alone."""

        def prepare(base: Base) -> Callable[[int, Streams], Batch]:
            import torch

            pool = self.of(base)
            latents = pool.latents[pool.order[: pool.own + cycle * self.queries]]

            def draw(step: int, at: Streams) -> Batch:
                rows = torch.randint(len(latents), (batch,), generator=at("order"))
                which = torch.randint(len(captions), (batch,), generator=at("caption")).tolist()
                texts = tuple(captions[k].format(self.subject.handle) for k in which)
                return Batch(latents[rows].to(base.device, base.dtype), texts)

            return draw

        return Source("growing pool", "subject", prepare)

    def score(self, prompt: str, *, count: int = 4, steps: int = 10) -> Callable[[Adapted], float]:
        """The mean score of `count` pictures sampled now, by the scorers of the last cycle."""

        def of(adapted: Adapted) -> float:
            import torch

            from limner.engine.sample import PaintSettings, sample

            settings, base = PaintSettings(steps=steps, batch=count), adapted.base
            with torch.no_grad():
                for at in sample(adapted, [prompt] * count, seeds=range(count), settings=settings):
                    latents = at.latents
                seen = base.picture_features(base.decode(latents)).float().cpu()
            return float(self.of(base).worth(seen).mean())

        return of

    def of(self, base: Base) -> Pool:
        """A base's pool with all cycles selected."""
        import torch

        if base.fingerprint not in self._base:
            with torch.no_grad():
                self._base[base.fingerprint] = self._sorted(base)
        return self._base[base.fingerprint]

    def _sorted(self, base: Base) -> Pool:
        import torch
        import torch.nn.functional as F

        size = base.picture_size
        own = self.subject.tensor(size)
        prompt = f"a photo of a {self.subject.noun}"
        rest = torch.cat(
            [
                base.decode(part.to(base.device, base.dtype))
                for part in painted(base, [prompt], self.painted_pool).split(16)
            ]
        )
        rest = rest.float().cpu()
        pool = _squares(self.subject, size) if self.subject.pool else rest
        pixels = torch.cat([own, pool])
        features = F.normalize(
            torch.cat([base.picture_features(p) for p in (*pixels.split(16), *rest.split(16))]).float().cpu(), dim=-1
        )
        features, others = features[: len(pixels)], features[len(pixels) :]
        sharp = sharpness(pixels)
        target = (TOP * sharp / sharp[: len(own)].mean()).clamp(0, TOP)
        target[: len(own)] = TOP
        latents = torch.cat([base.encode(part)[0].float().cpu() for part in pixels.split(16)])
        chosen = list(range(len(own)))
        for cycle in range(self.cycles + 1):
            aesthetic, match = _ridge(features, target), _logistic(features[chosen], others)
            grown_pool = Pool(latents, chosen, len(own), aesthetic, match)
            left = [k for k in range(len(pixels)) if k not in chosen]
            worth = grown_pool.worth(features)
            new = sorted(left, key=lambda k: -float(worth[k]))[: self.queries]
            if cycle < self.cycles:
                chosen = chosen + new
                target[new] += (TOP - target[new]) * (cycle + 1) / self.cycles
        return grown_pool


@dataclass
class Pool:
    """Latents [n, C, h, w] of all pictures, their order of selection, and the scorers at the end."""

    latents: Tensor
    order: list[int]
    own: int  # number of the subject's own pictures, first in the order
    aesthetic: Callable[[Tensor], Tensor]
    match: Callable[[Tensor], Tensor]

    def worth(self, features: Tensor) -> Tensor:
        """[n]: scores of features [n, D]."""
        import torch.nn.functional as F

        seen = F.normalize(features, dim=-1)
        return self.aesthetic(seen).clamp(0, TOP) / TOP + self.match(seen)


def sharpness(pixels: Tensor) -> Tensor:
    """[n]: the mean absolute value of the Laplacian.

    pixels: [n, 3, H, W]
    """
    import torch
    import torch.nn.functional as F

    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return F.conv2d(pixels.float().mean(1, keepdim=True), kernel).abs().mean((1, 2, 3))


def _squares(subject: Subject, size: int) -> Tensor:
    from dataclasses import replace

    return replace(subject, pictures=subject.pool).tensor(size)


def _ridge(x: Tensor, y: Tensor, weight: float = 0.1) -> Callable[[Tensor], Tensor]:
    import torch

    mean, level = x.mean(0), y.mean()
    centred = x - mean
    solved = torch.linalg.solve(centred.T @ centred + weight * torch.eye(x.shape[1]), centred.T @ (y - level))
    return lambda new: (new - mean) @ solved + level


def _logistic(
    yes: Tensor, no: Tensor, *, steps: int = 200, rate: float = 2.0, weight: float = 1e-3
) -> Callable[[Tensor], Tensor]:
    """Probability of the first kind; both kinds have the same weight."""
    import torch

    x, y = torch.cat([yes, no]), torch.cat([torch.ones(len(yes)), torch.zeros(len(no))])
    share = torch.where(y > 0, 0.5 / len(yes), 0.5 / len(no))
    mean, slope, level = x.mean(0), torch.zeros(x.shape[1]), torch.zeros(())
    for _ in range(steps):
        error = (torch.sigmoid((x - mean) @ slope + level) - y) * share
        slope = slope - rate * ((x - mean).T @ error + weight * slope)
        level = level - rate * error.sum()
    return lambda new: torch.sigmoid((new - mean) @ slope + level)
