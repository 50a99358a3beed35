"""Attention along two paths: the adapted one, and the base's with the nearest real word (arXiv:2307.06925)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.core.needs import unchanged_states
from limner.core.types import Live
from limner.parts.modifiers.states import other_words, rows_with
from limner.parts.modifiers.words import nearest, real_words

from .words_of_pictures import nouns_read, put_of, read_with

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.recipe import Need
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass


@dataclass(frozen=True)
class dual_path:
    """Every attention layer runs twice on the same hidden states; the result is blend * soft + (1 - blend) * hard.

    The soft path has the adapter and the token made of the subject's pictures; the hard path is the base with the
    nearest real word in its position (arXiv:2307.06925). This part comes last in a recipe, after `words_of_pictures`
    and after changes of attention that are operations; changes by hooks would be on both paths. The output projection,
    which is linear, is shared.

    subject: the subject; its handle is the token
    blend: share of the soft path, from 0 to 1; at 0 the base reads a real word
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross")
    needs: ClassVar[tuple[Need, ...]] = (unchanged_states,)

    subject: Subject
    blend: float = 0.5

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        from limner.bases.common.attention import attend

        live, hard_share = Live(), scale * (1 - self.blend)
        table = real_words(base) if hard_share else None

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind not in self.acts_in or not live.on:
                return call
            states = call.hidden if call.site.kind == "self" else self._hard_states(base, call, table)
            key, value = call.keys_values(states)
            plain = replace(call, query=call.queries(call.hidden), key=key, value=value)
            plain.beside, plain.beyond, plain.on_output, plain.on_maps = [], [], [], []
            hard = attend(plain)
            call.on_output.append(lambda soft: torch.lerp(soft, hard.to(soft), hard_share))
            return call

        if hard_share:
            live.operations = (operation,)
        yield live

    def _hard_states(self, base: Base, call: AttentionCall, table: Tensor | None) -> Tensor:
        """[B, L, D]: the states with the nearest real word in the token's position; made once in a run."""
        rows = rows_with(self.subject.handle, call.run)
        if not rows or table is None:
            return call.states
        import torch

        if id(self) not in call.run.cache:
            call.run.cache[id(self)] = self._read(base, call.run, rows, table)
        return call.states.index_copy(
            0, torch.tensor(rows, device=call.states.device), call.run.cache[id(self)].to(call.states)
        )

    def _read(self, base: Base, run: Pass, rows: list[int], table: Tensor) -> Tensor:
        import torch

        on = run.references.on[rows].tolist() if run.references is not None else [run.random is None] * len(rows)
        with torch.no_grad():
            hard = nearest(run.activations["picture words"].detach(), table, 1)[..., 0, :]
            plain, prompts = nouns_read(base, run, rows, self.subject), [run.prompts[row] for row in rows]
            put = [put_of(hard[k], plain[k], shown, 1.0) for k, shown in enumerate(on)]
            others = [other_words(run, row, but=self.subject.handle) for row in rows]
            return read_with(base, prompts, put, on, self.subject.handle, others, run)
