"""A branch beside the denoiser that reads a condition (ControlNet, arXiv:2302.05543; T2I-Adapter, arXiv:2302.08453)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live, Residuals

from .parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base
    from limner.core.types import Control, Pass


@dataclass(frozen=True)
class control_branch:
    """A copy of the UNet's down path and middle that reads a condition (ControlNet, Eq. 2 of arXiv:2302.05543).

    Its residuals pass zero convolutions and are added to the skip connections, so at first it changes nothing. It works
    on any base with a UNet. Its tensors are `control.CONDITION.…` and can be selected. The adapter's scale is the
    residuals' strength.

    condition: name of the condition that it reads, such as "depth"
    channels: channels of that condition, 1 or 3
    optional: whether nothing is added where the condition is not given; otherwise it is an error
    """

    condition: str
    channels: int = 3
    optional: bool = False

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path

        network, start = copied_down_path(base, self.channels, generator)
        prefix = f"control.{self.condition}."
        tensors = taken(prefixed(prefix, start), stored, base, what=f"the control branch of {self.condition}")
        put_in(network, under(prefix, tensors))
        control, names = control_of(network, self.condition, scale), frozenset({self.condition})
        live = _live(control, self.condition, scale, tensors)
        if scale and self.optional:
            live.controls, live.reads, live.may_read = (_where_any(control, names),), frozenset(), names
        yield live


def _where_any(control: Control, names: frozenset[str]) -> Control:
    """A control branch that adds nothing in runs without any of these conditions."""

    def residuals(noised: Tensor, time: Tensor, given: Mapping[str, Any], run: Pass) -> Residuals:
        return control(noised, time, given, run) if names & run.conditions.keys() else Residuals()

    return residuals


COLOURS = {
    "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "yellow": (1.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0), "cyan": (0.0, 1.0, 1.0), "orange": (1.0, 0.5, 0.0), "violet": (0.5, 0.0, 1.0),
    "spring green": (0.0, 1.0, 0.5), "pink": (1.0, 0.0, 0.5), "lime": (0.5, 1.0, 0.0), "azure": (0.0, 0.5, 1.0),
    "maroon": (0.5, 0.0, 0.0), "olive": (0.5, 0.5, 0.0), "teal": (0.0, 0.5, 0.5), "white": (1.0, 1.0, 1.0),
}  # fmt: skip
"""Colours of the subjects of a segmentation map, in their order. All else is black."""


@dataclass(frozen=True)
class segmentation_branch:
    """A `control_branch` for segmentation maps in which each subject has a colour of its own.

    The map is the condition "segmentation". While painting, regions (`paint(regions=...)`) become a map where no
    picture of one is given. Rows without either see no residuals: the base is as without the branch. Its tensors are
    `control.segmentation.…`.

    handles: the subjects' words, in the order of COLOURS
    """

    handles: tuple[str, ...]

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path

        network, start = copied_down_path(base, 3, generator)
        prefix = f"control.{SEGMENTATION}."
        tensors = taken(prefixed(prefix, start), stored, base, what="the branch of segmentation maps")
        put_in(network, under(prefix, tensors))
        branch = control_of(network, SEGMENTATION, scale, instead=lambda run, rows: self._map_of(run, rows, base))

        def control(noised: Tensor, time: Tensor, given: Mapping[str, Any], run: Pass) -> Residuals:
            shows = SEGMENTATION in run.conditions or any(handle in run.regions for handle in self.handles)
            return branch(noised, time, given, run) if shows else Residuals()

        live = Live(tensors)
        if scale:
            live.controls, live.may_read = (control,), frozenset({SEGMENTATION})
        yield live

    def _map_of(self, run: Pass, rows: int, base: Base) -> Tensor:
        """[rows, 3, H, W]: the map that was given, or that of the regions."""
        import torch
        import torch.nn.functional as F

        if SEGMENTATION in run.conditions:
            return run.conditions[SEGMENTATION]
        shown = [
            painted_in(run.regions[handle], colour)
            for handle, colour in zip(self.handles, COLOURS.values(), strict=False)
            if handle in run.regions
        ]
        size = base.picture_size
        whole = F.interpolate(torch.stack(shown).sum(0).clamp(0, 1), (size, size))
        return whole.expand(rows, -1, -1, -1)


SEGMENTATION = "segmentation"
"""Name of the condition that `segmentation_branch` reads."""


def painted_in(masks: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Masks as a segmentation map: [n, 1, H, W] -> [n, 3, H, W] in [0, 1].

    masks: where the subject is, in [0, 1]
    colour: the subject's red, green and blue
    """
    return masks * masks.new_tensor(colour).view(1, 3, 1, 1)


@dataclass(frozen=True)
class feature_branch:
    """A small network whose features of a condition are added to each block of the UNet's down path (T2I-Adapter).

    It starts at random, and reads the condition once in a sampling (Sec. 3.2 of arXiv:2302.08453). Its tensors are
    `features.CONDITION.…` and can be selected. The adapter's scale is the features' strength.

    condition: name of the condition that it reads, such as "edges"
    channels: channels of that condition, 1 or 3
    """

    condition: str
    channels: int = 3

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, new_adapter

        network, start = new_adapter(base, self.channels, generator)
        prefix = f"features.{self.condition}."
        tensors = taken(prefixed(prefix, start), stored, base, what=f"the features of {self.condition}")
        put_in(network, under(prefix, tensors))
        yield _live(control_of(network, self.condition, scale), self.condition, scale, tensors)


@dataclass(frozen=True)
class opened_control:
    """A ControlNet or T2I-Adapter from a folder in diffusers' layout. It is not trained, nor stored with a concept.

    condition: name of the condition that it reads, such as "depth"
    folder: folder of its config.json and weights
    """

    condition: str
    folder: str

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, open_control

        network = open_control(self.folder, base)
        yield _live(control_of(network, self.condition, scale), self.condition, scale, {})


def _live(control: Any, condition: str, scale: float, tensors: dict[str, Tensor]) -> Live:
    if not scale:
        return Live(tensors)
    return Live(tensors, controls=(control,), reads=frozenset({condition}))


def put_in(network: nn.Module, parameters: Mapping[str, Tensor]) -> None:
    """Make a network compute with these parameters, the very same objects.

    network: the network
    parameters: parameters by the network's names for them
    """
    for name, parameter in parameters.items():
        path, _, last = name.rpartition(".")
        network.get_submodule(path)._parameters[last] = parameter  # type: ignore[assignment]  # they are parameters
    network.eval()
