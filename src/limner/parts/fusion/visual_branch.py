"""A control branch that reads a subject's pictures in place of the text, and acts where the subject is (ViscoNet,
arXiv:2312.03154)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.clip import clip_tokens
from limner.parts.encoders.looks import alone, each_of, looked_at, looked_at_by_rows, shown_rows
from limner.parts.encoders.masks import subject_masks
from limner.parts.modifiers.control_branch import put_in
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Control, Pass, Residuals
    from limner.parts.encoders.looks import Look

MASK = "mask"
"""Name of the condition: where the subject is to be."""
MOST = 10.0
"""Greatest strength of a layer."""


@dataclass(frozen=True)
class visual_branch:
    """A copy of the UNet's down path and middle that reads a mask, and in cross-attention visual tokens alone; the UNet
    itself reads the text. Its residuals, masked and each times the strength of its layer, are added in the UNet.

    CLIP's class and patch tokens of each of a row's pictures, the subject alone on a plain background, are pooled to a
    few by a linear layer over tokens; where CLIP is not as wide as the text's states, a second one leads to their
    width. Rows without pictures, negative branches among them, have zeros for CLIP's tokens and for the mask.

    While painting, the mask is the condition "mask"; where none is given, the subject's region; else the mask of the
    first of its pictures. In training, the batches give the condition. Its tensors are `NAME.…`. It works on any base
    with a UNet.

    subject: the subject
    tokens: number of tokens that each picture is pooled to
    strengths: factor of each residual, from the finest skip connection to the middle; a single one is for all
    name: prefix of its tensors' names
    """

    subject: Subject
    tokens: int = 9
    strengths: tuple[float, ...] = (1.0,)
    name: str = "control.visual"

    @property
    def look(self) -> Look:
        """[B, R, L, D]: CLIP's tokens of each picture."""
        return alone(each_of(clip_tokens))

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path, num_residuals

        network, copied = copied_down_path(base, 3, generator)
        given = under(f"{self.name}.", stored)
        constants = {
            "features": looked_at(base, self.subject, self.look, given, "features"),
            "place": self._own_mask(base, given),
        }
        features = constants["features"]
        start = prefixed("network.", copied) | self._pooling(base, features, generator)
        own = taken(start, given, base, what="the visual branch")
        put_in(network, under("network.", own))
        live = Live(prefixed(f"{self.name}.", {**own, **constants}), may_read=frozenset({MASK}))

        def visual(run: Pass, rows: int) -> Tensor:
            seen, on = looked_at_by_rows(base, run, self.look, features, rows)
            return pooled(own, seen * on.to(seen).view(-1, 1, 1, 1))

        def shown(run: Pass, rows: int) -> Tensor:
            return self._mask(base, run, constants["place"], rows)

        branch = control_of(network, MASK, scale, instead=shown, states=visual)
        if scale and any(self.strengths):
            live.controls = (self._masked(branch, self._factors(num_residuals(network)), shown),)
        yield live

    def _pooling(self, base: Base, features: Tensor, generator: Generator) -> dict[str, Tensor]:
        """Parameters at their start of the layers that make visual tokens."""
        import torch

        (count, dim), wide = features.shape[2:], base.states_shape[1]
        start = {"pool.weight": torch.randn(self.tokens, count, generator=generator) / count**0.5}
        start["pool.bias"] = torch.zeros(self.tokens)
        if dim != wide:
            start["onto"] = torch.randn(wide, dim, generator=generator) / dim**0.5
        return start

    def _own_mask(self, base: Base, given: Mapping[str, Tensor]) -> Tensor:
        """[1, 1, H, W]: the mask of the subject's first picture; of a subject without pictures, the whole picture."""
        import torch

        if "place" in given:
            return given["place"].to(base.device, base.dtype)
        if not self.subject.pictures:
            return torch.ones(1, 1, base.picture_size, base.picture_size, device=base.device, dtype=base.dtype)
        return subject_masks(base, self.subject)[:1].to(base.device, base.dtype)

    def _mask(self, base: Base, run: Pass, own: Tensor, rows: int) -> Tensor:
        """[rows, 1, H, W]: where the subject is to be in each row of a run, whether or not the row shows it."""
        import torch.nn.functional as F

        if MASK in run.conditions:
            return run.conditions[MASK].mean(1, keepdim=True)
        if run.random is not None:
            raise InputError(
                f"a visual branch learns from the condition {MASK!r}, and these batches have none: take pairs("
                "outlined=True)"
            )
        region = run.regions.get(self.subject.handle)
        mask = own if region is None else F.interpolate(region.to(own), own.shape[-2:], mode="nearest")
        return mask.expand(rows, -1, -1, -1)

    def _factors(self, count: int) -> tuple[float, ...]:
        """The strength of each of `count` residuals, the middle's last."""
        if len(self.strengths) not in (1, count):
            raise InputError(
                f"there are {len(self.strengths)} strengths for the {count} residuals of this base's control branch: give "
                f"one for all, or {count}, from the finest skip connection to the middle"
            )
        return self.strengths * (count if len(self.strengths) == 1 else 1)

    def _masked(self, branch: Control, factors: tuple[float, ...], shown: Callable[[Pass, int], Tensor]) -> Control:
        """The branch, its residuals masked and multiplied by the strengths of their layers."""
        import torch.nn.functional as F

        def residuals(noised: Tensor, time: Tensor, given: Mapping[str, Any], run: Pass) -> Residuals:
            rows = len(noised)
            mask = shown(run, rows).to(noised) * shown_rows(run, rows).to(noised).view(-1, 1, 1, 1)

            def within(part: Tensor, factor: float) -> Tensor:
                return factor * part * F.interpolate(mask, part.shape[-2:], mode="nearest")

            whole = branch(noised, time, given, run)
            assert whole.middle is not None
            skips = tuple(within(part, factor) for part, factor in zip(whole.skips, factors, strict=False))
            return replace(whole, skips=skips, middle=within(whole.middle, factors[-1]))

        return residuals


def pooled(own: Mapping[str, Tensor], seen: Tensor) -> Tensor:
    """[B, R * tokens, C]: visual tokens, from CLIP's tokens [B, R, L, D] of each picture.

    own: parameters by name
    seen: CLIP's tokens
    """
    import torch.nn.functional as F

    few = F.linear(seen.mT, own["pool.weight"], own["pool.bias"]).mT.flatten(1, 2)
    return F.linear(few, own["onto"]) if "onto" in own else few


def strengths_of(text: str) -> tuple[float, ...]:
    """Strengths from a text: numbers with commas between them, "1" or "1, 1, 0.5".

    Raises `InputError` for anything else, and for a number below 0 or above MOST.

    text: the numbers
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number <= MOST for number in numbers):
        raise InputError(
            f"strengths are numbers from 0 to {MOST:g} with commas between them, such as '1' or '1, 1, 0.5', not "
            f"{text[:100]!r}"
        )
    return numbers
