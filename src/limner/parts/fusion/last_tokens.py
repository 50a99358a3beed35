"""Tokens of a face that replace the last hidden states of a prompt (Face0, arXiv:2306.06638)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.modifiers.states import Rewrite

FEATURES = "features"


@dataclass(frozen=True)
class last_tokens:
    """For `changed_states`: a perceptron of the subject's face makes the last hidden states of a prompt.

    The number of states stays the same (Sec. 3 of arXiv:2306.06638). Rows without a face keep their own. Where the
    prompt is the handle alone, the other states are those of an empty prompt: the face alone.

    subject: the subject; its handle is the token
    look: base and references -> features [B, F]
    count: number of states that are replaced
    hidden: width of the perceptron
    """

    subject: Subject
    look: Look
    count: int = 3
    hidden: int = 256

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        features, wide = looked_at(base, self.subject, self.look, stored, FEATURES), base.states_shape[1]
        with torch.no_grad():
            nothing = base.text_states([""], words={})[0, : base.text_positions]
        start = perceptron_start("face", features.shape[-1], self.hidden, self.count * wide, generator, spread=0.3)
        start["usual"] = nothing[-self.count :].float().cpu()
        own = {**taken(start, stored, base, what="the tokens of a face"), FEATURES: features}

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            seen, on = looked_at_by_rows(base, run, self.look, own[FEATURES], len(run.prompts))
            made = own["usual"] + perceptron(own, "face", seen[rows]).unflatten(-1, (self.count, wide))
            written = torch.cat([states[:, : -self.count], made.to(states)], 1)
            alone = torch.tensor([run.prompts[row].strip() == self.subject.handle for row in rows], device=on.device)
            bare = torch.cat([nothing[: -self.count].to(states).expand(len(rows), -1, -1), made.to(states)], 1)
            new_states = torch.where(alone.view(-1, 1, 1), bare, written)
            new_states = torch.where(on[rows].view(-1, 1, 1), new_states, states)
            return torch.lerp(states, new_states, scale)

        return own, rewrite
