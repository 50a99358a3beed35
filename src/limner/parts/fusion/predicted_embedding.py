"""An image embedding predicted from the prompt and its references, for cross-attention (lambda-ECLIPSE,
arXiv:2402.05195)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.core.types import Live, split
from limner.parts.attention.followed import noun_places
from limner.parts.encoders.clip import clip_global
from limner.parts.encoders.looks import alone, each_of, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import Kept, prefixed, taken, under

from .decoupled_cross_attention import decoupled_cross_attention

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

PREFIX, FEATURES = "predictor.", "predictor.features"
LOOK = alone(each_of(clip_global))
PREDICTS = "predicts the image embedding"  # key in a run's cache: the modifier whose prediction is read


@dataclass(frozen=True)
class predicted_embedding:
    """Keys and values as of `decoupled_cross_attention`, from an embedding that a network predicts in one pass.

    The network reads the text encoder's hidden states of the prompt, with the mean CLIP embedding of each subject's
    references, alone on a plain background, in place of its noun's first token; the prompt's text embedding; and a
    learned query. Its output at the query is the CLIP image embedding of the target picture (Sec. 4.1 of
    arXiv:2402.05195). Several such subjects of a prompt share that one prediction. Negative branches and rows without
    references read an embedding of zeros. A stage that trains the image branch gives it the references' own embedding,
    so it learns to reconstruct a picture from its embedding, as an unCLIP decoder does.

    subject: the subject; its pictures replace its noun
    tokens: number of states that the embedding becomes
    layers: layers of the network
    width: width of the network
    heads: attention heads of the network
    scale: strength of the image branch
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross", "joint")

    subject: Subject
    tokens: int = 4
    layers: int = 4
    width: int = 128
    heads: int = 4
    scale: float = 1.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        fusion = decoupled_cross_attention(
            self.subject, clip_global, self.tokens, self.scale, states=lambda *given: self._states(*given)
        )
        with fusion(base, stored=stored, generator=generator, scale=scale) as live:
            live.offers[FEATURES] = self.subject.noun, live.tensors[FEATURES]
            own = live.operations

            def operation(call: AttentionCall) -> AttentionCall:
                if call.run.cache.setdefault(PREDICTS, live) is live:
                    for op in own:
                        call = op(call)
                return call

            if own:
                live.operations = (operation,)
            yield live

    def _states(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch
        import torch.nn.functional as F

        features, wide = looked_at(base, self.subject, LOOK, stored, FEATURES), base.attended_width
        dim = features.shape[-1]
        start = prefixed(PREFIX, self._start(base, dim, generator))
        start |= {"image.projection.weight": _matrix(self.tokens * wide, dim, generator)}
        start |= {"image.projection.bias": torch.zeros(self.tokens * wide)}
        start |= {"image.norm.weight": torch.ones(wide), "image.norm.bias": torch.zeros(wide)}
        parameters = taken(start, stored, base, what="the predicted embedding")
        cache = Kept()

        def make(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            cache.check(parameters.values())
            still = run.random is None and not torch.is_grad_enabled()
            key = run.prompts, run.branches, rows
            embedding = cache.values.get(key) if still else None
            if embedding is None:
                embedding = self._predicted(base, own, run, rows)
                if still:
                    cache.values[key] = embedding
            flat = F.linear(embedding, own["image.projection.weight"], own["image.projection.bias"])
            states = flat.view(rows, self.tokens, wide)
            return F.layer_norm(states, (wide,), own["image.norm.weight"], own["image.norm.bias"])

        return {**parameters, FEATURES: features}, make

    def _predicted(self, base: Base, own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
        """[rows, D]; zeros in rows without references."""
        import torch

        if run.references is not None and own["image.projection.weight"].requires_grad:
            return clip_global(base, run.references.first) * run.references.on.to(base.device)[:, None]
        features, on = looked_at_by_rows(base, run, LOOK, own[FEATURES], rows)
        seen = on.nonzero().flatten().tolist()
        embeddings = features.new_zeros(rows, features.shape[-1])
        if not seen:
            return embeddings
        nouns = run.references.nouns if run.references is not None else [self.subject.noun] * rows
        others = _others(run, nouns[0]) if run.references is None else {}
        shown = [{nouns[row]: features[row].mean(0), **others} for row in seen]
        made = self.predict(base, own, [run.prompts[row] for row in seen], shown)
        return embeddings.index_copy(0, torch.tensor(seen, device=embeddings.device), made.to(embeddings))

    def predict(
        self, base: Base, own: Mapping[str, Tensor], prompts: Sequence[str], shown: Sequence[Mapping[str, Tensor]]
    ) -> Tensor:
        """[B, D]: the image embedding of a new picture, from prompts and the embeddings [D] in place of their nouns.

        A subject whose noun is not in its prompt stands before the query instead, so a picture alone is possible.
        """
        import torch
        import torch.nn.functional as F

        inner = under(PREFIX, own)
        with torch.no_grad():
            states = base.text_states(list(prompts), words={})
            pooled = base.text_features(list(prompts), words={})
        x = F.linear(F.layer_norm(states, states.shape[-1:]), inner["text"])  # [B, L, width]
        x = x + inner["positions"][: x.shape[1]]
        rows, bare = [], []
        for row, (prompt, pictures) in enumerate(zip(prompts, shown, strict=True)):
            line, apart = x[row], torch.zeros_like(inner["query"])
            for noun, embedding in pictures.items():
                put = F.linear(_unit(embedding), inner["image"])
                places = noun_places(base, prompt, noun) if noun else []
                if places:
                    at = torch.tensor(places[:1], device=line.device)
                    line = line.index_copy(0, at, (put + inner["positions"][at[0]])[None].to(line))
                else:
                    apart = apart + put
            rows.append(line)
            bare.append(apart)
        words = F.linear(_unit(pooled), inner["pooled"])
        end = torch.stack([words, inner["query"] + torch.stack(bare)], 1)
        hidden = torch.cat([torch.stack(rows), end], 1)
        for k in range(self.layers):
            hidden = self._layer(under(f"{k}.", inner), hidden)
        last = F.layer_norm(hidden[:, -1], (self.width,))
        return F.linear(last, inner["out"], inner["out.bias"])

    def _layer(self, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        import torch.nn.functional as F

        normed = F.layer_norm(x, (self.width,))
        query, key, value = (split(part, self.heads) for part in F.linear(normed, own["qkv"]).chunk(3, -1))
        attention = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + F.linear(attention, own["merge"])
        inner = F.linear(F.gelu(F.linear(F.layer_norm(x, (self.width,)), own["first"], own["bias"])), own["second"])
        return x + inner

    def _start(self, base: Base, dim: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        rows, wide = base.states_shape
        width = self.width
        parameters = {"text": _matrix(width, wide, generator), "image": _matrix(width, dim, generator)}
        parameters |= {"pooled": _matrix(width, _text_width(base), generator), "query": _matrix(1, width, generator)[0]}
        parameters |= {"positions": 0.02 * torch.randn(rows, width, generator=generator)}
        parameters |= {"out": _matrix(dim, width, generator), "out.bias": torch.zeros(dim)}
        for k in range(self.layers):
            parameters |= {
                f"{k}.qkv": _matrix(3 * width, width, generator),
                f"{k}.merge": _matrix(width, width, generator),
                f"{k}.first": _matrix(4 * width, width, generator),
                f"{k}.bias": torch.zeros(4 * width),
                f"{k}.second": _matrix(width, 4 * width, generator),
            }
        return parameters


def embedding_regression(
    source: Source, part: predicted_embedding, *, contrast: float = 0.2, temperature: float = 0.07
) -> Objective:
    """|f(c) - z|^2 / |z|^2 + contrast * InfoNCE(f(c), text embeddings of the captions), z the target's CLIP embedding.

    Source: Eq. 2 of arXiv:2402.05195. Rows with a caption count, also those without references, which the network reads
    as text alone; rows of equal captions are no negatives of each other.

    source: pairs of references and targets
    part: the modifier whose network predicts
    contrast: weight of the contrastive term
    temperature: divisor of the cosines, above 0
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        references, base = step.batch.references, step.adapted.base
        assert references is not None
        rows = [k for k, prompt in enumerate(step.batch.prompts) if prompt]
        if not rows:
            return torch.zeros((), device=base.device)
        own, prompts = step.adapted.live[part].tensors, [step.batch.prompts[row] for row in rows]
        with torch.no_grad():
            seen = LOOK(base, references.of(rows)).mean(1)
            wanted = base.picture_features(base.decode(step.batch.latents[rows])).float()
            captions = base.text_features(prompts, words={}).float()
        shown = [
            {references.nouns[row]: embedding} if references.on[row] else {}
            for row, embedding in zip(rows, seen, strict=True)
        ]
        made = part.predict(base, own, prompts, shown).float()
        far = ((made - wanted).square().sum(-1) / wanted.square().sum(-1)).mean()
        near = F.normalize(made, dim=-1) @ F.normalize(captions, dim=-1).T / temperature
        same = torch.tensor([[a == b for b in prompts] for a in prompts], device=near.device)
        target = same.float() / same.sum(1, keepdim=True)
        both = F.cross_entropy(near, target) + F.cross_entropy(near.T, target)
        return far + contrast * both / 2

    return Objective(
        f"embedding regression({source.name})", source, value, any_target=True, across=True, needs=(text_features,)
    )


def _others(run: Pass, noun: str) -> dict[str, Tensor]:
    """The embeddings of other attached modifiers, by noun."""
    offers = [live.offers[FEATURES] for live in run.lives if live.on and FEATURES in live.offers]
    return {other: features[0].mean(0) for other, features in offers if other != noun}


def _text_width(base: Base) -> int:
    return int(base.text_features([""], words={}).shape[-1])


def _matrix(out: int, into: int, generator: Generator) -> Tensor:
    import torch

    return torch.randn(out, into, generator=generator) / into**0.5


def _unit(x: Tensor) -> Tensor:
    """Embeddings scaled to a length of sqrt(D), so that their entries have a standard deviation of 1."""
    import torch.nn.functional as F

    return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5
