"""One control branch that reads several maps at once (Uni-ControlNet, arXiv:2305.16322)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live, Residuals

from .control_branch import put_in
from .parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass

PREFIX = "control.stacked."
ALL, NONE, EACH = 0.1, 0.1, 0.5
"""In training: probability of all maps, of none, and otherwise of dropping each (the authors' configs/local_v15.yaml).
"""


@dataclass(frozen=True)
class stacked_control:
    """A copy of the UNet's down path and middle that reads all maps stacked, absent ones as zeros.

    Features of the stacked maps modulate the first normalisation at each resolution (feature denormalisation, FDN,
    Eq. 4 of arXiv:2305.16322). At first it changes nothing. Its parameters do not depend on the number of maps that are
    given. Rows whose maps are all zeros get no residuals, so that they are the base. In training, maps are dropped at
    random. The adapter's scale is the residuals' strength. Its tensors are `control.stacked.…`.

    maps: names of the conditions, in the order in which they are stacked, each with 3 channels
    unit: unit of the widths of the features
    """

    maps: tuple[str, ...]
    unit: int = 8

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.stacked_control import stacked_control

        network, start = stacked_control(base, 3 * len(self.maps), self.unit, generator)
        tensors = taken(prefixed(PREFIX, start), stored, base, what="the branch of stacked maps")
        put_in(network, under(PREFIX, tensors))

        def control(noised: Tensor, time: Tensor, given: Mapping[str, Any], run: Pass) -> Residuals:
            if not run.conditions.keys() & set(self.maps):
                return Residuals()
            shown = self._stacked(run, noised)
            on = scale * shown.flatten(1).any(1).to(noised).view(-1, 1, 1, 1)
            more = {"added_cond_kwargs": given["added_cond_kwargs"]} if "added_cond_kwargs" in given else {}
            skips, middle = network(noised, time, given["encoder_hidden_states"], shown, **more)
            return Residuals(tuple(on * skip for skip in skips), on * middle)

        live = Live(tensors)
        if scale:
            live.controls, live.may_read = (control,), frozenset(self.maps)
        yield live

    def _stacked(self, run: Pass, noised: Tensor) -> Tensor:
        """[rows, 3 * maps, H, W]: the maps of the run, side by side."""
        import torch

        known = next(iter(run.conditions[name] for name in self.maps if name in run.conditions))
        zeros = noised.new_zeros(len(noised), 3, *known.shape[2:])
        each = [
            run.conditions[name].to(noised).expand_as(zeros) if name in run.conditions else zeros for name in self.maps
        ]
        if run.random is not None:
            on = kept_maps(len(noised), len(self.maps), run.random("maps")).to(noised)
            each = [part * on[:, k].view(-1, 1, 1, 1) for k, part in enumerate(each)]
        return torch.cat(each, 1)


def kept_maps(rows: int, maps: int, generator: Generator) -> Tensor:
    """[rows, maps] bool: the maps of each row that are not dropped in training.

    rows: number of rows
    maps: number of maps
    generator: random stream
    """
    import torch

    chance, each = torch.rand(rows, 1, generator=generator), torch.rand(rows, maps, generator=generator)
    return (chance < ALL) | ((chance >= ALL + NONE) & (each >= EACH))
