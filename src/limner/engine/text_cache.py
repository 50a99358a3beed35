"""A cache of text-encoder hidden states, valid while the weights of text encoders and the vectors of words are
unchanged."""

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
"""Number of prompts in each pass of the text encoder. It is always the same, so that the bits of a prompt's hidden
states do not depend on the other prompts."""


class _Texts:
    """Hidden states of texts for one base, and the version of the text encoders that they were computed with."""

    def __init__(self) -> None:
        self.towers: tuple[Any, ...] = ()
        self.recent: LRU[Tensor] = LRU(TEXT_BYTES)


_texts: WeakKeyDictionary[Base, _Texts] = WeakKeyDictionary()


def read_texts(base: Base, texts: Sequence[str], *, words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text -> its hidden states [L, D], without gradients, from the cache or computed now. The cache is not used while
    a hook of an attached modifier acts in a text encoder."""
    cache, now = _texts.setdefault(base, _Texts()), _towers(base)
    if now and now != cache.towers:
        cache.recent.clear()
    keys = _keys(texts, words) if now else {}
    states_by_text = {text: states for text, key in keys.items() if (states := cache.recent.get(key)) is not None}
    new = sorted(set(texts) - states_by_text.keys())
    for start in range(0, len(new), GROUP):
        part = new[start : start + GROUP]
        padded = part + [""] * (GROUP - len(part))
        with torch.no_grad():
            states_by_text.update(zip(part, base.text_states(padded, words=words).clone().unbind(), strict=False))
    if not now:
        return states_by_text
    cache.towers = _towers(base) if new else now  # an offloaded text encoder has been moved by the pass
    for text in new:
        cache.recent.put(
            keys[text], states_by_text[text].clone(), states_by_text[text].numel() * states_by_text[text].element_size()
        )
    return states_by_text


def _towers(base: Base) -> tuple[Any, ...]:
    """The version of the text encoders: equal only while no weight is replaced or written to; empty where a hook acts
    in one of them."""
    kind = base.device.type
    versions: list[Any] = [torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)]
    for part in base.parts:
        if part in ("denoiser", "autoencoder", "second_stage"):
            continue
        module = base.module(part)
        hooks = (h for m in module.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
        if any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks):
            return ()  # hooks of transformers itself only record values
        for tensor in (*module.parameters(), *module.buffers()):
            versions.append(version_of(tensor))
    return tuple(versions)


def _keys(texts: Sequence[str], words: Mapping[str, Tensor]) -> dict[str, str]:
    """Text -> its key in the cache: the text with each learned word replaced by a hash of the word's vectors, so that a
    key does not depend on the names of words."""
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
