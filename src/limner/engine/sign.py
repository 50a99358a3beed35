"""Sign descent, the optimiser for adversarial perturbations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Sign(torch.optim.Optimizer):
    """Every value changes by the learning rate, against the sign of its gradient (Eq. 1 and the iteration of Sec. 2.1
    of arXiv:1706.06083).

    After weight decay (p - lr * weight_decay * p) p becomes p - lr * sign(gradient). It has no state, so a checkpoint
    has no moments.
    """

    def __init__(self, params: Any, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. Raises `ValueError` for a closure: gradients must be computed before."""
        if closure is not None:
            raise ValueError("Sign takes its gradients from the parameters, not from a closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])
