"""Changes of the input of cross-attention: the text-encoder hidden states, after the text encoder has run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from limner.core.needs import unchanged_states
from limner.core.types import Live
from limner.errors import PromptError

from .parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.recipe import Need
    from limner.core.types import AttentionCall, Kind, Pass

Rewrite: TypeAlias = "Callable[[Mapping[str, Tensor], Tensor, list[int], Pass, float], Tensor]"
"""Parameters, states [rows, L, D], numbers of these rows in the run, the run, strength -> the states to read."""

NEXT = "<the-next-word>"
PUT, REWRITTEN = "words put in", "rows rewritten"
VECTORS, MERGED = "vectors", "merged"
"""Kinds of rewriting that compose: tokens that are vectors in the prompt, or whose own hidden states alone change."""

Making: TypeAlias = "Callable[[Base, Mapping[str, Tensor], Generator], tuple[dict[str, Tensor], Rewrite]]"
"""Base, stored tensors by name, generator -> parameters (`nn.Parameter`s are trained) and the rewriting."""


@dataclass(frozen=True)
class changed_states:
    """In rows whose prompt has the token, every cross-attention layer reads other states.

    The text encoder reads the token as the vectors of `like`, so a rewriting that changes nothing gives the states of
    `like`. The states are also rewritten in rows with a reference and an empty prompt, which show the picture alone.

    Several such tokens work together in one prompt where their rewritings are of one kind, which is named by the
    attribute `composes`: VECTORS, MERGED, or a kind of their own that reads what the others offer (`offers`).
    Any other rewriting needs a prompt of its own: a second one there is a `PromptError`.

    word: the token
    like: text whose vectors the text encoder reads for the token, or a function of the base that gives it
    making: makes parameters and rewriting
    name: name in the prefix of its tensors, for parts trained for all subjects at once; empty is the token
    negative: whether, in sampling, the negative branch of such rows reads other states as well
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)
    needs: ClassVar[tuple[Need, ...]] = (unchanged_states,)

    word: str
    like: str | Callable[[Base], str]
    making: Making
    name: str = ""
    negative: bool = False

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        plain = base.word_vectors(self.like if isinstance(self.like, str) else self.like(base))
        prefix = self.prefix
        own, rewrite = self.making(base, under(prefix, stored), generator)
        live = Live(prefixed(prefix, own), {self.word: plain})

        def operation(call: AttentionCall) -> AttentionCall:
            rows = rows_with(self.word, call.run)
            if call.site.kind != "cross" or not live.on or not rows:
                return call
            rows = [*rows, *negatives_of(call.run, rows)] if self.negative else rows
            if id(self) not in call.run.cache:
                before = call.states[rows]
                call.run.cache[id(self)] = rewrite(own, before, rows, call.run, scale)
                if call.run.random is None and call.run.cache[id(self)] is not before:
                    claim(call.run, rows, self.word, composes=getattr(rewrite, "composes", ""))
            states = call.run.cache[id(self)]
            return read_instead(base, call, rows, states, states)

        if scale:
            live.operations = (operation,)
            live.offers |= getattr(rewrite, "offers", {})
        yield live

    @property
    def prefix(self) -> str:
        """Prefix of its tensors' names."""
        return f"states.{self.name or self.word}."


def claim(run: Pass, rows: list[int], word: str, *, composes: str) -> None:
    """Register that a token rewrites the states of these rows.

    Raises `PromptError` where another token rewrites a row, unless both are of one kind that composes.

    run: the run
    rows: numbers of the rows
    word: the token
    composes: kind of rewriting that works beside others of this kind; empty for one that works alone
    """
    claimed: dict[int, dict[str, str]] = run.cache.setdefault(REWRITTEN, {})
    for row in rows:
        others = claimed.setdefault(row, {})
        strange = next((other for other, kind in others.items() if other != word and not composes == kind != ""), None)
        if strange is not None:
            raise PromptError(
                f"{strange} and {word} each rewrite all that is read of {run.prompts[row]!r}, so one would be lost: "
                "name only one of them in a prompt, or give each a region (--region), where the other does not act"
            )
        others[word] = composes


def put_in(run: Pass, word: str, vectors: Mapping[int, Callable[[int], Tensor]]) -> None:
    """Register the vectors that stand for a token in rows of a run.

    run: the run
    word: the token
    vectors: row -> function from the number of the cross-attention layer to the vectors [n, D] that it reads
    """
    run.cache.setdefault(PUT, {}).setdefault(word, {}).update(vectors)


def other_words(run: Pass, row: int, site: int = 0, *, but: str = "") -> dict[str, Tensor]:
    """The attached tokens of a row's prompt -> their vectors [n, D], as far as the run has them.

    run: the run
    row: number of the row
    site: number of the cross-attention layer
    but: a token to leave out
    """
    prompt = run.prompts[row] if run.prompts else ""
    words: dict[str, Tensor] = {}
    for live in run.lives:
        for word, vectors in live.words.items() if live.on else ():
            if word != but and word in prompt:
                put = run.cache.get(PUT, {}).get(word, {}).get(row)
                words[word] = put(site) if put else vectors() if callable(vectors) else vectors
    return words


def word_places_of(base: Base, run: Pass, row: int, word: str) -> list[int]:
    """Positions at which a token starts in the hidden states of a row's prompt, whatever tokens stand before it.

    base: the base
    run: the run
    row: number of the row
    word: the token
    """
    import torch

    words = {word: torch.zeros(1, 1), **other_words(run, row)}
    return base.word_places(run.prompts[row], word, words=words) if word in run.prompts[row] else []


def next_place(base: Base, text: str, words: Mapping[str, Tensor] | None = None) -> int:
    """The position in hidden states at which a word behind a text starts; the last token of the text is before it.

    base: the base
    text: the text, which may be empty
    words: tokens of the text -> their vectors [n, D]
    """
    import torch

    return base.word_places(f"{text} {NEXT}", NEXT, words={**(words or {}), NEXT: torch.zeros(1, 1)})[0]


def read_beside(
    base: Base, texts: Sequence[str], words: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], run: Pass
) -> Tensor:
    """[texts, L, D]: hidden states of texts with these tokens and with other tokens of each text's own, at each
    position, as attention reads them.

    Residuals of the other tokens are added, as the run has them. A global vector that a base computes from a prompt as
    well is left as it is: it is that of the prompt with the vectors that the text encoder itself reads for the tokens.

    base: the base
    texts: the prompts
    words: tokens of all texts -> their vectors [n, D]
    others: for each text, its other tokens -> their vectors [n, D]
    run: the run
    """
    from limner.engine.attach import with_residuals

    every, renamed_texts = dict(words), []
    added = {word: vector() for live in run.lives if live.on for word, vector in live.residuals.items()}
    residuals: dict[str, Tensor] = {}
    for number, (text, own) in enumerate(zip(texts, others, strict=True)):
        for word, vectors in own.items():
            alone = f"{word[:-1]}.beside.{number}>"
            text, every[alone] = text.replace(word, alone), vectors
            if word in added:
                residuals[alone] = added[word]
        renamed_texts.append(text)
    try:
        states = base.text_states(renamed_texts, words=every)
    except PromptError as error:  # a text that is too long: with the tokens as the prompt has them
        raise PromptError(re.sub(r"(?:\.beside)?\.\d+>", ">", str(error))) from None
    return with_residuals(base, renamed_texts, states, residuals, every)[:, : base.text_positions]


def tensors_of(adapted: Adapted, part: changed_states) -> dict[str, Tensor]:
    """The tensors of such a part, named as by its making.

    adapted: the adapted base
    part: the part
    """
    return under(part.prefix, adapted.live[part].tensors)


def rows_with(word: str, run: Pass) -> list[int]:
    """Rows whose prompt has the token, and rows with a reference and an empty prompt.

    word: the token
    run: the run
    """
    shown = run.references is not None
    return [k for k, prompt in enumerate(run.prompts) if word in prompt or (shown and not prompt)]


def negatives_of(run: Pass, rows: list[int]) -> list[int]:
    """The rows of the negative branch that belong to these rows, and are not among them.

    run: the run
    rows: numbers of the rows
    """
    each = len(run.prompts) // len(run.branches)
    starts = [k * each for k, branch in enumerate(run.branches) if branch == "negative"]
    return [row for row in dict.fromkeys(start + row % each for start in starts for row in rows) if row not in rows]


def read_instead(
    base: Base, call: AttentionCall, rows: list[int], for_keys: Tensor, for_values: Tensor
) -> AttentionCall:
    """The call, with keys and values of these rows computed from other states.

    Where keys and values have the same states, these become the call's states. A part that calls this needs
    `unchanged_states`.

    base: the base
    call: the attention layer's call
    rows: numbers of the rows
    for_keys: states for keys [rows, L, D]
    for_values: states for values [rows, L, D]
    """
    import torch

    key, value = base.key_value(call.site)
    at = torch.tensor(rows, device=call.key.device)
    if for_keys is for_values:
        call.states = call.states.index_copy(0, at, for_keys.to(call.states))
    call.key = call.key.index_copy(0, at, call.heads(key(for_keys)).to(call.key))
    call.value = call.value.index_copy(0, at, call.heads(value(for_values)).to(call.value))
    return call


def last_states(count: int, *, source: str = "", strength: float = 1.0) -> Making:
    """Learned states in place of the last ones of a prompt (HiPer, Sec. 3 of arXiv:2303.08767).

    They never pass the text encoder, and start as the last states of the source text.

    count: number of learned states
    source: text of the reference images; empty for an empty prompt
    strength: factor of the learned states in sampling
    """

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        with torch.no_grad():
            whole = base.text_states([source], words={})[0, : base.text_positions]
            start = whole[-count:].float().cpu()
        own = taken({"block": start}, stored, base, what="the learned states")

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            block = own["block"].expand(len(states), -1, -1)
            if run.random is None:
                block = torch.lerp(states[:, -count:], strength * block, scale)
            return torch.cat([states[:, :-count], block.to(states)], 1)

        return own, rewrite

    return making


def image_added(encoder: Callable[[Base, Tensor], Tensor]) -> Making:
    """In training, a vector of each row's own picture is added to all its states; in sampling none is.

    The vector is f = A(sigmoid(m) * E(x)) + sigmoid(m) * E(x), with A two layers and m a learned mask (DisenBooth,
    Eq. 3 of arXiv:2305.03374). The authors' features are as wide as their text-encoder hidden states; features of
    another width are cut, or filled with zeros, where they pass beside A. A has no biases.

    encoder: base and pixels [n, 3, H, W] in [0, 1] -> features [n, F]
    """

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch
        import torch.nn.functional as F

        size = base.picture_size
        wide = base.word_vectors("a").shape[-1]
        dim = encoder(base, torch.zeros(1, 3, size, size, device=base.device)).shape[-1]
        start = {
            "mask": torch.zeros(dim),
            "first": torch.randn(wide, dim, generator=generator) / dim**0.5,
            "second": torch.randn(wide, wide, generator=generator) * 0.1 / wide**0.5,
        }
        own = taken(start, stored, base, what="the picture's part")

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            if run.references is None:
                return states
            seen = encoder(base, run.references.first[rows]) * own["mask"].sigmoid()
            added = F.relu(seen @ own["first"].T) @ own["second"].T + F.pad(seen, (0, wide - dim))
            if run.references.dropped is not None:
                added = added * run.references.on[rows].to(added)[:, None]
            run.activations["image_added"] = added
            return states + added[:, None]

        return own, rewrite

    return making
