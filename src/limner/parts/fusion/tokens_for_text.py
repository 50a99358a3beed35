"""A picture's tokens in place of the text (AnyDoor, arXiv:2307.09481; Prompt-Free Diffusion, arXiv:2305.16223)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.errors import InputError
from limner.parts.attention.regions import within_region
from limner.parts.encoders.looks import alone, close_up, filled, first_of, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

from .decoupled_cross_attention import STATES

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, AttentionOp, Kind, Pass
    from limner.parts.encoders.looks import Encoder, Look

    from .decoupled_cross_attention import Tokens

MARGIN = 0.1
"""Margin around the subject in the pictures that are seen, as a share of its longer side."""
REPLACED = "text replaced by"


@dataclass(frozen=True)
class tokens_for_text:
    """Every cross-attention layer reads the tokens of the subject's first picture, and nothing of the prompt.

    The tokens (Sec. 3.1 of arXiv:2307.09481) are an encoder's class token and patch tokens, through one linear layer;
    the base's own layers make keys and values of them. The subject stands alone on a plain background, cut out as a
    square. Rows without references, and negative branches, read the tokens of a black picture, as with the authors.

    Several subjects each need a region, within which their tokens replace the text; otherwise one replaces it
    everywhere. At half the strength, the output is halfway between that of the text and that of the tokens.

    subject: the subject
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> tokens [n, L, D]
    name: prefix of its tensors' names
    filled: whether the background has the subject's mean colour in place of a plain one, which shows its outline
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    encoder: Encoder
    name: str = "tokens"
    filled: bool = False

    @property
    def look(self) -> Look:
        cut = close_up(first_of(self.encoder), MARGIN)
        return filled(cut) if self.filled else alone(cut)

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch
        import torch.nn.functional as F

        prefix = f"{self.name}."
        given = under(prefix, stored)
        features, nothing = looked_at(base, self.subject, self.look, given, "features"), self._nothing(base, given)
        wide, dim = base.attended_width, features.shape[-1]
        start = {
            "weight": torch.randn(wide, dim, generator=generator) / dim**0.5,
            "bias": torch.zeros(wide),
        }
        own = taken(start, given, base, what="the picture's tokens")
        live = Live(prefixed(prefix, {**own, "features": features, "nothing": nothing}))

        def read(run: Pass, rows: int) -> Tensor:
            if id(self) not in run.cache:
                seen, on = looked_at_by_rows(base, run, self.look, features, rows)
                tokens = torch.where(on.view(-1, 1, 1), seen, nothing)
                run.cache[id(self)] = F.linear(tokens, own["weight"], own["bias"])
            states: Tensor = run.cache[id(self)]
            return states

        if scale:
            live.operations = (for_text(live, read, self.subject.handle, scale),)
        live.offers[STATES] = read
        yield live

    def _nothing(self, base: Base, given: Mapping[str, Tensor]) -> Tensor:
        """[1, L, D]: the tokens of a black picture."""
        import torch

        if "nothing" in given:
            return given["nothing"].to(base.device, base.dtype)
        with torch.no_grad():
            return self.encoder(base, torch.zeros(1, 3, base.picture_size, base.picture_size)).to(base.dtype)


@dataclass(frozen=True)
class states_for_text:
    """Every cross-attention layer reads states made of the subject's pictures, and nothing of the prompt; the base's
    own layers make keys and values of them. Several subjects each need a region, as for `tokens_for_text`.

    subject: the subject
    states: makes the states of each row
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    states: Tokens

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        own, make = self.states(base, stored, generator)
        live = Live(own)

        def read(run: Pass, rows: int) -> Tensor:
            if id(self) not in run.cache:
                run.cache[id(self)] = make(own, run, rows)
            states: Tensor = run.cache[id(self)]
            return states

        if scale:
            live.operations = (for_text(live, read, self.subject.handle, scale),)
        live.offers[STATES] = read
        yield live


def for_text(live: Live, read: Callable[[Pass, int], Tensor], handle: str, scale: float) -> AttentionOp:
    """An operation of cross-attention that reads other states in place of the text's.

    live: the modifier, which acts while it is on
    read: (run, number of its rows) -> states [rows, L, D]
    handle: the subject's handle, within whose region the states count where several subjects have one
    scale: 1 replaces the text; below, the output is between that of the text and that of the states
    """

    def operation(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and live.on:
            much = scale * _place(call, handle)
            key, value = call.keys_values(read(call.run, len(call.query)))
            call.on_output.append(lambda out: (1 - much) * out)
            call.beside.append((key, value, much))
        return call

    return operation


def _place(call: AttentionCall, handle: str) -> Tensor | float:
    """1 where the states replace the text: everywhere, or in the handle's region where several subjects have one."""
    others: set[str] = call.run.cache.setdefault(REPLACED, set())
    others.add(handle)
    if len(others) > 1 and not others <= call.run.regions.keys():
        raise InputError(
            f"{' and '.join(sorted(others))} each replace the whole prompt: paint one after the other, the second onto "
            "the first's picture, or give each a region"
        )
    return within_region(call, handle) if len(call.run.regions) > 1 else 1.0
