"""Text encoders that read learned words in prompts.

A learned word such as `<rex>` never enters the tokenizer or the embedding table: a placeholder token takes its position
in the prompt, and its input vector is replaced while the text encoder runs. So a base has nothing to undo, and a prompt
without learned words takes the stock path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from limner.core.wording import shortened
from limner.errors import PromptError

if TYPE_CHECKING:
    from torch import Tensor

STAND_IN = 0
"""Id of the placeholder token for a learned word; no text encoder reads it as the end of a text."""


@dataclass(frozen=True)
class Tower:
    """A text encoder, and the form in which its family feeds it prompts."""

    tokenizer: Any
    model: Any
    length: int  # number of positions; those without text are padding
    name: str = "text_encoder"  # name of its part of the base and of its folder
    begins: bool = True  # a begin token goes before the text
    ends: bool = True  # an end token goes behind the text
    masked: bool = False  # attention does not see padding
    lower: bool = False  # prompts are read in lower case
    spaces: Literal["apart", "before"] = "apart"  # a space before a word is outside its token, or begins it
    template: Callable[[str], str] | None = None  # prompt -> the whole text to read, the prompt in it

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def embedding(self) -> torch.nn.Module:
        """The layer that turns token ids into input vectors."""
        inner = getattr(self.model, "encoder", None)
        holder: Any = inner if hasattr(inner, "embed_tokens") else self.model
        layer: torch.nn.Module = holder.get_input_embeddings()
        return layer

    @property
    def width(self) -> int:
        return int(self.table.shape[1])

    @property
    def table(self) -> Tensor:
        """[V, D]: input vectors of all tokens."""
        vectors: Tensor = self.embedding.weight  # type: ignore[assignment]  # an nn.Embedding's is a parameter
        return vectors.detach()

    @property
    def room(self) -> int:
        """Largest number of tokens of a prompt."""
        return self.length - self.begins - self.ends - len(self._bare(""))

    def ids(self, prompt: str, words: Mapping[str, Any]) -> tuple[list[int], list[tuple[int, str]]]:
        """Token ids without begin and end tokens, and (position, word) for the start of each learned word. A word with
        n vectors takes n positions."""
        prompt = self._lowered(prompt.strip(), words) if self.lower else prompt
        text = self.template(prompt) if self.template else prompt
        ids: list[int] = []
        places: list[tuple[int, str]] = []
        pieces = _pieces(text, words)
        for place, piece in enumerate(pieces):
            if piece in words:
                places.append((len(ids), piece))
                ids += [STAND_IN] * len(words[piece])
            else:
                before_word = place + 1 < len(pieces)
                ids += self._tokens(piece.rstrip(" ") if before_word and self.spaces == "before" else piece)
        return ids, places

    def vectors_of(self, text: str) -> list[int]:
        """Token ids of a text inside a prompt."""
        return self._tokens(f" {text.strip()}" if self.spaces == "before" else text)

    def vocabulary(self) -> frozenset[str]:
        """Whole words that are one token."""
        known = self.tokenizer.get_vocab()
        ends = {token.removesuffix("</w>") for token in known if token.endswith("</w>")}
        return frozenset(ends or {token[1:] for token in known if token[:1] in ("\u2581", "\u0120")})

    def read(self, prompts: Sequence[str], words: Mapping[str, Tensor], **more: Any) -> tuple[Any, Tensor]:
        """The model's output, and the mask [B, L] of positions that hold text. Raises `PromptError` for a prompt that
        is too long."""
        rows, lengths, written = [], [], []
        first = [self.tokenizer.bos_token_id] * self.begins
        last = [self.tokenizer.eos_token_id] * self.ends
        for row, prompt in enumerate(prompts):
            ids, places = self.ids(prompt, words)
            if len(first) + len(ids) + len(last) > self.length:
                over = len(first) + len(ids) + len(last) - self.length
                has = self.room + over
                raise PromptError(
                    f"the prompt has {has} tokens and this base reads at most {self.room}: shorten "
                    f"{shortened(prompt)!r}; nothing was cut"
                )
            ids = [*first, *ids, *last]
            lengths.append(len(ids))
            rows.append(ids + [self.tokenizer.pad_token_id] * (self.length - len(ids)))
            written += [(row, start + len(first), words[word]) for start, word in places]
        batch = torch.tensor(rows, device=self.device)
        mask = torch.arange(self.length, device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        with _replacing(self.embedding, written):
            out = self.model(batch, attention_mask=mask.long() if self.masked else None, **more)
        return out, mask

    def _lowered(self, prompt: str, words: Mapping[str, Any]) -> str:
        return "".join(piece if piece in words else piece.lower() for piece in _pieces(prompt, words))

    def _bare(self, prompt: str) -> list[int]:
        return self._tokens(self.template(prompt)) if self.template else []

    def _tokens(self, text: str) -> list[int]:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:  # a lone surrogate, as from a terminal in another encoding
                raise PromptError(
                    f"{text[:100]!r} holds half of a character at place {error.start}: type it again"
                ) from error
        return list(self.tokenizer(text, add_special_tokens=False).input_ids) if text.strip() else []


def clip_tower(tokenizer: Any, model: Any, *, name: str = "text_encoder") -> Tower:
    """A CLIP text encoder as all families use it: begin token, text, end token, and padding that attention sees."""
    return Tower(tokenizer, model, int(tokenizer.model_max_length), name)


class _replacing:
    """Context in which the embedding's output holds the given vectors at the given positions."""

    def __init__(self, embedding: torch.nn.Module, written: Sequence[tuple[int, int, Tensor]]) -> None:
        self.embedding, self.written = embedding, written

    def __enter__(self) -> None:
        self.handle = self.embedding.register_forward_hook(self._write) if self.written else None

    def __exit__(self, *_: object) -> None:
        if self.handle is not None:
            self.handle.remove()

    def _write(self, _: torch.nn.Module, __: Any, vectors: Tensor) -> Tensor:
        rows = torch.cat([torch.full((len(v),), row, device=vectors.device) for row, _, v in self.written])
        columns = torch.cat(
            [torch.arange(start, start + len(v), device=vectors.device) for _, start, v in self.written]
        )
        scale = getattr(self.embedding, "embed_scale", 1.0)  # some embedding layers scale their output
        values = (torch.cat([v for _, _, v in self.written]) * scale).to(vectors)
        return vectors.index_put((rows, columns), values)


class TextAttention:
    """A self-attention layer of a CLIP text encoder, to which keys and values can be added."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.heads, self.width = int(layer.num_heads), int(layer.head_dim)

    @contextmanager
    def with_prefix(self, key: Tensor, value: Tensor, scale: float, on: Callable[[], bool]) -> Iterator[None]:
        """Context in which each head attends to one more key and value from every position.

        key, value: [heads, width]
        scale: 0 leaves the layer's output unchanged, 1 replaces it with the one that attends to the prefix
        on: returns whether the prefix acts in this pass
        """

        def hook(layer: Any, args: Any, kwargs: Any, out: Any) -> Any:
            if not on():
                return out
            hidden = args[0] if args else kwargs["hidden_states"]
            new = self._attended(hidden, key, value)
            return (torch.lerp(out[0], new.to(out[0]), scale), *out[1:])

        handle = self.layer.register_forward_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def watched(self, keep: Callable[[Tensor], None]) -> Iterator[None]:
        """Context in which every pass hands the layer's attention maps [rows, heads, L, L] to `keep`."""

        def hook(layer: Any, args: Any, kwargs: Any, out: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            rows, length, _ = hidden.shape
            q, k = (
                p(hidden).view(rows, length, self.heads, self.width).transpose(1, 2)
                for p in (layer.q_proj, layer.k_proj)
            )
            later = torch.ones(length, length, dtype=torch.bool, device=hidden.device).triu(1)
            keep((q @ k.mT * self.width**-0.5).masked_fill(later, float("-inf")).softmax(-1))

        handle = self.layer.register_forward_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _attended(self, hidden: Tensor, key: Tensor, value: Tensor) -> Tensor:
        layer, (rows, length, _) = self.layer, hidden.shape

        def heads(x: Tensor) -> Tensor:
            return x.view(rows, length, self.heads, self.width).transpose(1, 2)

        q, k, v = (heads(project(hidden)) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
        first = (x.to(k)[None, :, None].expand(rows, -1, -1, -1) for x in (key, value))
        k, v = (torch.cat([front, x], 2) for front, x in zip(first, (k, v), strict=True))
        logits = q @ k.mT * self.width**-0.5
        later = torch.ones(length, length, dtype=torch.bool, device=hidden.device).triu(1)
        logits = logits.masked_fill(torch.nn.functional.pad(later, (1, 0)), float("-inf"))
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, -1)
        states: Tensor = layer.out_proj(out)
        return states


_SYNTAX = re.compile(
    r"\([^()]*:\s*-?\d*\.?\d+\s*\)"  # (red:1.4)
    r"|\(\(.*?\)\)"  # ((red))
    r"|\[[^\[\]]*[|:][^\[\]]*\]"  # [red|blue], [red:blue:0.5]
    r"|\{[^{}]*\|[^{}]*\}"  # {red|blue}
    r"|\b(?:BREAK|AND)\b"
    r"|__[\w/-]+__"  # __color__
    r"|(?<=[\w)\"])(?:\+{1,8}|-{2,8})(?=[\s,.]|$)"  # red++
)
"""Weights, schedules, choices and breaks in the prompt syntax of other tools."""


def literal_syntax(prompts: Sequence[str]) -> list[str]:
    """Parts of prompts that other tools read as commands and limner reads as plain text, each once."""
    return list(dict.fromkeys(part for prompt in prompts for part in _SYNTAX.findall(prompt)))


def _pieces(prompt: str, words: Mapping[str, Tensor]) -> list[str]:
    if not words:
        return [prompt]
    return re.split("(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")", prompt)
