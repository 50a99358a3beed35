"""Muon, the optimiser for networks that are trained from scratch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SIZE = 0.6
"""Factor of an update's size, beside the square root of the matrix's longer side. 0.2 makes updates as large as AdamW's
(Eq. 4 of arXiv:2502.16982); three times that trained faster for all networks of the pocket stack
(`benchmarks/optimizers.py`)."""
ROUNDS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # odd polynomial (Jordan et al.) that brings singular values close to 1


class Muon(torch.optim.AdamW):
    """Orthogonalised momentum for matrices and convolutions; AdamW for all other tensors and for groups marked `plain`.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). The size of updates follows
    AdamW's, so that one learning rate serves both. A convolution is taken as the matrix [out, in x kernel size]. A
    tensor with a single row or column is left to AdamW. Embeddings should be `plain`: their rows are independent. Under
    autocast, the update is the same.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings)
        for group in self.param_groups:
            group.setdefault("plain", False)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Raises `ValueError` for a closure: gradients must be computed before."""
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
            parameter.grad = None  # AdamW skips a parameter without gradient
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
    """Whether a tensor has more than one row and more than one column, with all dimensions after the first joined."""
    return tensor.ndim > 1 and 1 < len(tensor) < tensor.numel()


def orthogonalised(matrix: Tensor) -> Tensor:
    """[m, n] -> [m, n] with the same singular vectors and singular values between 0.7 and 1.2, by the Newton-Schulz
    iteration; singular values below a hundredth of the norm stay smaller.

    An iteration maps x to (a + b g + c g^2) x, where g = x x^T. The factors of all iterations are functions of the
    first g, so they are computed on small square matrices, and x itself is multiplied only twice: this takes a third of
    the time for a matrix nine times as long as wide. It always computes in single precision: in bfloat16, eigenvalues
    of g that are rounded below zero grow without bound.
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
    polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal().add_(a)
    return polynomial
