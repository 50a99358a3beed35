"""Two prompts sampled together and mixed by their attention (DCI, arXiv:2412.04831)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind

SHARP = 10.0


@dataclass(frozen=True)
class branch_integration:
    """In the first steps, cross-attention's output is a mixture of a row's own and its parallel stream's.

    The parallel stream's prompt has the class noun in the place of the token and the class noun. At every position
    the shares are the softmax of the row's attention to the subject, which is the token and the class noun, and of the
    parallel stream's attention to its context, which is all words but the class noun (Sec. 3.3 of arXiv:2412.04831;
    the mask of the noun in jinjianRick/DCI_ICO). Both are first scaled to a maximum of 1 and multiplied by SHARP.

    word: the token
    noun: the class noun, which follows the token in prompts
    until: share of the time, from the noisiest, in which it acts, from 0 to 1
    favour: logit added to the row's own share; above 0 favours the subject
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    noun: str
    until: float = 0.3
    favour: float = 0.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            late = run.time is None or float(run.time[0]) < (1 - self.until) * base.num_train_times
            if call.site.kind == "cross" and live.on and run.parallel_stream and not late:
                each = len(run.prompts) // len(run.branches)
                rows = [k for k, text in enumerate(run.prompts) if self.word in text and k % each < each // 2]
                self._integrate(base, call, rows, each // 2, scale)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _integrate(self, base: Base, call: AttentionCall, rows: list[int], apart: int, scale: float) -> None:
        seen: list[Tensor] = []

        def keep(maps: Tensor) -> Tensor:
            seen.append(maps.mean(1))
            return maps

        def mix(out: Tensor) -> Tensor:
            mixture = out.clone()
            for row in rows:
                own, other = self.columns(base, call.run.prompts[row])
                subject, context = seen[0][row][:, own].sum(1), seen[0][row + apart][:, other].sum(1)
                first, second = self.shares(subject, context)[..., None]
                both = first * out[row] + second * out[row + apart]
                mixture[row] = both if scale == 1 else out[row].lerp(both, scale)
            return mixture

        if rows:
            call.on_maps.append(keep)
            call.on_output.append(mix)

    def shares(self, own: Tensor, other: Tensor) -> Tensor:
        """[2, N]: shares of two maps [N], which sum to 1 at every position."""
        import torch

        own, other = (x / x.max().clamp_min(1e-8) for x in (own, other))
        return torch.softmax(torch.stack([SHARP * own + self.favour, SHARP * other]), 0)

    def columns(self, base: Base, prompt: str) -> tuple[list[int], list[int]]:
        """Positions of the subject in a prompt, and those of the context in its parallel stream's prompt.

        base: the base
        prompt: the prompt with the token
        """
        import torch

        words = {self.word: torch.zeros(1, 1)}
        size, starts = len(base.word_vectors(self.noun)), base.word_places(prompt, self.word, words=words)
        # the parallel stream's prompt is shorter by one token at each place of the subject
        nouns = {start - before + k for before, start in enumerate(starts) for k in range(size)}
        words_there = range(1, 1 + base.num_tokens(prompt, words=words) - len(starts))
        return [start + k for start in starts for k in range(size + 1)], [p for p in words_there if p not in nouns]
