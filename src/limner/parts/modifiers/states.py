"""Changes of what cross-attention reads: the text states, after the text tower has run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from limner.core.types import Live
from limner.errors import PromptError

from .kept import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Pass

Rewrite: TypeAlias = "Callable[[Mapping[str, Tensor], Tensor, list[int], Pass, float], Tensor]"
"""Parameters, states [rows, L, D], which rows of the run these are, the run, strength -> the states to read."""

PUT, REWRITTEN = "words put in", "rows rewritten"

Making: TypeAlias = "Callable[[Base, Mapping[str, Tensor], Generator], tuple[dict[str, Tensor], Rewrite]]"
"""Base, stored tensors by name, generator -> parameters (those that are `nn.Parameter`s learn) and the rewriting."""


@dataclass(frozen=True)
class changed_states:
    """In rows whose prompt has the word, every cross-attention layer reads other states.

    In plain text the word is read as the vectors of `like`, so a rewriting that changes nothing gives the states of
    `like`. So do rows with a reference and an empty prompt: the picture alone.

    Several such words in one prompt are all read where each is vectors put into the prompt (`composes` of what `making`
    makes). Other rewritings have a prompt for themselves: a second one there is a `PromptError`.
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    like: str | Callable[[Base], str]
    making: Making
    name: str = ""  # of its tensors, where they are trained for every subject at once; else they are called by the word
    negative: bool = False  # whether, while painting, the negative branch of such rows reads other states as well

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
            rows = [*rows, *_negatives(call.run, rows)] if self.negative else rows
            if id(self) not in call.run.cache:
                before = call.states[rows]
                call.run.cache[id(self)] = rewrite(own, before, rows, call.run, scale)
                if call.run.random is None and call.run.cache[id(self)] is not before:
                    claim(call.run, rows, self.word, composes=getattr(rewrite, "composes", False))
            states = call.run.cache[id(self)]
            return read_instead(base, call, rows, states, states)

        if scale:
            live.operations = (operation,)
        yield live

    @property
    def prefix(self) -> str:
        """How the names of its tensors begin."""
        return f"states.{self.name or self.word}."


def claim(run: Pass, rows: list[int], word: str, *, composes: bool) -> None:
    """Say that a word rewrites what is read of these rows. Raises `PromptError` where another does, or is read there,
    and not both can be."""
    claimed: dict[int, dict[str, bool]] = run.cache.setdefault(REWRITTEN, {})
    for row in rows:
        others = claimed.setdefault(row, {})
        strange = next((other for other, also in others.items() if other != word and not (composes and also)), None)
        if strange is not None:
            raise PromptError(
                f"{strange} and {word} each rewrite all that is read of {run.prompts[row]!r}, so one would be lost: name one of them "
                "in a prompt"
            )
        others[word] = composes


def put_in(run: Pass, word: str, vectors: Mapping[int, Callable[[int], Tensor]]) -> None:
    """Say which vectors [n, D] stand for a word in rows of a run, by the number of the cross-attention layer that reads
    them."""
    run.cache.setdefault(PUT, {}).setdefault(word, {}).update(vectors)


def other_words(run: Pass, row: int, site: int = 0, *, but: str = "") -> dict[str, Tensor]:
    """The worn words of a row's prompt, as they are read there so far; one is left out."""
    prompt = run.prompts[row] if run.prompts else ""
    found: dict[str, Tensor] = {}
    for live in run.lives:
        for word, vectors in live.words.items() if live.on else ():
            if word != but and word in prompt:
                put = run.cache.get(PUT, {}).get(word, {}).get(row)
                found[word] = put(site) if put else vectors() if callable(vectors) else vectors
    return found


def read_beside(
    base: Base, texts: Sequence[str], words: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], run: Pass
) -> Tensor:
    """[texts, L, D]: states of texts with these words in them, and in each the others of its own, with the residuals
    that these have in the run."""
    from limner.engine.attach import with_residuals

    every, said = dict(words), []
    added = {word: vector() for live in run.lives if live.on for word, vector in live.residuals.items()}
    residuals: dict[str, Tensor] = {}
    for number, (text, own) in enumerate(zip(texts, others, strict=True)):
        for word, vectors in own.items():
            alone = f"{word[:-1]}.beside.{number}>"
            text, every[alone] = text.replace(word, alone), vectors
            if word in added:
                residuals[alone] = added[word]
        said.append(text)
    return with_residuals(base, said, base.text_states(said, words=every), residuals, every)


def tensors_of(adapted: Adapted, part: changed_states) -> dict[str, Tensor]:
    """The tensors of such a part as its making names them."""
    return under(part.prefix, adapted.live[part].tensors)


def rows_with(word: str, run: Pass) -> list[int]:
    """The rows whose prompt has the word, and those that have a reference and an empty prompt."""
    shown = run.references is not None
    return [k for k, prompt in enumerate(run.prompts) if word in prompt or (shown and not prompt)]


def _negatives(run: Pass, rows: list[int]) -> list[int]:
    """The rows of a painting's negative branch that go with these."""
    each = len(run.prompts) // len(run.branches)
    starts = [k * each for k, branch in enumerate(run.branches) if branch == "negative"]
    return [row for row in dict.fromkeys(start + row % each for start in starts for row in rows) if row not in rows]


def read_instead(
    base: Base, call: AttentionCall, rows: list[int], for_keys: Tensor, for_values: Tensor
) -> AttentionCall:
    """The call with keys and values of these rows made from other states [rows, L, D]; where both are made of the same,
    these are the call's states from now on."""
    import torch

    key, value = base.key_value(call.site)
    at = torch.tensor(rows, device=call.key.device)
    if for_keys is for_values:
        call.states = call.states.index_copy(0, at, for_keys.to(call.states))
    call.key = call.key.index_copy(0, at, call.heads(key(for_keys)).to(call.key))
    call.value = call.value.index_copy(0, at, call.heads(value(for_values)).to(call.value))
    return call


def last_states(count: int, *, strength: float = 1.0) -> Making:
    """The last `count` states are a learned block, which never passes the text tower, times `strength` while painting
    (HiPer, Sec. 3 of arXiv:2303.08767). It starts as the states of the word that the subject is read as."""

    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        with torch.no_grad():
            start = base.text_states([""], words={})[0, -count:].float().cpu()
        own = taken({"block": start}, stored, base, what="the learned states")

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            block = own["block"].expand(len(states), -1, -1)
            if run.random is None:
                block = torch.lerp(states[:, -count:], strength * block, scale)
            return torch.cat([states[:, :-count], block.to(states)], 1)

        return own, rewrite

    return making


def image_added(encoder: Callable[[Base, Tensor], Tensor]) -> Making:
    """While teaching, a vector made from each row's own picture is added to all its states; while painting, nothing is.

    f = A(sigmoid(m) * E(x)) with A two layers and m a learned mask (DisenBooth, Eq. 3 of arXiv:2305.03374). The
    authors' features are as wide as their text states and are added beside A's output as well; here widths may differ.
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
            added = F.gelu(seen @ own["first"].T) @ own["second"].T
            if run.references.dropped is not None:
                added = added * run.references.on[rows].to(added)[:, None]
            run.kept["image_added"] = added
            return states + added[:, None]

        return own, rewrite

    return making
