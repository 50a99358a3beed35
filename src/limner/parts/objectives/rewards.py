"""Rewards of pictures, increased by policy gradient."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from limner.core.adapted import Adapted, Modifier, Step
    from limner.core.base import Base
    from limner.core.recipe import Source

Reward: TypeAlias = "Callable[[Base, Tensor, Sequence[str]], Tensor]"
"""(base, pictures [B, 3, H, W] in [0, 1], prompts) -> [B]; it need not have a gradient."""


def clip_reward(base: Base, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
    """[B]: the cosine of CLIP's embeddings of picture and prompt.

    base: the base
    pixels: [B, 3, H, W] in [0, 1]
    prompts: the prompts
    """
    import torch

    texts = base.text_features(list(prompts), words={})
    return torch.cosine_similarity(base.picture_features(pixels).float(), texts.float(), dim=-1)


clip_reward.needs = (text_features,)  # type: ignore[attr-defined]  # functions stay functions


def text_score(adapted: Adapted, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
    """[B]: the cosine of CLIP's embeddings of picture and prompt, with the words that replace handles.

    Raises `InputError` where the base has no CLIP of texts and pictures.

    adapted: the base with its adapters
    pixels: [B, 3, H, W] in [0, 1]
    prompts: the prompts, with handles
    """
    try:
        return clip_reward(adapted.base, pixels, [adapted.expand_prompt(prompt) for prompt in prompts])
    except InputError as error:
        raise InputError(
            f"{adapted.base.name} has no CLIP of texts and pictures, which scores pictures by their prompts: choose them "
            f"by hand (choose=FOLDER), or use a base with one ({error})"
        ) from error


def reward(name: str) -> Reward:
    """The reward of a name, or of a function in a file.

    Raises `InputError` where there is no such reward or function.

    name: "clip", or "FILE.py:function"
    """
    if name == "clip":
        return clip_reward
    file, _, wanted = name.partition(":")
    path = Path(file).expanduser()
    if not wanted or not path.is_file():
        raise InputError(f"a reward is 'clip' or FILE.py:function, not {name!r}")
    spec = importlib.util.spec_from_file_location(f"limner_reward_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file resolve their annotations there
    spec.loader.exec_module(module)
    function: Any = getattr(module, wanted, None)
    if not callable(function):
        raise InputError(f"{path} has no function {wanted!r}")
    return function  # type: ignore[no-any-return]  # the shape of its result is checked when used


LEAST = 3
"""Least number of pictures whose rewards are compared: the normalised rewards of two are always the same numbers."""


def policy_gradient(
    source: Source,
    *,
    reward: Reward,
    noun: tuple[str, str],
    change: Modifier,
    steps: int = 10,
    learned: int = 2,
    guidance: float = 4.0,
    kl: float = 0.01,
) -> Objective:
    """-advantage * log p(x_s | x_t) of a stochastic sampler, plus a KL term (DPOK, DDPO).

    Eq. 4 and 8 of arXiv:2305.16381; Eq. 5 of arXiv:2305.13301. The batch's prompts are sampled without gradient; the
    advantage is the reward minus the batch's mean, over its standard deviation. Equal rewards give no gradient.

    source: batches of prompts
    reward: base, pictures and prompts -> [B]
    noun: the subject in prompts, and its replacement for the reward
    change: the modifier whose divergence counts
    steps: sampling steps
    learned: steps with a gradient
    guidance: guidance scale
    kl: weight of the divergence from the base without `change`
    """

    def value(step: Step) -> Tensor:
        import torch

        adapted, texts = step.adapted, step.batch.prompts
        if len(texts) < LEAST:
            raise InputError(
                f"a reward compares at least {LEAST} pictures of a prompt, not {len(texts)}: of two, one is always as far "
                "above the mean as the other is below, whatever their rewards are"
            )
        path = _painted(step, steps, guidance)
        prompts = [text.replace(*noun) for text in texts]
        with torch.no_grad():
            worth = reward(adapted.base, adapted.base.decode(path[-1][1]), prompts).float().to(adapted.base.device)
        if worth.shape != (len(texts),):
            raise InputError(f"a reward must give one number a picture, [{len(texts)}], not {tuple(worth.shape)}")
        advantage = (worth - worth.mean()) / worth.std().clamp_min(1e-6)
        chosen = torch.randperm(steps - 1, generator=step.random("times"))[:learned].tolist()
        total: Tensor = worth.new_zeros(())
        for k in chosen:
            x, after, time, before = path[k]
            mean, sigma = _step(adapted, texts, x, time, before, guidance)
            with torch.no_grad(), _without(adapted, change):
                first, _ = _step(adapted, texts, x, time, before, guidance)
            likely = -((after - mean).float() ** 2).mean((1, 2, 3)) / (2 * sigma**2)
            apart = ((mean - first).float() ** 2).mean((1, 2, 3)) / (2 * sigma**2)
            total = total + (kl * apart - advantage * likely).mean() / len(chosen)
        return total

    return Objective(f"policy gradient({source.name})", source, value, across=True, needs=getattr(reward, "needs", ()))


def _painted(step: Step, steps: int, guidance: float) -> list[tuple[Tensor, Tensor, int, int]]:
    """(x_t, x_s, t, s) for every step of a stochastic sampler, noisiest first; s is -1 in the last step, which is
    not random."""
    import torch

    adapted, base = step.adapted, step.adapted.base
    top = base.num_train_times
    times = [top * (steps - k) // steps - 1 for k in range(steps)] + [-1]
    shape = step.batch.latents.shape
    x, draw = torch.randn(shape, generator=step.random("first")).to(base.device, base.dtype), step.random("path")
    path = []
    with torch.no_grad():
        for time, before in pairwise(times):
            mean, sigma = _step(adapted, step.batch.prompts, x, time, before, guidance)
            after = mean + sigma * torch.randn(shape, generator=draw).to(mean)
            path.append((x, after, time, before))
            x = after
    return path


def _step(
    adapted: Adapted, prompts: Sequence[str], x: Tensor, time: int, before: int, guidance: float
) -> tuple[Tensor, float]:
    """Mean and standard deviation of x_s given x_t, under classifier-free guidance (Eq. 12 and 16 of
    arXiv:2010.02502, eta 1)."""
    import torch

    base, count = adapted.base, len(x)
    at, both = torch.full((2 * count,), time, device=base.device), torch.cat([x, x])
    texts = [*([""] * count), *prompts]
    expanded_prompts = tuple(map(adapted.expand_prompt, texts))
    run = adapted.run(time=at, latents=both, prompts=expanded_prompts, fused=base.device.type != "cpu")
    negative, text = base.predict(both, at, adapted.text_states(texts), context=run).chunk(2)
    output = negative + guidance * (text - negative)
    clean, noise = base.x0(x, output, at[:count]), base.noise_of(x, output, at[:count])
    if before < 0:
        return clean, 0.0
    (signal, spread), (signal_before, spread_before) = (levels(base, t) for t in (time, before))
    sigma = spread_before / spread * max(0.0, 1 - (signal / signal_before) ** 2) ** 0.5
    return signal_before * clean + max(0.0, spread_before**2 - sigma**2) ** 0.5 * noise, sigma


def levels(base: Base, time: int) -> tuple[float, float]:
    """Share of the picture and of the noise at a time.

    base: the base
    time: diffusion time
    """
    import torch

    one, at = torch.ones(1, 1, 1, 1, device=base.device), torch.tensor([time], device=base.device)
    return float(base.noised(one, 0 * one, at)), float(base.noised(0 * one, one, at))


@contextmanager
def _without(adapted: Adapted, change: Modifier) -> Iterator[None]:
    live = adapted.live[change]
    live.on = False
    try:
        yield
    finally:
        live.on = True
