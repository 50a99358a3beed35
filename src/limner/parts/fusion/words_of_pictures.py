"""Tokens made from pictures: vectors in the prompt at the subject's position, before the text encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import taken
from limner.parts.modifiers.states import AS_VECTORS, other_words, put_in, read_beside

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.parts.modifiers.states import Making, Rewrite

FEATURES = "features"


@dataclass(frozen=True)
class Mapped:
    """The map from features to tokens.

    start: parameters at their start
    vectors: parameters, features [B, …], vectors [B, n, D] of each row's noun, the run of these rows -> vectors [B, m,
        D]
    changing: whether the vectors change with the run's time, so that steps of sampling cannot share them
    """

    start: dict[str, Tensor]
    vectors: Callable[[Mapping[str, Tensor], Tensor, Tensor, Pass], Tensor]
    changing: bool = False


Mapper: TypeAlias = "Callable[[Base, tuple[int, ...], Generator], Mapped]"
"""Base, shape [1, …] of the features, generator -> the map from features to tokens."""


def words_of_pictures(
    subject: Subject, look: Look, mapper: Mapper, *, like: str = "", before_noun: bool = False, repeats: int = 1
) -> Making:
    """For `changed_states`: vectors of a mapper stand at the subject's position, and the text encoder reads the prompt
    again.

    Rows without pictures read `like`, or else the noun. The vectors are kept in the run as "picture words" [rows, m,
    D], for objectives.

    subject: the subject
    look: base and references -> features
    mapper: features -> vectors
    like: text to start from and to read without pictures; empty is the noun
    before_noun: whether that text stands behind the vectors
    repeats: times that a prompt is repeated in sampling, as far as there is room, again with the noun alone
    """

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        features = looked_at(base, subject, look, stored, FEATURES)
        mapped = mapper(base, tuple(features.shape), generator)
        parameters = taken(mapped.start, stored, base, what="the words of pictures")
        own = {**parameters, FEATURES: features}
        painted: dict[Any, tuple[Tensor, list[Tensor], list[dict[str, Tensor]]]] = {}

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            prompts = [run.prompts[row] for row in rows]
            others = [other_words(run, row, but=subject.handle) for row in rows]
            still = run.random is None and not mapped.changing and not torch.is_grad_enabled()
            key = tuple(prompts), tuple(id(vectors) for own in others for vectors in own.values())
            if still and key in painted:
                new_states, put, _ = painted[key]
                put_in(run, subject.handle, {row: _always(v) for row, v in zip(rows, put, strict=True)})
                return new_states
            seen, on = looked_at_by_rows(base, run, look, own[FEATURES], len(run.prompts))
            plain = [base.word_vectors(like)] * len(rows) if like else nouns_read(base, run, rows, subject)
            padded = torch.nn.utils.rnn.pad_sequence(plain, batch_first=True)
            vectors = mapped.vectors(own, seen[rows], padded, run.of(rows))
            run.activations["picture words"] = vectors
            put = [
                put_of(vectors[k], plain[k], shown, scale, behind=before_noun)
                for k, shown in enumerate(on[rows].tolist())
            ]
            put_in(run, subject.handle, {row: _always(v) for row, v in zip(rows, put, strict=True)})
            new_states = read_with(
                base,
                prompts,
                put,
                on[rows].tolist(),
                subject.handle,
                others,
                run,
                repeats=repeats if run.random is None else 1,
                noun=subject.noun,
            ).to(states)
            if still:
                painted.clear()
                painted[key] = new_states, put, others
            return new_states

        rewrite.composes = AS_VECTORS  # type: ignore[attr-defined]  # functions stay functions
        return own, rewrite

    return making


def nouns_read(base: Base, run: Pass, rows: list[int], subject: Subject) -> list[Tensor]:
    """The input vectors [n, D] of each row's noun.

    base: the base
    run: the run
    rows: the rows
    subject: the subject while sampling
    """
    nouns = run.references.nouns if run.references is not None else ()
    known = {noun: base.word_vectors(noun) for noun in dict.fromkeys(nouns) or (subject.noun,)}
    return [known[nouns[row] if nouns else subject.noun] for row in rows]


def _always(vectors: Tensor) -> Callable[[int], Tensor]:
    return lambda _: vectors


def put_of(vectors: Tensor, plain: Tensor, on: bool, scale: float, *, behind: bool = False) -> Tensor:
    """[n, D]: the vectors at the token's position in a row, at the adapter's strength, or those of its noun.

    vectors: the token's vectors [m, D]
    plain: the noun's vectors [n, D]
    on: whether the row has pictures
    scale: strength, 0 to 1
    behind: whether the noun's vectors follow
    """
    import torch

    if not on:
        return plain
    if scale != 1:
        vectors = torch.lerp(plain[torch.arange(len(vectors)) % len(plain)], vectors, scale)
    return torch.cat([vectors, plain]) if behind else vectors


def read_with(
    base: Base,
    prompts: list[str],
    put: Sequence[Tensor],
    on: list[bool],
    word: str,
    others: Sequence[Mapping[str, Tensor]],
    run: Pass,
    *,
    repeats: int = 1,
    noun: str = "",
) -> Tensor:
    """[rows, L, D]: hidden states of the prompts with each row's vectors at the token's position.

    base: the base
    prompts: the prompts
    put: each row's vectors
    on: whether each row has pictures
    word: the token in prompts
    others: other tokens of each row, with their vectors
    run: the run
    repeats: times that a prompt is repeated, at most
    noun: the class noun of repetitions
    """
    words, texts = {}, []
    for k, prompt in enumerate(prompts):
        name = f"{word[:-1]}.{k}>"
        words[name], text = put[k], prompt.replace(word, name)
        known = {**words, **others[k]}
        texts.append(_repeated(base, text, prompt.replace(word, noun), repeats, known) if on[k] else text)
    return read_beside(base, texts, words, others, run)


def _repeated(base: Base, text: str, again: str, most: int, words: Mapping[str, Tensor]) -> str:
    """The text followed by repetitions of `again`, as far as there is room."""
    for _ in range(most - 1):
        longer = f"{text}, {again}"
        if base.num_tokens(longer, words=words) > base.max_tokens:
            break
        text = longer
    return text
