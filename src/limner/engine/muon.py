"""Muon, by which networks learn from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SIZE = 0.6
"""Of an update, by the square root of the matrix's longer side. 0.2 makes it as large as AdamW's (Eq. 4 of
arXiv:2502.16982); three times that learned faster in all networks of the pocket stack (`benchmarks/optimizers.py`)."""
ROUNDS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the odd polynomial that takes singular values to 1, from Jordan et al.


class Muon(torch.optim.AdamW):
    """Momentum with its singular values made equal, for matrices and convolutions; AdamW for all else, and for groups
    that are `plain`.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). The size of updates follows
    AdamW's, so that one rate serves both. A convolution is the matrix [out, in x places]; a tensor that is one row or
    one column has nothing to make equal and is left to AdamW. Embeddings should be `plain`: their rows learn one by
    one. Under autocast as without.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings)
        for group in self.param_groups:
            group.setdefault("plain", False)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Raises `ValueError` for a closure: gradients are given."""
        if closure is not None:
            raise ValueError("Muon takes its gradients from the parameters, not from a closure")
        turned = [
            (parameter, parameter.grad, group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and not group["plain"] and is_matrix(parameter)
        ]
        for parameter, gradient, group in turned:
            self._turn(parameter, gradient, group["lr"], group["weight_decay"])
            parameter.grad = None  # AdamW passes it by
        super().step()
        for parameter, gradient, _ in turned:
            parameter.grad = gradient

    def _turn(self, parameter: Tensor, gradient: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(parameter))
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalised(gradient.lerp(state["exp_avg"], MOMENTUM).flatten(1))
        size = SIZE * max(direction.shape) ** 0.5
        parameter.mul_(1 - rate * weight_decay).add_(direction.view_as(parameter), alpha=-rate * size)


def is_matrix(tensor: Tensor) -> bool:
    """Whether it has more than one row and more than one column, once its dimensions but the first are one."""
    return tensor.ndim > 1 and 1 < len(tensor) < tensor.numel()


def orthogonalised(matrix: Tensor) -> Tensor:
    """[m, n] -> [m, n] with the same singular vectors and singular values between 0.7 and 1.2, by Newton and Schulz;
    those under a hundredth of the norm stay smaller.

    A round takes x to (a + b g + c g^2) x, where g is x times itself transposed: a function of the first g alone. So
    the rounds are computed on small square matrices, and x is met twice: a third of the time for one nine times as long
    as wide. In single precision whatever is asked for: squares of singular values that bfloat16 rounds below zero grow
    without bound.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    with torch.autocast(wide.device.type, enabled=False):
        x = wide.float()
        x = x / x.norm().clamp_min(1e-7)
        gram = x @ x.mT
        whole = factor = _factor(gram)
        for _ in range(ROUNDS - 1):
            gram = factor @ gram @ factor
            factor = _factor(gram)
            whole = factor @ whole
        x = whole @ x
    return x if wide is matrix else x.mT


def _factor(gram: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    found = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    found.diagonal().add_(a)
    return found
