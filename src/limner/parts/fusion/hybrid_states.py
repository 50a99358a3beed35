"""Conditions that are an image embedding and a face, without text (FaceStudio, arXiv:2312.02663)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.parts.encoders.clip import clip_global
from limner.parts.encoders.expressions import side_by_side
from limner.parts.encoders.faces import face_embedding
from limner.parts.encoders.looks import each_of, looked_at, looked_at_by_rows
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import taken
from limner.parts.modifiers.states import tensors_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.encoders.looks import Look
    from limner.parts.modifiers.states import Rewrite, changed_states

FEATURES = "features"


@dataclass(frozen=True)
class hybrid_states:
    """For `changed_states`: cross-attention reads an image embedding and a face instead of the text (hybrid guidance).

    The states are tokens of a CLIP image embedding, tokens of a face, then states of an empty prompt (Sec. 3.2 of
    arXiv:2312.02663). In training the image is the row's first picture, and the face the mean over all. In sampling the
    face is the subject's, and a prior predicts the image embedding from the prompt's text embedding, with the subject's
    noun for its handle. A dropped embedding is zeros; in the negative branch both are.

    subject: the subject; its handle is the token
    tokens: vectors for each of the two embeddings
    style: share of the subject's own pictures in the image embedding of sampling, from 0 to 1
    drop_image: probability of dropping the image in training, from 0 to 1
    drop_face: probability of dropping the face in training, from 0 to 1
    hidden: width of the perceptrons
    """

    subject: Subject
    tokens: int = 4
    style: float = 0.0
    drop_image: float = 0.64
    drop_face: float = 0.1
    hidden: int = 256

    @property
    def look(self) -> Look:
        """[B, R, D + F]: CLIP's embedding and the face's of each picture."""
        return each_of(side_by_side((clip_global, face_embedding)))

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        look, (_, wide) = self.look, base.states_shape
        features = looked_at(base, self.subject, look, stored, FEATURES)
        blank = torch.zeros(1, 3, base.picture_size, base.picture_size, device=base.device)
        image, face = clip_global(base, blank).shape[-1], face_embedding(base, blank).shape[-1]
        start = perceptron_start("image", image, self.hidden, self.tokens * wide, generator)
        start |= perceptron_start("face", face, self.hidden, self.tokens * wide, generator)
        start |= perceptron_start("prior", image, self.hidden, image, generator, spread=1 / image**0.5)
        own = {**taken(start, stored, base, what="the hybrid condition"), FEATURES: features}
        with torch.no_grad():
            nothing = base.text_states([""], words={})[0, : base.text_positions]

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            seen, on = looked_at_by_rows(base, run, look, own[FEATURES], len(run.prompts))
            pictures, faces = seen[rows].split([image, face], -1)
            if run.random is None:
                shown = self._asked(base, own, pictures.mean(1), [run.prompts[row] for row in rows])
            else:
                shown = pictures[:, 0]
            keep = [self._draw_kept_rows(run, what, len(rows)).to(on.device) & on[rows] for what in ("image", "face")]
            parts = [
                self._tokens(own, name, x * there.to(x)[:, None])
                for name, x, there in zip(("image", "face"), (shown, faces.mean(1)), keep, strict=True)
            ]
            rest = nothing[2 * self.tokens :].to(states).expand(len(rows), -1, -1)
            return torch.lerp(states, torch.cat([*parts, rest], 1).to(states), scale)

        return own, rewrite

    def _draw_kept_rows(self, run: Pass, what: str, rows: int) -> Tensor:
        """[rows] bool: rows that keep this embedding."""
        import torch

        if run.random is None:
            return torch.ones(rows, dtype=torch.bool)
        drop = self.drop_image if what == "image" else self.drop_face
        return torch.rand(rows, generator=run.random(f"drop {what}")) >= drop

    def _asked(self, base: Base, own: Mapping[str, Tensor], pictures: Tensor, prompts: list[str]) -> Tensor:
        """[rows, D]: the image embedding predicted for these prompts."""
        import torch
        import torch.nn.functional as F

        texts = [prompt.replace(self.subject.handle, self.subject.noun) for prompt in prompts]
        with torch.no_grad():
            embeddings = prior(own, base.text_features(texts, words={}).to(pictures))
        mixed = torch.lerp(embeddings, F.normalize(pictures, dim=-1), self.style)
        return F.normalize(mixed, dim=-1)

    def _tokens(self, own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, tokens, C], normalised."""
        import torch.nn.functional as F

        made = perceptron(own, name, x).unflatten(-1, (self.tokens, -1))
        return F.layer_norm(made, made.shape[-1:])


def prior(own: Mapping[str, Tensor], texts: Tensor) -> Tensor:
    """[n, D]: image embeddings of length 1, predicted from text embeddings.

    own: parameters "prior"
    texts: text embeddings [n, D]
    """
    import torch.nn.functional as F

    return F.normalize(perceptron(own, "prior", F.normalize(texts.float(), dim=-1)).float(), dim=-1)


def prior_regression(source: Source, fusion: changed_states, *, handle: str) -> Objective:
    """1 - cosine of the prior's image embedding of each caption and the image embedding of the picture that it
    describes.

    source: captioned pictures, each its own first reference
    fusion: the change with `hybrid_states`
    handle: token in captions that is replaced by the row's noun
    """

    def value(step: Step) -> Tensor:
        import torch

        shown, base = step.batch.references, step.adapted.base
        assert shown is not None
        captions = [text.replace(handle, noun) for text, noun in zip(step.batch.prompts, shown.nouns, strict=True)]
        with torch.no_grad():
            texts = base.text_features(captions, words={})
            wanted = clip_global(base, shown.first).float()
        embeddings = prior(tensors_of(step.adapted, fusion), texts)
        mean: Tensor = (1 - torch.cosine_similarity(embeddings, wanted, dim=-1)).mean()
        return mean

    return Objective(
        f"prior regression({source.name})", source, value, any_target=True, across=True, needs=(text_features,)
    )
