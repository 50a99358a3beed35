"""Pictures sampled with what has been learned, chosen, and learned from again (StyleDrop, Sec. 3.3 of
arXiv:2306.00983)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from limner.core.recipe import Gather, Source
from limner.core.streams import stream
from limner.core.types import Batch
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Modifier
    from limner.core.base import Base
    from limner.core.types import Streams

Choose: TypeAlias = "Callable[[Adapted, Tensor, Sequence[str], int], Sequence[int]]"
"""Adapted base, pictures [n, 3, H, W] in [0, 1], their prompts, number to keep -> numbers of the pictures to keep."""

Worth: TypeAlias = "Callable[[Adapted, Tensor, Sequence[str]], Tensor]"
"""Adapted base, pictures [n, 3, H, W] in [0, 1], their prompts -> a score for each picture [n]; more is better."""


def feedback(
    prompts: Sequence[str] | Callable[[Base], Sequence[str]],
    *,
    choose: Choose,
    count: int = 16,
    keep: int = 8,
    batch: int = 4,
    steps: int = 25,
    guidance: float = 4.0,
    afresh: Modifier | None = None,
    name: str = "feedback",
) -> Source:
    """One round of learning from one's own pictures (iterative training with feedback, Sec. 3.3 of arXiv:2306.00983).

    When its stage starts, `count` pictures are sampled with what has been learned until then, `keep` of them are
    chosen, and the stage learns from those with their own prompts. Several rounds are several stages, each with a
    source of its own. The choice is part of a run's checkpoints: a resumed stage learns from the same pictures.

    prompts: prompts to sample in turn, with the handle unexpanded; or a function of the base that gives them
    choose: `by_score` or `by_hand`
    count: pictures to sample
    keep: pictures to choose, from 1 to `count`
    batch: pictures in an update
    steps: sampling steps
    guidance: scale of guidance
    afresh: modifier that the stage trains from its start again, once its pictures are painted; None goes on from what
        has been learned
    name: name of the source; sources of one recipe that are to sample different pictures have different names
    """
    if not 1 <= keep <= count:
        raise InputError(f"from 1 to {count} can be kept, not {keep}, since feedback paints {count} pictures")
    if steps < 1:
        raise InputError(f"feedback paints in at least one sampling step, not {steps}")
    if not prompts:
        raise InputError("feedback paints prompts, and was given none")

    def texts_on(base: Base) -> list[str]:
        given = prompts(base) if callable(prompts) else prompts
        return [given[k % len(given)] for k in range(count)]

    def make(adapted: Adapted, at: Streams, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        import torch

        texts = texts_on(adapted.base)
        seeds = torch.randint(2**31, (count,), generator=at("seeds")).tolist()
        latents, pixels = painted_now(adapted, texts, seeds, steps, guidance)
        numbers = list(choose(adapted, pixels, texts, keep))
        check_choice(numbers, count)
        if afresh is not None:
            _begin_again(adapted, afresh)
        return {"latents": latents[numbers], "numbers": torch.tensor(numbers)}

    def draw(base: Base, gathered: Mapping[str, Tensor]) -> Callable[[int, Streams], Batch]:
        import torch

        texts = texts_on(base)
        latents, captions = gathered["latents"], [texts[k] for k in gathered["numbers"].tolist()]

        def batches(step: int, at: Streams) -> Batch:
            rows = torch.randint(len(latents), (batch,), generator=at("order")).tolist()
            return Batch(latents[rows].to(base.device, base.dtype), tuple(captions[row] for row in rows))

        return batches

    return Source(name, "subject", lambda base: _not_gathered, gather=Gather(make, draw))


def _begin_again(adapted: Adapted, modifier: Modifier) -> None:
    """Give a modifier's tensors the values that they had when the recipe was first attached."""
    ours = [(place, index) for (place, index), part, _ in adapted.live.items() if part is modifier]
    now = adapted.tensors
    for place, index in ours:
        generator = stream(adapted.adapters[place].seed, "modifier", index)
        with modifier(adapted.base, stored={}, generator=generator, scale=0.0) as fresh:
            for name, tensor in fresh.tensors.items():
                now[name].copy_(tensor)
            adapted.round_off(list(fresh.tensors))


def check_choice(numbers: Sequence[int], count: int) -> None:
    """Raise `InputError` unless these are numbers of different pictures, one or more.

    numbers: the chosen pictures
    count: number of pictures to choose from
    """
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(count)):
        raise InputError(f"choose different pictures from 0 to {count - 1}, at least one, not {list(numbers)}")


def _not_gathered(step: int, at: Streams) -> Batch:
    raise InputError("feedback has batches only in its stage's updates, after its pictures are painted")


def painted_now(
    adapted: Adapted, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
) -> tuple[Tensor, Tensor]:
    """Latents [n, C, h, w] in single precision and pixels [n, 3, H, W] of pictures sampled with what has been learned.

    adapted: the adapted base
    prompts: prompts with handles unexpanded
    seeds: a seed for each
    steps: sampling steps
    guidance: scale of guidance
    """
    import torch

    from limner.engine.sample import PaintSettings, decoded, sample

    how = PaintSettings(steps, guidance)
    latents, pixels = [], []
    for start in range(0, len(prompts), how.batch):
        part = slice(start, start + how.batch)
        for at in sample(adapted, prompts[part], seeds=seeds[part], settings=how):
            last = at.latents
        latents.append(last.float().cpu())
        pixels.append(decoded(adapted.base, last).float())
    return torch.cat(latents), torch.cat(pixels)


def by_score(worth: Worth) -> Choose:
    """Choose the pictures with the highest scores; of equal ones the first.

    worth: scores pictures
    """

    def choose(adapted: Adapted, pixels: Tensor, prompts: Sequence[str], keep: int) -> Sequence[int]:
        scores = worth(adapted, pixels, prompts).float().tolist()
        return sorted(range(len(scores)), key=lambda k: (-scores[k], k))[:keep]

    return choose
