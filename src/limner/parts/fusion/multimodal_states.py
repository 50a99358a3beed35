"""Hidden states for the denoiser from a multimodal language model with pictures, in place of the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from limner.parts.encoders.looks import Look, alone, each_of, looked_at, looked_at_by_rows
from limner.parts.encoders.multimodal import Multimodal, multimodal, multimodal_places
from limner.parts.modifiers.parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.modifiers.states import Making, Rewrite

FEATURES = "features"


class Writer(Protocol):
    """The map from a multimodal model to hidden states. It holds settings, no tensors."""

    @property
    def model(self) -> str: ...  # folder or hub id; empty is the base's own
    def start(self, base: Base, reader: Multimodal, generator: Generator) -> dict[str, Tensor]: ...  # parameters
    def text(self, reader: Multimodal, prompt: str, word: str, noun: str, *, shown: bool) -> str: ...
    def states(
        self, own: Mapping[str, Tensor], reader: Multimodal, texts: Sequence[str], seen: Tensor | None
    ) -> Tensor: ...  # texts, pictures [rows, places, width] -> [rows, L, D]


def states_of_multimodal(subject: Subject, writer: Writer) -> Making:
    """For `changed_states`: prompts that name the subject have all hidden states from the writer.

    The multimodal model reads the subject's pictures, alone on a plain background, and the prompt. Results for several
    pictures are averaged. Rows without pictures are written from text alone, with the noun in the token's position.

    subject: the subject
    writer: the map to hidden states
    """
    look: Look = alone(each_of(multimodal_places(writer.model)))

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        reader = multimodal(base, writer.model)
        features = looked_at(base, subject, look, stored, FEATURES)
        parameters = taken(writer.start(base, reader, generator), stored, base, what="the multimodal writer")
        painted: dict[tuple[str, ...], Tensor] = {}

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            prompts = tuple(run.prompts[row] for row in rows)
            still = run.random is None and not torch.is_grad_enabled()
            if not still or prompts not in painted:
                seen, on = looked_at_by_rows(base, run, look, own[FEATURES], len(run.prompts))
                nouns = [noun_of(run, row, subject) for row in rows]
                made = _written(writer, own, reader, prompts, (subject.handle, nouns), seen[rows], on[rows].tolist())
                painted.clear()
                if still:
                    painted[prompts] = made
            written = made if not still else painted[prompts]
            return written.to(states) if scale == 1 else torch.lerp(states, written.to(states), scale)

        return {**parameters, FEATURES: features}, rewrite

    return making


def noun_of(run: Pass, row: int, subject: Subject) -> str:
    """The class noun of a row's subject.

    run: the run
    row: the row
    subject: the subject while sampling
    """
    return run.references.nouns[row] if run.references is not None and run.references.nouns else subject.noun


def _written(
    writer: Writer,
    own: Mapping[str, Tensor],
    reader: Multimodal,
    prompts: Sequence[str],
    called: tuple[str, Sequence[str]],
    seen: Tensor,
    on: Sequence[bool],
) -> Tensor:
    """[rows, L, D]: hidden states from picture vectors [rows, R, places, width]."""
    word, nouns = called
    texts = [writer.text(reader, p, word, n, shown=s) for p, n, s in zip(prompts, nouns, on, strict=True)]
    parts = [writer.states(own, reader, texts, seen[:, k]) for k in range(seen.shape[1] if any(on) else 1)]
    return sum(parts[1:], start=parts[0]) / len(parts)


def block(own: Mapping[str, Tensor], name: str, x: Tensor, memory: Tensor, mask: Tensor, *, heads: int = 4) -> Tensor:
    """x after attention to itself, attention to a memory, and two linear maps, each added to it.

    own: the parameters
    name: beginning of their names
    x: [B, n, C]
    memory: [B, L, C]
    mask: [B, L] bool, positions of the memory that count
    heads: number of heads
    """
    import torch
    import torch.nn.functional as F

    from limner.core.types import split

    normal, read = F.layer_norm(x, x.shape[-1:]), F.layer_norm(memory, memory.shape[-1:])
    both = torch.cat([read, normal], 1)
    query, key, value = (
        split(F.linear(part, own[f"{name}.{which}"]), heads)
        for part, which in ((normal, "query"), (both, "key"), (both, "value"))
    )
    all_of_x = mask.new_ones(len(x), x.shape[1])
    bias = torch.where(torch.cat([mask, all_of_x], 1), 0.0, float("-inf"))[:, None, None]
    maps = torch.softmax((query @ key.mT * query.shape[-1] ** -0.5).float() + bias, -1).to(value)
    x = x + F.linear((maps @ value).transpose(1, 2).flatten(2), own[f"{name}.out"])
    inner = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:]), own[f"{name}.first"]))
    return x + F.linear(inner, own[f"{name}.second"])


def new_block(name: str, wide: int, generator: Generator, *, adds: float = 1.0) -> dict[str, Tensor]:
    """The parameters of a `block` at their start.

    name: beginning of their names
    wide: number of channels
    generator: random stream
    adds: initial size of its addition
    """
    sizes = dict.fromkeys(("query", "key", "value", "out"), (wide, wide))
    sizes |= {"first": (2 * wide, wide), "second": (wide, 2 * wide)}
    scale = {"out": adds, "second": adds}
    return {f"{name}.{part}": matrix(*size, generator) * scale.get(part, 1.0) for part, size in sizes.items()}


def matrix(out: int, into: int, generator: Generator) -> Tensor:
    """[out, into], its output as large as its input.

    out: width of the output
    into: width of the input
    generator: random stream
    """
    import torch

    return torch.randn(out, into, generator=generator) / into**0.5
