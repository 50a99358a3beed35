"""Rewards of painted pictures, increased through the last of the steps that painted them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

    from .rewards import Reward

Worth: TypeAlias = "Callable[[Step, Tensor], Tensor]"
"""(step, pictures [B, 3, H, W] painted for its batch, about in [0, 1]) -> [B], larger is better. Gradients pass."""


APPEAL = 1e-2
"""Weight of a reward of appeal."""


def reward_feedback(
    source: Source, worths: Sequence[tuple[float, Worth]], *, steps: int = 10, late: float = 0.25
) -> Objective:
    """Minus the weighted sum of rewards, each a mean over the batch (reward feedback learning, Algorithm 1 of
    arXiv:2304.05977, as ID-Aligner has it, arXiv:2404.15449).

    The batch's prompts are painted from noise without a gradient, down to a random one of the last steps; that step
    predicts x_0, which is decoded and rewarded. The gradient passes that one step and the decoder. No guidance.

    source: batches of prompts, with references where these are read or rewarded; their latents are not used
    worths: weights and rewards, which see the same pictures; a weight of 0 leaves one out
    steps: sampling steps of a whole picture
    late: share of the steps, the last ones, from which the rewarded one is drawn
    """
    active_worths = [(weight, worth) for weight, worth in worths if weight]

    def value(step: Step) -> Tensor:
        pixels = painted_through_one_step(step, steps, late)
        return -sum((weight * worth(step, pixels).mean() for weight, worth in active_worths), pixels.new_zeros(()))

    needs = tuple(need for _, worth in active_worths for need in getattr(worth, "needs", ()))
    weight = 1.0 if active_worths else 0.0
    return Objective(f"reward feedback({source.name})", source, value, weight=weight, across=True, needs=needs)


def painted_through_one_step(step: Step, steps: int, late: float) -> Tensor:
    """[B, 3, H, W], not cut to [0, 1]: pictures painted for a batch, which only the last step run has a gradient in.

    step: the step, with the batch's prompts
    steps: sampling steps of a whole picture
    late: share of the steps, the last ones, from which the last one run is drawn
    """
    import torch

    base, shape = step.adapted.base, step.batch.latents.shape
    times = base.scheduler(steps=steps).timesteps
    first_late = min(len(times) - 1, round((1 - late) * len(times)))
    stop = int(torch.randint(first_late, len(times), (), generator=step.random("rewarded step")))
    x = torch.randn(shape, generator=step.random("first")).to(base.device, base.dtype)
    at = [time.expand(len(x)).to(base.device) for time in times]
    with torch.no_grad():
        for time, after in pairwise(at[: stop + 1]):  # DDIM without noise (Eq. 12 of arXiv:2010.02502)
            output = _output(step, x, time)
            x = base.noised(base.x0(x, output, time), base.noise_of(x, output, time), after)
    return base.decode(base.x0(x, _output(step, x, at[stop]), at[stop]), clamp=False).float()


def _output(step: Step, x: Tensor, times: Tensor) -> Tensor:
    """The prediction for a batch's prompts and references."""
    adapted, batch = step.adapted, step.batch
    run = adapted.run(
        time=times,
        latents=x,
        prompts=tuple(map(adapted.expand_prompt, batch.prompts)),
        references=batch.references,
        random=step.random,
        conditions=batch.conditions,
        fused=x.device.type != "cpu",
    )
    return adapted.base.predict(x, times, adapted.text_states(batch.prompts), context=run)


def face_worth(step: Step, pixels: Tensor) -> Tensor:
    """[B]: the cosine between the face embeddings of the pictures and of their rows' first references; 0 where either
    shows no face or a row sees no reference.

    step: the step, with references
    pixels: [B, 3, H, W]
    """
    import torch

    from limner.parts.encoders.faces import face_embedding

    base, references = step.adapted.base, step.batch.references
    assert references is not None
    embeddings = face_embedding(base, pixels)
    with torch.no_grad():
        wanted = face_embedding(base, references.first.to(pixels)).to(embeddings)
    return torch.cosine_similarity(embeddings, wanted, dim=-1) * references.on.to(embeddings)


def structure_worth(step: Step, pixels: Tensor) -> Tensor:
    """[B]: how far CLIP's embeddings of the pictures lie towards those of the batch's references and away from those of
    the same references bent out of shape (`warped`), in units of the distance between these two.

    step: the step, with references
    pixels: [B, 3, H, W]
    """
    import torch

    from limner.parts.augmentations import warped

    base, references = step.adapted.base, step.batch.references
    assert references is not None
    with torch.no_grad():
        whole = references.first.to(pixels)
        right = base.picture_features(whole).float().mean(0)
        wrong = base.picture_features(warped(whole, step.random("warped"))).float().mean(0)
    way = right - wrong
    return (base.picture_features(pixels).float() - wrong) @ way / way.square().sum().clamp_min(1e-12)


def worth_of(reward: Reward) -> Worth:
    """A reward of pictures and prompts (`reward`) for `reward_feedback`. Raises `InputError` when used where no
    gradient passes it.

    reward: (base, pictures [B, 3, H, W] in [0, 1], prompts) -> [B]
    """

    def worth(step: Step, pixels: Tensor) -> Tensor:
        rewards = reward(step.adapted.base, pixels, [step.adapted.expand_prompt(text) for text in step.batch.prompts])
        if rewards.shape != (len(pixels),) or not rewards.requires_grad:
            raise InputError(
                f"a reward that is fed back must give one number a picture, [{len(pixels)}], through which gradients "
                f"pass; this one gives {tuple(rewards.shape)}, {'with' if rewards.requires_grad else 'without'} a gradient"
            )
        return rewards

    worth.needs = getattr(reward, "needs", ())  # type: ignore[attr-defined]  # functions stay functions
    return worth


def face_worths(identity: float, structure: float, appeal: str = "") -> list[tuple[float, Worth]]:
    """The rewards of ID-Aligner with their weights: of the person, of an undistorted structure, and of appeal.

    identity: weight of `face_worth`
    structure: weight of `structure_worth`
    appeal: name of a reward (`reward`), whose weight is APPEAL; empty: none
    """
    from .rewards import reward

    worths: list[tuple[float, Worth]] = [(identity, face_worth), (structure, structure_worth)]
    return [*worths, (APPEAL, worth_of(reward(appeal)))] if appeal else worths
