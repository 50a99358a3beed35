"""Vectors of a multimodal language model that is about to describe the new picture (MoMA, arXiv:2404.05674)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.parts.encoders.looks import Look, alone, each_of, looked_at, looked_at_by_rows
from limner.parts.encoders.multimodal import Multimodal, multimodal, multimodal_places
from limner.parts.modifiers.parameters import Kept, taken

from .multimodal_states import matrix, noun_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Modifier, Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import Pass

FEATURES = "image.features"


@dataclass(frozen=True)
class multimodal_features:
    """For `decoupled_cross_attention`: features of the new picture from a multimodal language model.

    The model reads the subject alone on a plain background and is asked for a new picture of it in the prompt (Sec. 3.2
    of arXiv:2404.05674). Its last state, from which the answer would begin, passes a gated layer that predicts picture
    features as wide as CLIP's, and those a linear map to vectors, normalised. Rows without pictures have a state of
    zeros; several pictures are averaged.

    subject: the subject whose pictures are used in sampling
    tokens: number of vectors
    rank: rank of the low-rank change of the language model, trained to generate features; 0 leaves it unchanged
    model: folder or hub id of the multimodal model; empty is the base's own
    """

    subject: Subject
    tokens: int = 4
    rank: int = 8
    model: str = ""

    @property
    def look(self) -> Look:
        return alone(each_of(multimodal_places(self.model)))

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch
        import torch.nn.functional as F

        reader = multimodal(base, self.model)
        features, wide = looked_at(base, self.subject, self.look, stored, FEATURES), base.attended_width
        parameters = taken(self._start(base, reader, wide, generator), stored, base, what="the multimodal features")
        cache = Kept()

        def states(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            cache.check(parameters.values())
            still = run.random is None and not torch.is_grad_enabled()
            made = cache.values.get((run.prompts, run.branches)) if still else None
            if made is None:
                seen, on = looked_at_by_rows(base, run, self.look, own[FEATURES], rows)
                made = self._features(own, reader, run, seen, on)
                if still:
                    cache.values[run.prompts, run.branches] = made
            flat = F.linear(made, own["image.projection.weight"], own["image.projection.bias"])
            states = flat.view(rows, self.tokens, wide)
            return F.layer_norm(states, (wide,), own["image.norm.weight"], own["image.norm.bias"])

        return {**parameters, FEATURES: features}, states

    def _start(self, base: Base, reader: Multimodal, wide: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        size = base.picture_size
        width = base.picture_features(torch.zeros(1, 3, size, size, device=base.device)).shape[-1]
        parameters = {
            "image.gate": matrix(width, reader.width, generator),
            "image.up": matrix(width, reader.width, generator),
            "image.down": matrix(width, width, generator),
            "image.projection.weight": matrix(self.tokens * wide, width, generator),
            "image.projection.bias": torch.zeros(self.tokens * wide),
            "image.norm.weight": torch.ones(wide),
            "image.norm.bias": torch.zeros(wide),
        }
        change = reader.factors(self.rank, generator) if self.rank else {}
        return parameters | {f"image.{name}": tensor for name, tensor in change.items()}

    def _features(self, own: Mapping[str, Tensor], reader: Multimodal, run: Pass, seen: Tensor, on: Tensor) -> Tensor:
        """[rows, D]: features for picture vectors [rows, R, places, width]; zeros in rows without pictures."""
        import torch

        rows = on.nonzero().flatten().tolist()
        if not rows:
            return seen.new_zeros(len(seen), own["image.down"].shape[0])
        nouns, prompts = [noun_of(run, row, self.subject) for row in rows], [run.prompts[row] for row in rows]
        made = self.features(own, reader, prompts, nouns, seen[rows])
        return made.new_zeros(len(seen), made.shape[1]).index_copy(0, torch.tensor(rows, device=made.device), made)

    def features(
        self, own: Mapping[str, Tensor], reader: Multimodal, prompts: Sequence[str], nouns: Sequence[str], seen: Tensor
    ) -> Tensor:
        """[rows, D]: features of a new picture in each prompt, of the subject with picture vectors [rows, R, places,
        width]."""
        import torch.nn.functional as F

        texts = [reader.asked("new picture", prompt=p, noun=n) for p, n in zip(prompts, nouns, strict=True)]
        with reader.changed({name.removeprefix("image."): tensor for name, tensor in own.items()}):
            parts = [_ends(reader, texts, seen[:, k]) for k in range(seen.shape[1])]
        last = sum(parts[1:], parts[0]) / len(parts)
        hidden = F.silu(F.linear(last, own["image.gate"])) * F.linear(last, own["image.up"])
        return F.linear(hidden, own["image.down"])


def _ends(reader: Multimodal, texts: Sequence[str], seen: Tensor) -> Tensor:
    """[rows, width]: the last state of each text."""
    import torch

    vectors = reader.vectors(texts, seen)
    states, _ = reader.states(vectors)
    return torch.stack([states[k, len(row) - 1] for k, row in enumerate(vectors)])


def feature_regression(source: Source, fusion: Modifier, part: multimodal_features) -> Objective:
    """Squared distance of the predicted features to CLIP's embedding of the batch's own pictures, relative to its
    length.

    Rows count that have a picture and a prompt.

    source: batches with references
    fusion: the modifier
    part: the part whose features count
    """

    def value(step: Step) -> Tensor:
        import torch

        shown, base = step.batch.references, step.adapted.base
        assert shown is not None
        rows = [k for k, prompt in enumerate(step.batch.prompts) if prompt and bool(shown.on[k])]
        if not rows:
            return torch.zeros((), device=base.device)
        reader, own = multimodal(base, part.model), step.adapted.live[fusion].tensors
        with torch.no_grad():
            wanted = base.picture_features(base.decode(step.batch.latents[rows])).float()
            seen = part.look(base, shown.of(rows))
        prompts = [step.batch.prompts[row] for row in rows]
        made = part.features(own, reader, prompts, [shown.nouns[row] for row in rows], seen).float()
        return ((made - wanted).square().sum(-1) / wanted.square().sum(-1)).mean()

    return Objective(f"feature regression({source.name})", source, value, any_target=True, across=True)
