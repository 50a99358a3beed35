"""Picture tokens of their own for each layer, through keys and values beside the text's (CustomContrast,
arXiv:2409.05606)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from limner.core.types import Live
from limner.parts.attention.regions import within_region
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import Kept, prefixed, taken, under
from limner.parts.modifiers.states import other_words

from .words_of_pictures import nouns_read

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass
    from limner.parts.encoders.qformer import QueryFormer

TOKENS, WHOLE = "layered tokens", "image token"


@dataclass(frozen=True)
class layered_attention:
    """In every cross-attention layer, out = attention(Q, K_text, V_text) + scale * attention(Q, K_i, V_i).

    K_i and V_i come from that layer's own tokens (arXiv:2409.05606). A Querying Transformer makes them, for all layers
    at once, from states [B, R, L, F] of R pictures and the noun's vectors; pictures are averaged. V_i is zero at first.
    One more query stands for the whole picture. A run keeps "layered tokens" [rows, sites, tokens * width] and "image
    token" [rows, D], which is comparable with texts' features, for objectives.

    In prompts the handle is read as the noun. With `location` above 0, sampling gives tokens a smaller weight outside
    the noun's attention: 1 - location * (1 - t / T) * (1 - m), with m the noun's own attention map at that layer over
    its mean, at most 1. In a layer without attention to the noun (at most 1e-8) all weights are 1.

    subject: the subject; its handle is read as its noun
    look: base and references -> hidden states [B, R, L, F]
    former: shape of the Querying Transformer
    tokens: tokens of each layer
    scale: weight of the attention to them
    location: strength of the restriction to the noun's attention in sampling, from 0 to 1
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look
    former: QueryFormer
    tokens: int = 2
    scale: float = 1.0
    location: float = 0.0
    name: str = "layered"

    @property
    def like(self) -> str:
        return self.subject.noun

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix = f"{self.name}."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        sites = [site.name for site in base.sites if site.kind == "cross"]
        own = taken(self._start(base, features.shape[-1], generator), given, base, what="the layers' tokens")
        live = Live(prefixed(prefix, {**own, "features": features}))
        word = {self.subject.handle: base.word_vectors(self.subject.noun)}
        live.words |= word
        strength, cache = scale * self.scale, Kept()

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "cross" and live.on:
                made, on = self._tokens(base, call.run, len(call.query), features, own, cache)
                mine = made[:, sites.index(call.site.name)]
                key, value = (mine @ own[f"{call.site.name}.{part}"].T for part in ("key", "value"))
                weight = strength * on.to(mine)[:, None, None, None] * self._where(base, call, word)
                weight = weight * within_region(call, self.subject.handle)
                call.beside.append((call.heads(key), call.heads(value), weight))
            return call

        if strength:
            live.operations = (operation,)
        yield live

    def _shape(self, base: Base) -> QueryFormer:
        sites = sum(site.kind == "cross" for site in base.sites)
        return replace(self.former, queries=sites * self.tokens + 1)

    def _start(self, base: Base, places: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        from .query_words import compared_width

        wide = self.former.width
        parameters = self._shape(base).start(places, base.word_table().shape[1], generator)
        for site in (site for site in base.sites if site.kind == "cross"):
            out = base.key_value(site)[0].weight.shape[0]
            parameters[f"{site.name}.key"] = torch.randn(out, wide, generator=generator) / wide**0.5
            parameters[f"{site.name}.value"] = torch.zeros(out, wide)
        return parameters | {"whole": torch.randn(compared_width(base), wide, generator=generator) / wide**0.5}

    def _tokens(
        self, base: Base, run: Pass, rows: int, features: Tensor, own: Mapping[str, Tensor], cache: Kept
    ) -> tuple[Tensor, Tensor]:
        """[rows, sites, tokens, width], and [rows] bool: rows with pictures. Made once in a run, and once in a
        sampling."""
        import torch

        if id(self) in run.cache:
            tokens_and_rows: tuple[Tensor, Tensor] = run.cache[id(self)]
            return tokens_and_rows
        seen, on = looked_at_by_rows(base, run, self.look, features, rows)
        cache.check(own.values())
        still = run.references is None and not torch.is_grad_enabled()
        if not still or "tokens" not in cache.values:
            which = list(range(rows)) if run.references is not None else [0]
            asked = self.asked(base, own, seen[which], nouns_read(base, run, which, self.subject))
            cache.values["tokens"] = asked
        made, whole = cache.values["tokens"]
        run.activations[TOKENS], run.activations[WHOLE] = made.flatten(2), whole
        run.cache[id(self)] = made.expand(rows, -1, -1, -1), on
        return self._tokens(base, run, rows, features, own, cache)

    def asked(self, base: Base, own: Mapping[str, Tensor], seen: Tensor, nouns: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens [B, sites, tokens, width] and the whole picture's [B, D], from states [B, R, L, F] and noun vectors
        [n, D]."""
        import torch

        count, words = seen.shape[1], torch.nn.utils.rnn.pad_sequence(nouns, batch_first=True)
        tokens = self._shape(base)(own, seen.flatten(0, 1), words.repeat_interleave(count, 0))
        mean = tokens.unflatten(0, (-1, count)).mean(1)
        return mean[:, 1:].unflatten(1, (-1, self.tokens)), mean[:, 0] @ own["whole"].T

    def _where(self, base: Base, call: AttentionCall, words: Mapping[str, Tensor]) -> Tensor | float:
        """[rows, 1, N, 1]: weight of the tokens at each position."""
        import torch

        run = call.run
        if not self.location or run.random is not None or run.time is None:
            return 1.0
        key: Any = (id(self), "places")
        if key not in run.cache:
            handle = self.subject.handle
            run.cache[key] = [
                (base.word_places(text, handle, words={**other_words(run, row, but=handle), **words}) or [-1])[0]
                for row, text in enumerate(run.prompts)
            ]
        places = torch.tensor(run.cache[key], device=call.query.device)
        maps = ((call.query * call.query.shape[-1] ** -0.5) @ call.key.mT).float().softmax(-1).mean(1)  # [rows, N, M]
        read = maps.gather(2, places.clamp_min(0).view(-1, 1, 1).expand(-1, maps.shape[1], 1))[..., 0]
        mean = read.mean(1, keepdim=True)
        there = (read / mean.clamp_min(1e-8)).clamp(max=1)
        there = torch.where(mean > 1e-8, there, 1.0)  # no restriction in a layer without attention to the noun
        late = 1 - run.time.to(there).view(-1, 1) / base.num_train_times
        weight = torch.where(places[:, None] < 0, 1.0, 1 - self.location * late * (1 - there))
        return weight[:, None, :, None].to(call.query)
