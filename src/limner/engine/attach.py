"""Wearing recipes: the base changed for as long as a `with` lasts, and afterwards equal to the bit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Adapted, Candidates, LatentOperation, Lives, names
from limner.core.lru import LRU, TEXT_BYTES
from limner.core.recipe import Answer, Recipe
from limner.core.streams import stream
from limner.core.types import AttentionOp, Denoiser, Guidance, Live, Pass, ReferenceStream
from limner.errors import FileError, InputError, PromptError

from .text_cache import read_texts

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

MARK = "<marked-place-of-a-handle-in-a-prompt>"
"""Stands in a prompt for the words of a handle while their places are looked for. Longer than any handle may be."""
HALF = (torch.float16, torch.bfloat16)
BASE_PARTS = (
    *("denoiser.", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "autoencoder."),
    *("prior.", "prior_pictures.", "second_stage."),
)
"""How the names of a base's own parameters begin."""


@dataclass(frozen=True)
class Adapter:
    """A recipe to wear: under which handle, with which stored tensors, how strongly (0 is the base, 1 as learned).
    `noun` is what its subject is where it is not worn yet. `shipped` names the stored tensors that are those of the
    recipe's pre-trained weights, and `tuned` those that the weights have as well and this subject learned on."""

    recipe: Recipe
    handle: str
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0
    seed: int = 0
    noun: str = ""
    shipped: frozenset[str] = frozenset()
    tuned: frozenset[str] = frozenset()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The handles that it answers to: one, or several where concepts were merged."""
        return (Answer(self.handle, self.recipe.says, self.noun), *self.recipe.also)


@dataclass
class AdaptedBase:
    """A base and what it wears now."""

    base: Base
    adapters: tuple[Adapter, ...]
    live: Lives = field(default_factory=Lives)
    originals: dict[str, Tensor] = field(default_factory=dict)  # of base parameters that changed, by name
    frozen_text: bool = True
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)  # for what a painting needs at many steps
    singles: dict[str, Tensor] = field(default_factory=dict)  # what learns and is in half precision, by name, in single
    _states: LRU[Tensor] = field(default_factory=lambda: LRU(TEXT_BYTES))
    _only: frozenset[int] | None = None  # places of the adapters that act; None: all
    _whole: dict[str, Tensor] = field(
        default_factory=dict
    )  # base parameters that changed, as they are with all adapters

    @property
    def words(self) -> dict[str, Tensor]:
        """Learned words now in the vocabulary: word -> vectors [n, D]."""
        return {w: v() if callable(v) else v for live in self._acting for w, v in live.words.items()}

    @property
    def _acting(self) -> list[Live]:
        return [live for (place, _), _, live in self.live.items() if self._acts(place)]

    def _acts(self, place: int) -> bool:
        return self._only is None or place in self._only

    @property
    def _painting(self) -> list[Adapter]:
        """The adapters that act while painting."""
        return [adapter for place, adapter in enumerate(self.adapters) if adapter.scale and self._acts(place)]

    @property
    def operations(self) -> tuple[AttentionOp, ...]:
        """What acts in attention, in the order worn."""
        return tuple(op for live in self._acting for op in live.operations)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that makes the difference to the base: what a concept stores. What learns is in single
        precision."""
        found = {name: tensor for live in self.live.values() for name, tensor in live.tensors.items()}
        return found | {name: parameter(self.base, name) for name in self.originals} | self.singles

    @property
    def guidance(self) -> tuple[Guidance, ...]:
        """How a recipe guides by itself. Two that do cannot be worn at once."""
        return self._one("guidance", "guide by themselves") or ()

    @property
    def denoiser(self) -> Callable[[Adapted, Denoiser], Denoiser] | None:
        """What is put around the base's own denoiser while painting. Two that ask for it cannot be worn at once."""
        return self._one("denoiser", "change what is denoised")

    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]:
        own = (scaled(op, adapter) for adapter in self._painting for op in adapter.recipe.painting.operations)
        return (*self.operations, *own)

    @property
    def branches(self) -> dict[str, Callable[[str], str]]:
        """What guidance may ask for beside "text" and "negative". Two recipes cannot have the same."""
        found: dict[str, Callable[[str], str]] = {}
        for adapter in self._painting:
            if both := found.keys() & adapter.recipe.painting.branches.keys():
                raise InputError(
                    f"two of these concepts guide by a branch {min(both)!r} of their own; only one can be worn at a time"
                )
            found |= adapter.recipe.painting.branches
        return found

    @property
    def parallel_stream(self) -> Callable[[str], str] | None:
        """Picture's prompt -> its parallel stream's, if a recipe asks for parallel streams. Two that ask cannot be worn
        at once."""
        return self._one("parallel_stream", "paint parallel streams")

    @property
    def latent_operations(self) -> tuple[LatentOperation, ...]:
        """What acts between steps; at a scale below 1 it goes that part of its way."""
        return tuple(_partly(op, o.scale) for o in self._painting for op in o.recipe.painting.latents)

    def reference_stream(self, steps: int) -> ReferenceStream | None:
        """The row painted along, if a recipe asks for one. Two that ask cannot be worn at once."""
        maker = self._one("reference_stream", "need a reference row of their own")
        return maker(self)(steps) if maker else None

    @property
    def reads(self) -> frozenset[str]:
        """Names of the conditions that adapters need."""
        return frozenset(name for live in self._acting for name in live.reads)

    @property
    def may_read(self) -> frozenset[str]:
        """Names of the conditions that adapters read where these are given."""
        return frozenset(name for live in self._acting for name in live.may_read)

    @property
    def painting_reads(self) -> frozenset[str]:
        """Names of the conditions that are needed for painting."""
        return self.reads | {name for adapter in self._painting for name in adapter.recipe.painting.reads}

    @property
    def frames(self) -> int:
        """Of the longest clip that can be painted; 1: pictures alone."""
        return max([self.base.frames, *(live.frames for live in self._acting)])

    @property
    def candidates(self) -> Candidates | None:
        """How the picture to keep is chosen, if a recipe paints several. Two that do cannot be worn at once."""
        found: Candidates | None = self._one("candidates", "choose among candidates")
        return found

    def _one(self, name: str, do: str) -> Any:
        """A part of painting that at most one adapter may have."""
        found = [adapter for adapter in self._painting if getattr(adapter.recipe.painting, name)]
        if len(found) > 1:
            both = " and ".join(adapter.handle for adapter in found)
            raise InputError(f"{both} each {do}; only one such concept can be worn at a time")
        return getattr(found[0].recipe.painting, name) if found else None

    # ------------------------------------------------------------------------------------------------------- prompts

    def expand_prompt(self, prompt: str) -> str:
        """The prompt as the base reads it: every worn handle replaced by what its recipe says."""
        for handle, words in self._readings():
            prompt = prompt.replace(handle, words)
        return prompt

    def _readings(self) -> Iterator[tuple[str, str]]:
        """Every worn handle, and the words that the base reads in its place now."""
        for place, adapter in enumerate(self.adapters):
            for answer in adapter.answers:
                says = answer.says if self._acts(place) or not answer.noun else answer.noun
                yield answer.handle, says if isinstance(says, str) else says(self.base)

    def handle_places(self, prompt: str, handle: str) -> tuple[int, ...]:
        """The places in the text states of a prompt, as it was written, of the words that the base reads for a handle;
        none where the prompt does not name it."""
        readings = dict(self._readings())
        if handle not in prompt or handle not in readings:
            return ()
        count = self.base.num_tokens(readings[handle], words=self.words)
        words = {**self.words, MARK: torch.zeros(count, 1)}
        marked = self.expand_prompt(prompt.replace(handle, MARK))
        starts = self.base.word_places(marked, MARK, words=words)
        return tuple(start + k for start in starts for k in range(count))

    def text_states(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D]; kept for prompts seen before, also by another adapted base, unless words or the text tower are
        learning. Raises `PromptError` for a prompt that names two concepts which are read as the same words."""
        for prompt in prompts if sum(len(adapter.answers) for adapter in self.adapters) > 1 else ():
            _check_apart(prompt, self.adapters, self.base)
        said = [self.expand_prompt(prompt) for prompt in prompts]
        residuals = {word: vector() for live in self._acting for word, vector in live.residuals.items()}
        return with_residuals(self.base, said, self._states_of(said), residuals, self.words if residuals else {})

    def _states_of(self, said: Sequence[str]) -> Tensor:
        """[B, L, D] of prompts as the base reads them, without residuals."""
        if not self.frozen_text or self._only is not None:
            unique = sorted(set(said))
            states = self.base.text_states(unique, words=self.words)
            return states[torch.tensor([unique.index(text) for text in said], device=states.device)]
        kept = {text: self._states.get(text) for text in set(said)}
        found = {text: states for text, states in kept.items() if states is not None}
        new = sorted(set(said) - found.keys())
        if new:
            read = read_texts(self.base, new, words=self.words)
            for text, states in read.items():
                self._states.put(text, states, states.numel() * states.element_size())
            found |= read
        return torch.stack([found[text] for text in said])

    def text_learns(self, learns: bool) -> None:
        """Whether words or the text tower change now; states kept from before are forgotten."""
        self.frozen_text = not learns
        self._states.clear()

    def run(self, **about: Any) -> Pass:
        """The context of one run of the denoiser, to be run before another is asked for."""
        run = Pass(operations=self.operations, lives=tuple(self.live.every()), **about)
        for live in run.lives:
            live.run = run
        return run

    # ------------------------------------------------------------------------------------------------ the base's own

    def in_single(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is to learn, in single precision: parameters themselves, or, of those in half precision, copies that
        `tensors` has in their place from now on. What was learned before is gone on from, not what it was rounded
        to."""
        for name, tensor in parameters.items():
            if tensor.dtype in HALF and name not in self.singles:
                given = self.adapters[0].stored.get(name, tensor)
                exact = given.dtype == torch.float32 and torch.equal(given.to(tensor), tensor)
                self.singles[name] = (given if exact else tensor).detach().to(tensor.device, torch.float32, copy=True)
        return {name: self.singles.get(name, tensor) for name, tensor in parameters.items()}

    def round_off(self, names: Iterable[str]) -> None:
        """Write what was learned in single precision to the parameters that runs compute with."""
        if not self.singles:
            return
        tensors = {n: t for live in self.live.values() for n, t in live.tensors.items()}
        with torch.no_grad():
            for name in self.singles.keys() & set(names):
                (tensors[name] if name in tensors else parameter(self.base, name)).copy_(self.singles[name])

    def changing(self, names: Sequence[str]) -> None:
        """Say that these base parameters will change, so that they can be put back."""
        for name in names:
            if name.startswith(BASE_PARTS) and name not in self.originals:
                self.originals[name] = parameter(self.base, name).detach().clone()

    def suspended(self) -> AbstractContextManager[None]:
        """The untouched base for a while: no words, no operations, no deltas, its own parameters."""
        return self.only()

    @contextmanager
    def only(self, *places: int) -> Iterator[None]:
        """For a while, the base with the adapters at these places alone: their words, operations, deltas and
        parameters. In prompts, the handles of the others are their nouns.

        Base parameters point to other values meanwhile; nothing is written, so a gradient may be under way. Raises
        `InputError` for a place where there is no adapter.
        """
        strange = [place for place in places if place not in range(len(self.adapters))]
        if strange:
            raise InputError(
                f"there is no adapter at place {strange[0]}: {len(self.adapters)} are worn, counted from 0"
            )
        now = {name: parameter(self.base, name).data for name in self.originals}
        before, on = self._only, [(live, live.on) for live in self.live.every()]
        if before is None:
            self._whole = now
        self._only = frozenset(places) if len(set(places)) < len(self.adapters) else None
        try:
            for name in now:
                parameter(self.base, name).data = self._value(name)
            self.switch()
            yield
        finally:
            self._only = before
            for live, was in on:
                live.on = was
            for name, value in now.items():
                parameter(self.base, name).data = value

    def _value(self, name: str) -> Tensor:
        """A base parameter as the adapters that act now have it."""
        if self._only is None:
            return self._whole[name]
        found = self.originals[name].clone() if self._only else self.originals[name]
        changes = _stored_parameters(self.adapters[place] for place in sorted(self._only))
        own = [(adapter, value) for adapter, key, value in changes if key == name]
        if own:
            _put(found, self.originals[name], own, alone=len({id(adapter) for adapter, _, _ in changes}) == 1)
        return found

    def switch(self) -> None:
        """Turn on what acts now. A pre-trained change of the network that several adapters share acts once, in the
        strongest of them."""
        for (place, _), _, live in self.live.items():
            for each in (live, *live.within):
                each.on = self._acts(place)
        shared: dict[Hashable, tuple[float, Live]] = {}
        for key, adapter, live in self._pretrained():
            if live.tensors.keys() <= adapter.shipped:
                strength, strongest = shared.setdefault(key, (abs(adapter.scale), live))
                if live is not strongest:
                    weaker = live
                    if abs(adapter.scale) > strength:
                        shared[key], weaker = (abs(adapter.scale), live), strongest
                    weaker.on = False

    def _pretrained(self) -> Iterator[tuple[Hashable, Adapter, Live]]:
        """Changes of the network, the same for every subject, that begin as pre-trained weights: with what tells one
        from another."""
        for (place, _), modifier, live in self.live.items():
            adapter = self.adapters[place]
            own = () if live.words or hasattr(modifier, "subject") else (live,)
            for each in (*own, *live.within) if self._acts(place) else ():
                if each.tensors and each.tensors.keys() <= adapter.shipped | adapter.tuned:
                    yield (adapter.recipe.weights, frozenset(each.tensors)), adapter, each

    def check_together(self) -> None:
        """Raises `InputError` where these adapters cannot be painted with at once, or not at their scales."""
        for adapter in self._painting:
            _check_scale(adapter)
        _ = self.guidance, self.denoiser, self.branches, self.parallel_stream, self.candidates
        found: dict[Hashable, list[tuple[str, bool]]] = {}
        for key, adapter, live in self._pretrained():
            if adapter.scale:
                found.setdefault(key, []).append((adapter.handle, bool(live.tensors.keys() & adapter.tuned)))
        for wearers in found.values():
            if len(wearers) > 1 and any(tuned for _, tuned in wearers):
                raise InputError(
                    f"{' and '.join(handle for handle, _ in wearers)} learned on from one pre-trained change of the network, which "
                    "would act once for each; only one such concept can be worn at a time"
                )


@contextmanager
def attach(base: Base, adapters: Sequence[Adapter]) -> Iterator[AdaptedBase]:
    """Put adapters on, in order; take them off in reverse, whatever happens in between."""
    _check_handles(adapters)
    _check_sites(base, adapters)
    adapted = AdaptedBase(base, tuple(adapters))
    with ExitStack() as stack:
        stack.callback(lambda: _assign(base, adapted.originals))
        _attach_parameters(adapted)
        for place, adapter in enumerate(adapters):
            for index, modifier in enumerate(adapter.recipe.modifiers):
                generator = stream(adapter.seed, "modifier", index)
                change = modifier(base, stored=adapter.stored, generator=generator, scale=adapter.scale)
                live = stack.enter_context(change)
                if set(live.words) & set(adapted.words):
                    raise InputError(f"concept {place + 1} brings the word {set(live.words)}, which is worn already")
                adapted.live.add(place, index, modifier, live)
            _check_all_read(adapter, adapted.live.of(place))
        adapted.switch()
        yield adapted


def with_residuals(
    base: Base, texts: Sequence[str], states: Tensor, residuals: Mapping[str, Tensor], words: Mapping[str, Tensor]
) -> Tensor:
    """The text states [B, L, D] of texts, with each word's residual [D] added where it stands."""
    for word, vector in residuals.items():
        on = torch.zeros(*states.shape[:2], 1, device=states.device, dtype=states.dtype)
        for row, text in enumerate(texts):
            for start in base.word_places(text, word, words=words) if word in text else ():
                on[row, start : start + len(words[word])] = 1
        states = states + on * vector.to(states)
    return states


def parameter(base: Base, name: str) -> torch.nn.Parameter:
    """A parameter of the base by its full name, "denoiser.conv_in.weight"."""
    part, _, rest = name.partition(".")
    return base.module(part).get_parameter(rest)


def _assign(base: Base, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            parameter(base, name).copy_(value)


def _attach_parameters(adapted: AdaptedBase) -> None:
    """Base parameters that a concept stores as values. One at full strength is put in as it is; else deltas add up."""
    stored = _stored_parameters(adapted.adapters)
    adapted.changing([name for _, name, _ in stored])
    alone = len({id(adapter) for adapter, _, _ in stored}) == 1
    for adapter, name, value in stored:
        now = parameter(adapted.base, name)
        if value.shape != now.shape:
            raise FileError(f"{name} is {tuple(value.shape)} in the concept and {tuple(now.shape)} in the base")
        _put(now, adapted.originals[name], [(adapter, value)], alone=alone)


def _stored_parameters(adapters: Iterable[Adapter]) -> list[tuple[Adapter, str, Tensor]]:
    return [(o, n, t) for o in adapters if o.scale for n, t in o.stored.items() if n.startswith(BASE_PARTS)]


def _put(now: Tensor, original: Tensor, values: Sequence[tuple[Adapter, Tensor]], *, alone: bool) -> None:
    """Write what adapters make of a base parameter."""
    with torch.no_grad():
        for adapter, value in values:
            if alone and adapter.scale == 1:
                now.copy_(value)
            else:
                now.add_(adapter.scale * (value.to(original) - original))


def scaled(operation: AttentionOp, adapter: Adapter) -> AttentionOp:
    """An operation of painting as strong as its adapter is worn."""
    return operation if adapter.scale == 1 else operation.at_scale(adapter.scale)  # type: ignore[attr-defined]  # checked before


def _partly(operation: LatentOperation, scale: float) -> LatentOperation:
    return operation if scale == 1 else lambda moment: moment.latents.lerp(operation(moment), scale)


def _check_scale(adapter: Adapter) -> None:
    painting = adapter.recipe.painting
    fixed = [op for op in painting.operations if not hasattr(op, "at_scale")]
    if adapter.scale not in (0, 1) and (fixed or painting.denoiser):
        raise InputError(
            f"{adapter.handle} acts while painting in a way that has no strength: it can be worn at scale 0 or 1, not {adapter.scale:g}"
        )


def _check_all_read(adapter: Adapter, lives: Sequence[Live]) -> None:
    known = {name for live in lives for name in live.tensors}
    unread = [n for n in adapter.stored if n not in known and not n.startswith(BASE_PARTS)]
    if unread and adapter.scale:
        raise FileError(f"nothing reads these tensors of the concept: {unread[:5]}; was its method changed since?")


def _check_handles(adapters: Sequence[Adapter]) -> None:
    handles = [answer.handle for adapter in adapters for answer in adapter.answers]
    if len(set(handles)) < len(handles):
        raise PromptError(f"two concepts answer to one handle in {handles}; teach one under another --name")


def _check_apart(prompt: str, adapters: Sequence[Adapter], base: Base) -> None:
    """Two concepts that were taught by one rare word and class noun cannot be told apart in one prompt. Rare words are
    few, and a handle's is chosen by its letters; a recipe that says the plain noun is known by other means than
    words."""
    named: dict[str, str] = {}
    for handle, says, _ in (answer for adapter in adapters if adapter.scale for answer in adapter.answers):
        if isinstance(says, str) or handle not in prompt:
            continue
        other = named.setdefault(says(base), handle)
        if other != handle:
            raise PromptError(
                f"{other} and {handle} were both taught as {says(base)!r} on {base.name}, so a prompt cannot tell them apart: "
                "teach one of them again under another --name, or name one of them in a prompt"
            )


def _check_sites(base: Base, adapters: Sequence[Adapter]) -> None:
    """What acts in attention finds some of its kind; else it would do nothing, in silence."""
    there = {site.kind for site in base.sites}
    for adapter in adapters:
        parts: list[Any] = [*adapter.recipe.modifiers, *adapter.recipe.painting.operations]
        for part in parts:
            wanted = getattr(part, "acts_in", ())
            if adapter.scale and wanted and not there.intersection(wanted):
                raise InputError(
                    f"{names([part])[0]} acts in {' or '.join(wanted)} attention, and {base.name} ({base.family}) has "
                    f"{' and '.join(sorted(there))} attention only: this method means nothing on it"
                )
