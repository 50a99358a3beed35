"""One vector added to a token's value in every cross-attention layer (Infusion, arXiv:2404.14007)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind


@dataclass(frozen=True)
class value_residual:
    """V[token] = W_v e + r, r zero at first; keys, and the token's input vectors, are the class noun's.

    Source: Eq. 3 of arXiv:2404.14007. In sampling with parallel streams, each row's queries are its parallel stream's,
    which is sampled by the base alone: so all attention maps are the base's (Eq. 5), and the residual changes the
    content and not the layout.

    word: the token
    noun: its class noun
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    noun: str

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        plain = base.word_vectors(self.noun)
        prefix = f"residual.{self.word}."
        sites = [site for site in base.sites if site.kind == "cross"]
        start = {f"{prefix}{s.name}": torch.zeros(base.key_value(s)[1].out_features) for s in sites}
        own = taken(start, stored, base, what="the value's residual")
        live = Live(dict(own), {self.word: plain})

        def operation(call: AttentionCall) -> AttentionCall:
            rows = self._rows(call)
            if call.site.kind != "cross" or not live.on or not rows:
                return call
            if call.run.parallel_stream:
                each = len(call.query) // len(call.run.branches)
                twins = torch.arange(len(call.query), device=call.query.device)
                twins = torch.where(twins % each < each // 2, twins + each // 2, twins)
                call.query = call.query[twins]
            shift = torch.zeros(*call.states.shape[:2], len(own[f"{prefix}{call.site.name}"])).to(call.value)
            for row in rows:
                for place in base.word_places(call.run.prompts[row], self.word, words={self.word: plain}):
                    shift[row, place : place + len(plain)] = 1.0
            call.value = call.value + call.heads(scale * shift * own[f"{prefix}{call.site.name}"])
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _rows(self, call: AttentionCall) -> list[int]:
        """Rows whose prompt has the token and that are no parallel streams."""
        run = call.run
        each = len(run.prompts) // len(run.branches) if run.prompts else 1
        own = each // 2 if run.parallel_stream else each
        return [k for k, prompt in enumerate(run.prompts) if self.word in prompt and k % each < own]
