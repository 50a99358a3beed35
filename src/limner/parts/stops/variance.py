"""Stop when the loss with all randomness frozen no longer varies (DVAR, arXiv:2302.04841)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.streams import stream, streams

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.recipe import Source, Stop
    from limner.core.types import Batch


def variance_stop(source: Source, *, window: int, ratio: float) -> Stop:
    """Stop once the variance of the last `window` losses is below `ratio` of that of all of them (Eq. 3).

    The loss is that of one batch of the source with its noise and times, drawn once. It is computed after every update.

    source: pictures of the subject with captions
    window: number of losses, 2 or more
    ratio: share of the variance of all losses, above 0
    """

    drawn: list[Batch] = []  # the same for every update, so drawn once

    def stop(adapted: Adapted, state: Tensor) -> tuple[bool, Tensor]:
        import torch

        if not drawn:
            drawn.append(frozen_batch(adapted.base, source))
        losses = torch.cat([state, torch.tensor([frozen_loss(adapted, drawn[0])], dtype=torch.float64)])
        if len(losses) < window:
            return False, losses
        return bool(losses[-window:].var() < ratio * losses.var()), losses

    return stop


def frozen_batch(base: Base, source: Source) -> Batch:
    """The source's first batch, always the same.

    base: the base with nothing attached
    source: pictures of the subject with captions
    """
    import torch

    with torch.no_grad():
        return source.prepare(base)(0, streams(0, "frozen", source.name))


def frozen_loss(adapted: Adapted, batch: Batch) -> float:
    """The denoising loss on a batch with noise and times of its own: the same number for the same weights.

    adapted: the base with the recipe attached
    batch: the frozen batch
    """
    import torch

    base, count = adapted.base, len(batch.latents)
    with torch.no_grad():
        noise = torch.randn(batch.latents.shape, generator=stream(0, "frozen noise")).to(batch.latents)
        times = torch.randint(base.num_train_times, (count,), generator=stream(0, "frozen times")).to(base.device)
        prompts = tuple(adapted.expand_prompt(prompt) for prompt in batch.prompts)
        noised, states = base.noised(batch.latents, noise, times), adapted.text_states(batch.prompts)
        run = adapted.run(time=times, latents=noised, prompts=prompts, fused=base.device.type != "cpu")
        output = base.predict(noised, times, states, context=run)
        return float((output.float() - base.target(batch.latents, noise, times).float()).square().mean())
