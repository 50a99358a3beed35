"""Hidden states for the denoiser from a multimodal language model with pictures, in place of the text encoder."""

from __future__ import annotations

import re
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

INTERLEAVED = "interleaved with text"
"""The way in which writers compose that read the pictures of several subjects in one prompt, and the name under which
each subject's are offered: its writer, the subject and its pictures' vectors [1, R, places, width]."""


class Writer(Protocol):
    """The map from a multimodal model to hidden states. It holds settings, no tensors."""

    @property
    def interleaved(self) -> bool: ...  # whether it reads the pictures of several subjects in one prompt
    @property
    def model(self) -> str: ...  # folder or hub id; empty is the base's own
    def start(self, base: Base, reader: Multimodal, generator: Generator) -> dict[str, Tensor]: ...  # parameters
    def text(self, reader: Multimodal, prompt: str, word: str, noun: str, *, shown: bool) -> str: ...
    def states(
        self,
        own: Mapping[str, Tensor],
        reader: Multimodal,
        texts: Sequence[str],
        seen: Tensor | Sequence[Tensor] | None,
    ) -> Tensor: ...  # texts, pictures [rows, places, width] or of each row [pictures, places, width] -> [rows, L, D]


def states_of_multimodal(subject: Subject, writer: Writer) -> Making:
    """For `changed_states`: prompts that name the subject have all hidden states from the writer.

    The multimodal model reads the subject's pictures, alone on a plain background, and the prompt. Results for several
    pictures are averaged. Rows without pictures are written from text alone, with the noun in the token's position. In
    sampling, a writer that is `interleaved` reads the other subjects of a prompt that have the same writer in the same
    way, each at its own place, so that each of their modifiers writes the same states.

    subject: the subject
    writer: the map to hidden states
    """
    look: Look = alone(each_of(multimodal_places(writer.model)))

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        reader = multimodal(base, writer.model)
        features = looked_at(base, subject, look, stored, FEATURES)
        parameters = taken(writer.start(base, reader, generator), stored, base, what="the multimodal writer")
        painted: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            prompts = tuple(run.prompts[row] for row in rows)
            still = run.random is None and not torch.is_grad_enabled()
            others = _others(writer, subject, run)
            key = prompts, tuple(others)
            if not still or key not in painted:
                seen, on = looked_at_by_rows(base, run, look, own[FEATURES], len(run.prompts))
                nouns = [noun_of(run, row, subject) for row in rows]
                made = _written(
                    writer, own, reader, prompts, (subject.handle, nouns), seen[rows], on[rows].tolist(), others
                )
                painted.clear()
                if still:
                    painted[key] = made
            written = made if not still else painted[key]
            return written.to(states) if scale == 1 else torch.lerp(states, written.to(states), scale)

        if writer.interleaved:
            rewrite.composes = INTERLEAVED  # type: ignore[attr-defined]  # functions stay functions
            rewrite.offers = {INTERLEAVED: (writer, subject, features)}  # type: ignore[attr-defined]
        return {**parameters, FEATURES: features}, rewrite

    return making


def noun_of(run: Pass, row: int, subject: Subject) -> str:
    """The class noun of a row's subject.

    run: the run
    row: the row
    subject: the subject while sampling
    """
    return run.references.nouns[row] if run.references is not None and run.references.nouns else subject.noun


def _others(writer: Writer, subject: Subject, run: Pass) -> dict[str, tuple[str, Tensor]]:
    """The other subjects in the prompts of a sampling run that the writer reads: handle -> noun and pictures' vectors
    [R, places, width]."""
    if not writer.interleaved or run.random is not None:
        return {}
    offers = [live.offers[INTERLEAVED] for live in run.lives if live.on and INTERLEAVED in live.offers]
    return {
        other.handle: (other.noun, features[0])
        for same, other, features in offers
        if same == writer and other.handle != subject.handle and any(other.handle in prompt for prompt in run.prompts)
    }


def _written(
    writer: Writer,
    own: Mapping[str, Tensor],
    reader: Multimodal,
    prompts: Sequence[str],
    called: tuple[str, Sequence[str]],
    seen: Tensor,
    on: Sequence[bool],
    others: Mapping[str, tuple[str, Tensor]],
) -> Tensor:
    """[rows, L, D]: hidden states from picture vectors [rows, R, places, width], and those of other subjects."""
    word, nouns = called
    texts = [writer.text(reader, p, word, n, shown=s) for p, n, s in zip(prompts, nouns, on, strict=True)]
    for handle, (noun, _) in others.items():
        texts = [
            writer.text(reader, t, handle, noun, shown=s) if handle in t else t for t, s in zip(texts, on, strict=True)
        ]
    count = max([seen.shape[1], *(len(pictures) for _, pictures in others.values())]) if any(on) else 1
    parts = []
    for k in range(count):
        one = seen[:, k % seen.shape[1]]
        shown = (
            one
            if not others
            else [
                _in_order(prompt, {word: own, **{h: p[k % len(p)] for h, (_, p) in others.items()}})
                for prompt, own in zip(prompts, one, strict=True)
            ]
        )
        parts.append(writer.states(own, reader, texts, shown))
    return sum(parts[1:], start=parts[0]) / len(parts)


def _in_order(prompt: str, pictures: Mapping[str, Tensor]) -> Tensor:
    """[n, places, width]: the pictures of a prompt's n handles, in the order in which these stand in it."""
    import torch

    handles = re.findall("|".join(map(re.escape, pictures)), prompt)
    return torch.stack([pictures[handle] for handle in handles or list(pictures)[:1]])


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
