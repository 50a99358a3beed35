"""Layers fitted to the outputs of each concept on that concept's inputs (gradient fusion, Mix-of-Show)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from limner.engine.attach import attach, parameter
from limner.engine.sample import PaintSettings, sample

from .changes import Member, Merging, layer_module
from .known_words import beside_known

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

PROMPTS = ("a photo of {}", "a picture of {}")


MOST_INPUTS = 256
"""Largest number of a layer's inputs that count in one run, evenly spread over pictures and positions: more of them
add little information, and convolutions have thousands."""


def gradient_fusion(
    *, prompts: Sequence[str] = PROMPTS, beside: int = 6, pictures: int = 1, steps: int = 6, damping: float = 1e-2
) -> Merging:
    """For every layer, the weight nearest to each concept's own on that concept's inputs.

    It minimises sum over k of ||(W0 + change_k) X_k - W X_k||^2 (Eq. 5 of arXiv:2305.18292), with X_k the inputs of the
    layer while concept k is sampled. The authors run L-BFGS for 50 rounds; this is the minimum itself, from the normal
    equations. Where they stop early, a penalty pulls the solution towards the average of the changes, which directions
    without inputs get. Parameters that are no layer's weight, such as biases, are averaged. Only X_k X_k^T is stored,
    so memory does not grow with the number of pictures.

    prompts: prompts of the pictures that each concept samples, with {} for the handle
    beside: number of further prompts with a known word beside the concept
    pictures: pictures of each prompt
    steps: sampling steps of each picture
    damping: weight of the penalty, as a share of the mean of the diagonal of sum X_k X_k^T
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        import torch

        every = sorted({name for member in members for name in member.changes})
        layers = [name for name in every if name.endswith(".weight") and parameter(base, name).ndim in (2, 4)]
        asked = [*prompts, *(beside_known(base, beside) if beside else ())]
        moments = [_moments(member, base, layers, asked, pictures, steps) for member in members]
        merged_changes = {}
        for name in every:
            now = parameter(base, name)
            changes = [member.changes.get(name, torch.zeros_like(now)) for member in members]
            if name not in layers:
                merged_changes[name] = sum(changes[1:], changes[0]) / len(changes)
                continue
            own = [moment[name] for moment in moments]
            merged_changes[name] = fused(changes, own, damping).view_as(now).to(now)
        return merged_changes

    return merging


def fused(changes: Sequence[Tensor], moments: Sequence[Tensor], damping: float) -> Tensor:
    """[out, in]: the minimum D of sum over k of ||change_k X_k - D X_k||^2 + ridge * ||D - average||^2.

    It is average + (sum of (change_k - average) X_k X_k^T) (sum of X_k X_k^T + ridge)^-1.

    changes: one for each concept [out, in, …]
    moments: X_k X_k^T of each concept [in, in], in double precision
    damping: ridge, as a share of the mean of the diagonal of the moments' sum
    """
    import torch

    flat = [change.flatten(1).double().cpu() for change in changes]
    average, total = sum(flat[1:], flat[0]) / len(flat), sum(moments[1:], moments[0])
    wanted = [(change - average) @ moment for change, moment in zip(flat, moments, strict=True)]
    ridge = damping * total.diagonal().mean() * torch.eye(len(total), dtype=total.dtype)
    return average + torch.linalg.solve(total + ridge, sum(wanted[1:], wanted[0]), left=False)


def _moments(
    member: Member, base: Base, layers: Sequence[str], prompts: Sequence[str], pictures: int, steps: int
) -> dict[str, Tensor]:
    """Layer's weight -> X X^T [in, in] in double precision, over all of its inputs while the concept is sampled."""
    import torch

    filled_prompts = [prompt.format(answer.handle) for answer in member.adapter.answers for prompt in prompts]
    texts = [text for text in filled_prompts for _ in range(pictures)]
    with torch.no_grad(), attach(base, [member.adapter]) as adapted, recorded(base, layers) as moments:
        settings = PaintSettings(steps=steps)
        for start in range(0, len(texts), settings.batch):
            part = texts[start : start + settings.batch]
            for _ in sample(adapted, part, seeds=range(start, start + len(part)), settings=settings):
                pass
    return moments


@contextmanager
def recorded(base: Base, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Inside the block, sum X X^T [in, in] over the inputs X of these layers, by the names of their weights.

    base: the base
    layers: names of the layers' weights
    """
    import torch

    moments: dict[str, Tensor] = {}
    handles = []
    try:
        for name in layers:
            module = layer_module(base, name.removesuffix(".weight"))
            size = module.weight[0].numel()
            moments[name] = torch.zeros(size, size, dtype=torch.float64)
            handles.append(module.register_forward_pre_hook(_adding(moments[name])))
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def _adding(moment: Tensor) -> Callable[[Any, Any], None]:
    import torch.nn.functional as F

    def hook(layer: Any, inputs: Any) -> None:
        x = inputs[0].detach()
        if layer.weight.ndim == 4:
            windows = F.unfold(x.float(), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            x = windows.transpose(1, 2)
        flat = x.reshape(-1, x.shape[-1])
        flat = flat[:: -(-len(flat) // MOST_INPUTS)].float()
        moment.add_((flat.mT @ flat).cpu())

    return hook
