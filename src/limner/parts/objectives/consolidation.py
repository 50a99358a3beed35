"""Elastic weight consolidation: weights that earlier subjects depend on move little (EWC, arXiv:1612.00796)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Step
    from limner.core.base import Base
    from limner.core.recipe import Selection, Source
    from limner.core.types import Streams
    from limner.parts.sources.scheduled import Memory

FISHER, MEAN = "fisher.", "mean."
"""Prefixes of the tensors that `fisher` makes: the information of each parameter, and its value then."""


def consolidation(source: Source) -> Objective:
    """Half of the sum over parameters of F_j (theta_j - theta*_j)^2 (Eq. 3 of arXiv:1612.00796).

    Raises `InputError` for a source without the tensors of `fisher`.

    source: batches with the Fisher information F and the values theta* that earlier subjects ended with
    """

    def value(step: Step) -> Tensor:
        import torch

        gathered = step.batch.gathered
        names = [name.removeprefix(FISHER) for name in gathered if name.startswith(FISHER)]
        if not names:
            raise InputError(f"{source.name} gives no Fisher information: make its source with_memory(…, fisher(…))")
        tensors = network_tensors(step.adapted, names)
        terms = [
            (gathered[FISHER + name] * (tensors[name].float() - gathered[MEAN + name]).square()).sum() for name in names
        ]
        return torch.stack(terms).sum() / 2

    return Objective(f"consolidation({source.name})", source, value, any_target=True)


def network_tensors(adapted: Adapted, names: Sequence[str]) -> dict[str, Tensor]:
    """The parameters of these names as the network computes with them: of attached modifiers, or of the base itself.

    adapted: the adapted base
    names: names as a concept stores them
    """
    from limner.engine.attach import parameter

    own = {name: tensor for live in adapted.live.values() for name, tensor in live.tensors.items()}
    return {name: own[name] if name in own else parameter(adapted.base, name) for name in names}


def fisher(
    prompts: Mapping[str, Callable[[Base], Mapping[str, Tensor]] | None],
    train: Sequence[Selection],
    *,
    count: int = 16,
    steps: int = 12,
) -> Memory:
    """The diagonal Fisher information of parameters, estimated on pictures that the concept itself paints.

    F_j is the mean, over pictures, times and noise, of the squared gradient of one picture's denoising error. Its
    definition is an expectation under the model, so pictures sampled from the model stand in for those of earlier
    subjects, none of which is stored. A picture that was painted under conditions counts with and without them. F is
    divided by its mean over all parameters, so that a weight of the loss means the same on every base.

    prompts: prompts with handles -> base -> conditions [n, 1 or 3, H, W] by name to paint under; None paints without
    train: selections of the parameters
    count: number of pictures, over all prompts
    steps: sampling steps
    """

    def make(adapted: Adapted, at: Streams) -> Mapping[str, Tensor]:
        import torch

        parameters = {name: tensor for selection in train for name, tensor in selection(adapted).items()}
        squares = {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in parameters.items()}
        each, draws = -(-count // len(prompts)), 0
        for prompt, conditions_of in prompts.items():
            shown = _rows_of(conditions_of(adapted.base), each) if conditions_of is not None else {}
            latents = _painted(adapted, prompt, shown, each, steps, at(f"pictures of {prompt}"))
            generator = at(f"noise of {prompt}")
            for row in range(each):
                for conditions in ({}, {n: c[row : row + 1] for n, c in shown.items()}) if shown else ({},):
                    gradients = _gradients(adapted, latents[row : row + 1], prompt, conditions, parameters, generator)
                    draws += 1
                    for name, gradient in gradients.items():
                        squares[name] += gradient.float().square()
        total = sum(float(square.sum()) for square in squares.values())
        mean = max(total / sum(square.numel() for square in squares.values()), 1e-30)
        information = {FISHER + name: square / mean for name, square in squares.items()}
        return information | {MEAN + name: tensor.detach().float().clone() for name, tensor in parameters.items()}

    return make


def _rows_of(conditions: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """[count, 1 or 3, H, W]: the conditions in turn."""
    return {name: value[[row % len(value) for row in range(count)]] for name, value in conditions.items()}


def _painted(
    adapted: Adapted, prompt: str, conditions: Mapping[str, Tensor], count: int, steps: int, generator: Any
) -> Tensor:
    """[count, C, h, w]: latents of pictures of a prompt."""
    import torch

    from limner.engine.sample import PaintSettings, sample

    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    parts, how = [], PaintSettings(steps)
    for start in range(0, count, how.batch):
        rows = slice(start, min(start + how.batch, count))
        own = {name: value[rows] for name, value in conditions.items()}
        texts = [prompt] * len(seeds[rows])
        for moment in sample(adapted, texts, seeds=seeds[rows], settings=how, conditions=own):  # type: ignore[arg-type]
            latents = moment.latents
        parts.append(latents)
    return torch.cat(parts)


def _gradients(
    adapted: Adapted,
    latents: Tensor,
    prompt: str,
    conditions: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    generator: Any,
) -> dict[str, Tensor]:
    """The gradient of one picture's denoising error, at a random time, by the parameter's name.

    latents: [1, C, h, w]
    """
    import torch

    base = adapted.base
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    time = base.draw_times(1, generator).to(base.device)
    about: dict[str, Any] = {"conditions": {name: c.to(latents) for name, c in conditions.items()}}
    for tensor in parameters.values():
        tensor.requires_grad_(True)
    try:
        with torch.enable_grad():
            noised = base.noised(latents, noise, time)
            run = adapted.run(time=time, latents=noised, prompts=(adapted.expand_prompt(prompt),), fused=False, **about)
            output = base.predict(noised, time, adapted.text_states([prompt]), context=run)
            error, _ = base.error(output, base.target(latents, noise, time))
            values = torch.autograd.grad(error.mean(), list(parameters.values()), allow_unused=True)
    finally:
        for tensor in parameters.values():
            tensor.requires_grad_(False)
    return {name: value for name, value in zip(parameters, values, strict=True) if value is not None}
