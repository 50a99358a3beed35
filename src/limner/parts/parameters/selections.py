"""Selections: adapted base -> the trained parameters, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.core.recipe import Rated
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Modifier
    from limner.core.recipe import Selection


def _of_modifiers(select: Selection) -> Selection:
    """The selection, marked as one of modifiers' parameters alone: only such can train several subjects at once."""
    select.of_modifiers = True  # type: ignore[attr-defined]  # functions stay functions
    return select


def learned(*modifiers: Modifier) -> Selection:
    """The trainable tensors of these modifiers. Raises `InputError` where there are none."""
    import torch

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        tensors = {
            n: t for m in modifiers for n, t in adapted.live[m].tensors.items() if isinstance(t, torch.nn.Parameter)
        }
        if not tensors:
            raise InputError("these modifiers have no parameters to learn")
        return tensors

    return _of_modifiers(select)


def part_of(modifier: Modifier, name: str) -> Selection:
    """The tensors of a modifier whose names have a given end. Raises `InputError` where there are none.

    modifier: the modifier
    name: end of the tensors' names
    """

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        tensors = {n: t for n, t in learned(modifier)(adapted).items() if n.endswith(name)}
        if not tensors:
            raise InputError(f"the modifier has no parameter that ends in {name!r}")
        return tensors

    return _of_modifiers(select)


def beginning(modifier: Modifier, *prefixes: str) -> Selection:
    """The trainable tensors of a modifier whose names begin with one of these prefixes.

    Raises `InputError` where there are none.

    modifier: the modifier
    prefixes: beginnings of the tensors' names
    """

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        tensors = {n: t for n, t in learned(modifier)(adapted).items() if n.startswith(prefixes)}
        if not tensors:
            raise InputError(f"the modifier has no parameter that begins with {' or '.join(prefixes)}")
        return tensors

    return _of_modifiers(select)


def all_but(modifier: Modifier, name: str) -> Selection:
    """The trainable tensors of a modifier, without those whose names have a given end.

    modifier: the modifier
    name: end of the names to leave out
    """

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        rest = part_of(modifier, name)(adapted)
        return {n: t for n, t in learned(modifier)(adapted).items() if n not in rest}

    return _of_modifiers(select)


def parts_of(modifier: Modifier, *names: str) -> Selection:
    """The tensors of a modifier whose names, split at dots, contain one of these parts.

    Raises `InputError` where there are none.

    modifier: the modifier
    names: parts of the tensors' names
    """

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        tensors = {n: t for n, t in learned(modifier)(adapted).items() if set(names) & set(n.split("."))}
        if not tensors:
            raise InputError(f"the modifier has no parameter of {' or '.join(names)}")
        return tensors

    return _of_modifiers(select)


def words(*modifiers: Modifier) -> Selection:
    """The vectors of learned tokens; no other row of the embedding table."""
    return learned(*modifiers)


def at_rate(factor: float, selection: Selection) -> Rated:
    """A selection that learns at a multiple of the stage's rate.

    factor: multiple of the stage's learning rate, above 0
    selection: the parameters
    """
    return Rated(selection, factor)


def base_parameters(what: str) -> Selection:
    """A set of the base's own parameters that its family names.

    what: name of the set, such as "cross_attention_kv"
    """

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        return adapted.base.select(what)

    return select


def cross_attention_kv() -> Selection:
    """Keys and values of cross-attention (Custom Diffusion, Sec. 3.2 of arXiv:2212.04488)."""
    return base_parameters("cross_attention_kv")


def everything() -> Selection:
    """The whole denoiser (DreamBooth)."""
    return base_parameters("everything")


def reached() -> Selection:
    """The parameters of the denoiser that its output depends on while the adapters are attached.

    Those of layers whose output a modifier replaces are left out: a trace of one run's gradient finds them.
    """
    import torch

    def select(adapted: Adapted) -> Mapping[str, Tensor]:
        base, parameters = adapted.base, adapted.base.select("everything")
        time = torch.tensor([base.num_train_times // 2], device=base.device)
        latents = torch.zeros(1, *base.latent_shape, device=base.device, dtype=base.dtype)
        with torch.enable_grad():
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            try:
                run = adapted.run(time=time, latents=latents, prompts=("",))
                output = base.predict(latents, time, base.text_states([""], words={}), context=run)
                slopes = torch.autograd.grad(output.sum(), list(parameters.values()), allow_unused=True)
            finally:
                for parameter in parameters.values():
                    parameter.requires_grad_(False)
        return {name: p for (name, p), slope in zip(parameters.items(), slopes, strict=True) if slope is not None}

    return select


def text_encoder() -> Selection:
    """The whole text encoder."""
    return base_parameters("text_encoder")
