"""Text-encoder hidden states, kept while the text encoders and the words are the same to the bit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from limner.core.lru import LRU, TEXT_BYTES
from limner.core.weight_cache import version_of

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


GROUP = 4
"""Prompts read at once, always: the bits of a state must not depend on what it was read with."""


class _Texts:
    """Text states of one base, while its towers stay as they are."""

    def __init__(self) -> None:
        self.towers: tuple[Any, ...] = ()
        self.recent: LRU[Tensor] = LRU(TEXT_BYTES)


_texts: WeakKeyDictionary[Base, _Texts] = WeakKeyDictionary()


def read_texts(base: Base, texts: Sequence[str], *, words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text -> its states [L, D], without gradients: kept from before where towers and the text's words are to the bit
    what they were, or read now. While something worn acts in a tower, nothing is taken from before or kept."""
    kept, now = _texts.setdefault(base, _Texts()), _towers(base)
    if now and now != kept.towers:
        kept.recent.clear()
    keys = _keys(texts, words) if now else {}
    found = {text: states for text, key in keys.items() if (states := kept.recent.get(key)) is not None}
    new = sorted(set(texts) - found.keys())
    for start in range(0, len(new), GROUP):
        part = new[start : start + GROUP]
        padded = part + [""] * (GROUP - len(part))
        with torch.no_grad():
            found.update(zip(part, base.text_states(padded, words=words).clone().unbind(), strict=False))
    if not now:
        return found
    kept.towers = _towers(base) if new else now  # towers that wait elsewhere have moved
    for text in new:
        kept.recent.put(keys[text], found[text].clone(), found[text].numel() * found[text].element_size())
    return found


def _towers(base: Base) -> tuple[Any, ...]:
    """What the towers are made of now: equal only where no weight was replaced or written to since; empty where
    something acts in them."""
    kind = base.device.type
    found: list[Any] = [torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)]
    for part in base.parts:
        if part in ("denoiser", "autoencoder", "second_stage"):
            continue
        module = base.module(part)
        hooks = (h for m in module.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
        if any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks):
            return ()  # transformers' own only look
        for tensor in (*module.parameters(), *module.buffers()):
            found.append(version_of(tensor))
    return tuple(found)


def _keys(texts: Sequence[str], words: Mapping[str, Tensor]) -> dict[str, str]:
    """Text -> the text with each of its words as a hash of its vectors: whatever it is called, it reads the same."""
    if not words:
        return {text: text for text in texts}
    named = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
    hashes: dict[str, str] = {}

    def hashed(match: re.Match[str]) -> str:
        word = match.group()
        if word not in hashes:
            vectors = words[word].detach().cpu().contiguous()
            digest = hashlib.sha256(vectors.view(torch.uint8).numpy().tobytes()).hexdigest()
            hashes[word] = f"\0{tuple(vectors.shape)} {vectors.dtype} {digest}\0"
        return hashes[word]

    return {text: named.sub(hashed, text) for text in texts}
