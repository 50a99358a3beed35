"""A few vectors of what a multimodal language model is about to say of a new picture (MoMA, arXiv:2404.05674)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from limner.parts.encoders.looks import Look, alone, each_of, looked_at, looked_at_by_rows
from limner.parts.encoders.multimodal import Multimodal, multimodal, multimodal_places
from limner.parts.modifiers.kept import taken

from .multimodal_states import matrix, noun_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.bases.attention import Pass
    from limner.bases.protocol import Base
    from limner.subject import Subject

    from .decoupled_cross_attention import Tokens

FEATURES = "image.features"


def described(subject: Subject, *, tokens: int = 4, width: int = 80, model: str = "") -> Tokens:
    """For `decoupled_cross_attention`: the model is shown the subject alone on plain ground and asked for a new picture of it in
    the prompt; its last state, from which the answer would begin, goes through a gated layer and a linear map to `tokens`
    vectors, normalised (Sec. 3.2). Rows that see nothing have a state of zeros. Of several pictures, the mean of their
    states. The model stays as it is: the pocket's was taught to answer so.
    """
    look: Look = alone(each_of(multimodal_places(model)))

    def making(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch
        import torch.nn.functional as F

        reader = multimodal(base, model)
        features = looked_at(base, subject, look, stored, FEATURES)
        wide = base.states_shape[1]
        start = {
            "image.gate": matrix(width, reader.width, generator),
            "image.up": matrix(width, reader.width, generator),
            "image.down": matrix(width, width, generator),
            "image.projection.weight": matrix(tokens * wide, width, generator),
            "image.projection.bias": torch.zeros(tokens * wide),
            "image.norm.weight": torch.ones(wide),
            "image.norm.bias": torch.zeros(wide),
        }
        parameters = taken(start, stored, base, what="the described picture")
        painted: dict[tuple[str, ...], Tensor] = {}

        def states(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            last = painted.get(run.prompts) if run.random is None else None
            if last is None:
                seen, on = looked_at_by_rows(base, run, look, own[FEATURES], rows)
                last = _last(reader, subject, run, seen, on)
                painted.clear()
                if run.random is None:
                    painted[run.prompts] = last
            hidden = F.silu(F.linear(last, own["image.gate"])) * F.linear(last, own["image.up"])
            flat = F.linear(
                F.linear(hidden, own["image.down"]), *(own[f"image.projection.{p}"] for p in ("weight", "bias"))
            )
            return F.layer_norm(
                flat.view(rows, tokens, wide), (wide,), own["image.norm.weight"], own["image.norm.bias"]
            )

        return {**parameters, FEATURES: features}, states

    return making


def _last(reader: Multimodal, subject: Subject, run: Pass, seen: Tensor, on: Tensor) -> Tensor:
    """[rows, width]: the state before the answer, of features [rows, R, places, width]."""
    import torch

    found = seen.new_zeros(len(seen), reader.width)
    rows = on.nonzero().flatten().tolist()
    if not rows:
        return found
    texts = [reader.asked("new picture", prompt=run.prompts[row], noun=noun_of(run, row, subject)) for row in rows]
    with torch.no_grad():
        parts = [_ends(reader, texts, seen[rows, k]) for k in range(seen.shape[1])]
    return found.index_copy(
        0, torch.tensor(rows, device=seen.device), (sum(parts[1:], parts[0]) / len(parts)).to(found)
    )


def _ends(reader: Multimodal, texts: list[str], seen: Tensor) -> Tensor:
    """[rows, width]: the last state of each text."""
    import torch

    vectors = reader.vectors(texts, seen)
    states, _ = reader.states(vectors)
    return torch.stack([states[k, len(row) - 1] for k, row in enumerate(vectors)])
