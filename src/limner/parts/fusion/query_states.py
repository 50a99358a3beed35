"""Learned output queries: a multimodal language model writes the conditions and explains them (CAFE,
arXiv:2312.03045)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.recipe import Objective
from limner.parts.encoders.looks import Look, alone, each_of
from limner.parts.encoders.multimodal import PICTURE, Multimodal, multimodal, multimodal_places
from limner.parts.modifiers.states import tensors_of

from .multimodal_states import FEATURES, block, matrix, new_block

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted, Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.parts.modifiers.states import changed_states


@dataclass(frozen=True)
class query_states:
    """A `Writer`: the model is asked for a new picture; its states at learned vectors behind the request are the
    conditions.

    There is one vector for each hidden state that the denoiser reads. Their states pass a layer of attention among them
    and two linear maps (arXiv:2312.03045).

    model: folder or hub id of the multimodal model; empty is the base's own
    rank: rank of the low-rank change of the language model, which is trained as well
    width: width between the two linear maps
    """

    interleaved: ClassVar[bool] = False

    model: str = ""
    rank: int = 16
    width: int = 384

    def start(self, base: Base, reader: Multimodal, generator: Generator) -> dict[str, Tensor]:
        import torch

        length, wide = base.text_positions, base.states_shape[1]
        spread = float(reader.model.get_input_embeddings().weight.float().std())
        parameters = {
            "queries": spread * torch.randn(length, reader.width, generator=generator),
            "first": matrix(self.width, reader.width, generator),
            "second": matrix(wide, self.width, generator),
        }
        parameters |= new_block("layer", reader.width, generator)
        return parameters | (reader.factors(self.rank, generator) if self.rank else {})

    def text(self, reader: Multimodal, prompt: str, word: str, noun: str, *, shown: bool) -> str:
        text = reader.asked("new picture", prompt=prompt.replace(word, f"a {noun}"), noun=noun)
        return text if shown else text.replace(PICTURE, "").strip()

    def states(
        self,
        own: Mapping[str, Tensor],
        reader: Multimodal,
        texts: Sequence[str],
        seen: Tensor | Sequence[Tensor] | None,
    ) -> Tensor:
        import torch
        import torch.nn.functional as F

        queries = own["queries"]
        rows = [torch.cat([row, queries.to(row)]) for row in reader.vectors(texts, seen)]
        with reader.changed(own):
            states, _ = reader.states(rows)
        x = torch.stack([states[k, len(row) - len(queries) : len(row)] for k, row in enumerate(rows)])
        x = block(own, "layer", x, x[:, :0], x.new_ones(len(x), 0).bool())
        return F.linear(F.gelu(F.linear(F.layer_norm(x, x.shape[-1:]), own["first"])), own["second"])


def like_text_tower(source: Source, fusion: changed_states, writer: query_states) -> Objective:
    """MSE between the writer's states and the text encoder's states of the prompt with the subject's looks in words.

    It is a start from which the denoiser understands the states. Rows without pictures and texts alone count, with the
    noun only.

    source: batches with references and captions
    fusion: the modifier with the writer
    writer: the map to hidden states
    """

    def value(step: Step) -> Tensor:
        import torch

        base, prompts, shown = step.adapted.base, step.batch.prompts, step.batch.references
        reader, own = multimodal(base, writer.model), tensors_of(step.adapted, fusion)
        rows = [(prompt, "", "", False) for prompt in prompts]
        if shown is not None:
            rows = list(zip(prompts, shown.nouns, shown.looks, map(bool, shown.on), strict=True))
        texts = [writer.text(reader, prompt, fusion.word, noun, shown=on) for prompt, noun, _, on in rows]
        descriptions = [prompt.replace(fusion.word, looks if on else f"a {noun}") for prompt, noun, looks, on in rows]
        with torch.no_grad():
            seen = None if shown is None else _look(writer)(base, shown)[:, 0]
            wanted = base.text_states(descriptions, words={})[:, : base.text_positions]
        return (writer.states(own, reader, texts, seen).float() - wanted.float()).square().mean()

    return Objective(f"like the text tower({source.name})", source, value, any_target=True)


def _look(writer: query_states) -> Look:
    """The subject alone on a plain background, in the multimodal model's size."""
    return alone(each_of(multimodal_places(writer.model)))


def explanation(source: Source, fusion: changed_states, writer: query_states) -> Objective:
    """Cross-entropy of the model's explanation: the prompt, with the subject's looks in place of its token.

    For example "a red spotted dog, now on the beach". Rows count that have a picture and a prompt.

    source: batches with references and captions
    fusion: the modifier with the writer
    writer: the map to hidden states
    """

    def value(step: Step) -> Tensor:
        import torch

        shown, base = step.batch.references, step.adapted.base
        assert shown is not None
        rows = [k for k, prompt in enumerate(step.batch.prompts) if prompt and bool(shown.on[k])]
        if not rows:
            return torch.zeros((), device=base.device)
        reader, own = multimodal(base, writer.model), tensors_of(step.adapted, fusion)
        seen = _look(writer)(base, shown)[rows, 0]
        prompts = [step.batch.prompts[row] for row in rows]
        nouns, looks = ([column[row] for row in rows] for column in (shown.nouns, shown.looks))
        texts = [writer.text(reader, p, fusion.word, n, shown=True) for p, n in zip(prompts, nouns, strict=True)]
        answers = [explained(p, fusion.word, look) for p, look in zip(prompts, looks, strict=True)]
        with reader.changed(own):
            loss, _ = reader.likelihood(texts, answers, seen)
        return loss

    return Objective(f"explanation({source.name})", source, value, any_target=True, across=True)


def explained(prompt: str, word: str, looks: str) -> str:
    """A template's explanation: "a photo of <rex> on the beach" -> "a photo of a red dog, now on the beach".

    prompt: the prompt
    word: the subject in it
    looks: the subject's looks in words
    """
    return prompt.replace(word, f"{looks}, now").removesuffix(", now")


def explain(adapted: Adapted, fusion: changed_states, writer: query_states, prompt: str, *, noun: str) -> str:
    """The explanation of a concept for the requested picture.

    adapted: the base with the concept attached
    fusion: the modifier with the writer
    writer: the map to hidden states
    prompt: the prompt
    noun: the class noun
    """
    reader, own = multimodal(adapted.base, writer.model), tensors_of(adapted, fusion)
    text = writer.text(reader, prompt, fusion.word, noun, shown=True)
    with reader.changed(own):
        return reader.says(reader.vectors([text], own[FEATURES][:, 0]))[0]
