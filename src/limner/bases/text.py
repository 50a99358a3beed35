"""Text states of CLIP text towers, with learned words written into prompts.

A learned word such as `<rex>` never enters the tokenizer or the embedding table: its place in the prompt holds a
stand-in token whose input vector is replaced while the tower runs. So a base has nothing to undo, and a prompt without
learned words takes the stock path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from limner.errors import PromptError

if TYPE_CHECKING:
    from torch import Tensor


def token_ids(tokenizer: Any, prompt: str, *, words: Mapping[str, Tensor]) -> tuple[list[int], list[tuple[int, str]]]:
    """Token ids without begin and end, and where each learned word starts. A word of n vectors takes n places."""
    ids: list[int] = []
    places: list[tuple[int, str]] = []
    for piece in _pieces(prompt, words):
        if piece in words:
            places.append((len(ids), piece))
            ids += [tokenizer.eos_token_id] * len(words[piece])
        elif piece.strip():
            ids += tokenizer(piece, add_special_tokens=False).input_ids
    return ids, places


def text_states(tokenizer: Any, tower: Any, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states [B, L, D] of a CLIP text tower. Raises `PromptError` for prompts that are too long."""
    length = tokenizer.model_max_length
    rows, written = [], []
    for row, prompt in enumerate(prompts):
        ids, places = token_ids(tokenizer, prompt, words=words)
        if len(ids) > length - 2:
            raise PromptError(
                f"the prompt has {len(ids)} tokens and this base reads at most {length - 2}: shorten {prompt!r}; nothing was cut"
            )
        ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        rows.append(ids + [tokenizer.pad_token_id] * (length - len(ids)))
        written += [(row, start + 1, words[word]) for start, word in places]
    batch = torch.tensor(rows, device=tower.device)
    with _replacing(tower.get_input_embeddings(), written):
        states: Tensor = tower(batch, attention_mask=None).last_hidden_state
    return states


class _replacing:
    """While inside, the embedding's output holds the given vectors at the given places."""

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
        values = torch.cat([v for _, _, v in self.written]).to(vectors)
        return vectors.index_put((rows, columns), values)


class TextAttention:
    """A self-attention layer of a CLIP text tower, to which keys and values can be added."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.heads, self.width = int(layer.num_heads), int(layer.head_dim)

    @contextmanager
    def with_prefix(self, key: Tensor, value: Tensor, scale: float, on: Callable[[], bool]) -> Iterator[None]:
        """While inside, each head also attends to `key` with `value` [heads, width], from every place; the output moves to
        that by `scale`."""

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
        found: Tensor = layer.out_proj(out)
        return found


def _pieces(prompt: str, words: Mapping[str, Tensor]) -> list[str]:
    if not words:
        return [prompt]
    return re.split("(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")", prompt)
