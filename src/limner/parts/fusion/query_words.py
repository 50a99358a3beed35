"""Tokens of pictures by a Querying Transformer that also reads the class noun (BLIP-Diffusion, arXiv:2305.14720)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.errors import FileError
from limner.parts.encoders.clip import clip_last, clip_places
from limner.parts.encoders.layers import normal
from limner.parts.encoders.looks import each_of
from limner.parts.encoders.qformer import QueryFormer
from limner.parts.modifiers.states import changed_states

from .words_of_pictures import Mapped, words_of_pictures

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass

START = 0.3
"""Length of the tokens' vectors at first, as a share of that of the base's own."""


@dataclass(frozen=True)
class query_words:
    """States [B, R, L, F] of R pictures -> a token for each query [B, queries, D], averaged over the pictures.

    Queries attend to the pictures and to the noun's vectors; a projector with a residual follows (Sec. 3.2 and 4.1 of
    arXiv:2305.14720: LN and two layers with QuickGELU between). Where tokens are not as wide as queries, a linear map
    comes before the projector. `contrast.weight` and `match.weight` are for `picture_text_contrast` and
    `picture_text_matching`.

    former: shape of the Querying Transformer
    projector: width of the projector's hidden layer
    """

    former: QueryFormer
    projector: int = 3072

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        return Mapped(
            self.start(base, shape[-1], generator), lambda own, seen, nouns, run: self.words(own, seen, nouns)
        )

    def start(self, base: Base, places: int, generator: Generator) -> dict[str, Tensor]:
        """All parameters at their start, for patch tokens of this width."""
        import torch

        def drawn(out: int, into: int) -> Tensor:
            return torch.randn(out, into, generator=generator) / into**0.5

        table, room = base.word_table().float(), max(self.former.room, base.states_shape[0])
        former = replace(self.former, room=room)
        wide, length = table.shape[1], START * float(table.std())
        parameters = former.start(places, wide, generator) | normal("projector.norm", wide)
        if wide != former.width:
            parameters["out.weight"] = length * drawn(wide, former.width)
        parameters["projector.in.weight"] = drawn(self.projector, wide)
        parameters["projector.in.bias"] = torch.zeros(self.projector)
        parameters["projector.out.weight"] = length * drawn(wide, self.projector)
        parameters["projector.out.bias"] = torch.zeros(wide)
        parameters["match.weight"] = torch.zeros(former.width)
        return parameters | {"contrast.weight": drawn(compared_width(base), former.width)}

    def words(self, own: Mapping[str, Tensor], seen: Tensor, nouns: Tensor) -> Tensor:
        """[B, queries, D] from states [B, R, L, F] and vectors [B, n, D] of nouns."""
        count = seen.shape[1]
        asked = self.former(own, seen.flatten(0, 1), nouns.repeat_interleave(count, 0))
        return self.projected(own, asked).unflatten(0, (-1, count)).mean(1)

    def projected(self, own: Mapping[str, Tensor], asked: Tensor) -> Tensor:
        """[…, D]: x + out(QuickGELU(in(LN(x)))), for queries x […, width]."""
        import torch.nn.functional as F

        x = F.linear(asked, own["out.weight"]) if "out.weight" in own else asked
        shape, weight, bias = x.shape[-1:], own["projector.norm.weight"], own["projector.norm.bias"]
        inner = F.linear(
            F.layer_norm(x, shape, weight, bias, 1e-12), own["projector.in.weight"], own["projector.in.bias"]
        )
        inner = inner * (1.702 * inner).sigmoid()
        return x + F.linear(inner, own["projector.out.weight"], own["projector.out.bias"])


@dataclass(frozen=True)
class normalised_word:
    """States [B, R, L, F] of R pictures -> one token [B, 1, D] as long as the vectors of its class noun.

    The token is the mean of `query_words` over queries, v, scaled to ||noun|| v / ||v|| (adaptive concept
    normalisation, Sec. 3.2 of arXiv:2404.14239). v itself is kept in the run as "customised embedding" [B, D].

    former: shape of the Querying Transformer
    projector: width of the projector's hidden layer
    """

    former: QueryFormer
    projector: int = 3072

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        several = query_words(self.former, self.projector)

        def vectors(own: Mapping[str, Tensor], seen: Tensor, nouns: Tensor, run: Pass) -> Tensor:
            embedding = several.words(own, seen, nouns).mean(1)  # [B, D]
            run.activations["customised embedding"] = embedding
            lengths = nouns.norm(dim=-1)  # [B, n], zero behind shorter nouns
            length = lengths.sum(1, keepdim=True) / lengths.ne(0).sum(1, keepdim=True)
            return (embedding / embedding.norm(dim=-1, keepdim=True) * length)[:, None]

        return Mapped(several.start(base, shape[-1], generator), vectors)


@dataclass(frozen=True)
class released_query_words:
    """As `query_words`, with released weights, in the shape and with the noun's vocabulary of their file.

    See `formats.blip_diffusion`. Raises `FileError` where the weights under this name are of another kind.

    noun: the class noun
    weights: name of the imported weights
    """

    noun: str
    weights: str

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        import torch

        from limner.core.weights import about_weights, weights_path
        from limner.parts.encoders.wordpieces import wordpieces

        about = about_weights(self.weights, base)
        if "former" not in about:
            raise FileError(
                f"{weights_path(self.weights, base)} was not imported: `limner import FOLDER` imports released weights"
            )
        mapper = query_words(QueryFormer(**about["former"]), about["projector"])
        start = mapper.start(base, shape[-1], generator)
        del start["match.weight"], start["contrast.weight"]
        numbers = torch.tensor([wordpieces(self.noun, about["vocabulary"])], device=base.device)
        return Mapped(start, lambda own, seen, nouns, run: mapper.words(own, seen, numbers.expand(len(seen), -1)))


def query_word(
    subject: Subject, former: QueryFormer, projector: int, *, name: str, repeats: int = 1, released: bool = False
) -> changed_states:
    """A change for which the handle is read as the tokens of `query_words`, with the noun behind them.

    subject: the subject
    former: the Querying Transformer
    projector: width of the projector's hidden layer
    name: beginning of the parameters' names
    repeats: times that a prompt is repeated, at most
    released: whether the weights are released ones, which read CLIP's patch tokens at full depth
    """
    look = each_of(clip_last if released else clip_places)
    mapper = released_query_words(subject.noun, name) if released else query_words(former, projector)
    making = words_of_pictures(subject, look, mapper, before_noun=True, repeats=repeats)
    return changed_states(subject.handle, subject.noun, making, name)


def multimodal_word(subject: Subject, former: QueryFormer, projector: int, *, name: str) -> changed_states:
    """A change for which the handle is read as the token of `normalised_word`, with the noun behind it.

    subject: the subject
    former: the Querying Transformer
    projector: width of the projector's hidden layer
    name: beginning of the parameters' names
    """
    making = words_of_pictures(subject, each_of(clip_places), normalised_word(former, projector), before_noun=True)
    return changed_states(subject.handle, subject.noun, making, name)


def compared_width(base: Base) -> int:
    """Width of the features in which a base compares texts with pictures.

    base: the base, with CLIP's image and text encoder
    """
    import torch

    size = base.picture_size
    with torch.no_grad():
        return int(base.picture_features(torch.zeros(1, 3, size, size, device=base.device)).shape[1])
