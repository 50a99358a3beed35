"""Attaching adapters: a base is changed inside of a `with`, and restored bit for bit at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Adapted, Candidates, LatentOperation, Lives, names
from limner.core.lru import LRU, TEXT_BYTES
from limner.core.needs import acting_parts, check_needs, check_part
from limner.core.recipe import Answer, FirstPass, Recipe
from limner.core.regions import names_word, whole_word
from limner.core.streams import stream
from limner.core.types import AttentionOp, Denoiser, Guidance, Live, Pass, ReferenceStream
from limner.core.wording import in_place
from limner.errors import FileError, InputError, PromptError

from .text_cache import read_texts

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

MARK = "<marked-place-of-a-handle-in-a-prompt>"
"""Replaces the words of a handle in a prompt while their positions are computed. Longer than any handle may be."""
HALF = (torch.float16, torch.bfloat16)
BASE_PARTS = (
    *("denoiser.", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "autoencoder."),
    *("prior.", "prior_pictures.", "second_stage."),
)
"""Prefixes of the names of a base's own parameters."""


@dataclass(frozen=True)
class Adapter:
    """A recipe to attach to a base, with its handle, stored tensors and scale (0 is the base, 1 as trained).

    `noun` is the class noun that replaces the handle where the adapter does not act. `shipped` names the stored tensors
    that equal the recipe's pre-trained weights, and `tuned` those that started from them and were trained further.
    `everywhere` marks an adapter without a place in the picture (a control branch, a style): it acts in every region.
    """

    recipe: Recipe
    handle: str
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0
    seed: int = 0
    noun: str = ""
    shipped: frozenset[str] = frozenset()
    tuned: frozenset[str] = frozenset()
    everywhere: bool = False

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Its handles with the words that replace them: one, or several for a merged concept."""
        return (Answer(self.handle, self.recipe.says, self.noun), *self.recipe.also)


@dataclass
class AdaptedBase:
    """A base with its attached adapters."""

    base: Base
    adapters: tuple[Adapter, ...]
    live: Lives = field(default_factory=Lives)
    originals: dict[str, Tensor] = field(default_factory=dict)  # name -> original value of a changed base parameter
    frozen_text: bool = True
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)  # values that parts share between sampling steps
    # name -> copy in single precision of a trained tensor that the network has in half precision
    singles: dict[str, Tensor] = field(default_factory=dict)
    # name -> exponential moving average of a trained tensor, in a stage with `momentum`
    averages: dict[str, Tensor] = field(default_factory=dict)
    _states: LRU[Tensor] = field(default_factory=lambda: LRU(TEXT_BYTES))
    _only: frozenset[int] | None = None  # places of the adapters that act; None: all
    # name -> value of a changed base parameter while all adapters act
    _whole: dict[str, Tensor] = field(default_factory=dict)

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
        """The adapters that act in sampling."""
        return [adapter for place, adapter in enumerate(self.adapters) if adapter.scale and self._acts(place)]

    @property
    def operations(self) -> tuple[AttentionOp, ...]:
        """The operations of attention, in the order in which they were attached."""
        return tuple(op for live in self._acting for op in live.operations)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All changes to the base, as a concept stores them; trained tensors are in single precision."""
        live_tensors = {name: tensor for live in self.live.values() for name, tensor in live.tensors.items()}
        return live_tensors | {name: parameter(self.base, name) for name in self.originals} | self.singles

    @property
    def guidance(self) -> tuple[Guidance, ...]:
        """Guidance that a recipe brings. Raises `InputError` where two attached recipes bring different ones."""
        return self._one("guidance", "guide by themselves") or ()

    @property
    def denoiser(self) -> Callable[[Adapted, Denoiser], Denoiser] | None:
        """A function that wraps the base's denoiser in sampling. Raises `InputError` where two attached recipes bring
        one."""
        return self._one("denoiser", "change what is denoised")

    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]:
        own = (scaled(op, adapter) for adapter in self._painting for op in adapter.recipe.painting.operations)
        return (*self.operations, *own)

    @property
    def negative(self) -> str:
        """Prompt of the negative branch where the user gives none, from the adapters that act."""
        return ", ".join(text for adapter in self._painting if (text := adapter.recipe.painting.negative))

    @property
    def branches(self) -> dict[str, Callable[[str], str]]:
        """Branches that guidance may ask for beside "text" and "negative". Raises `InputError` where two attached
        recipes bring different ones of the same name."""
        branches: dict[str, Callable[[str], str]] = {}
        for adapter in self._painting:
            own = adapter.recipe.painting.branches
            if both := [name for name in branches.keys() & own.keys() if branches[name] is not own[name]]:
                raise InputError(
                    f"two of these concepts guide by a branch {min(both)!r} of their own; attach only one at a time"
                )
            branches |= own
        return branches

    @property
    def parallel_stream(self) -> Callable[[str], str] | None:
        """Prompt of a picture -> prompt of its parallel stream; None where no recipe asks for parallel streams. Recipes
        with the same function share one. Raises `InputError` where two attached recipes have different ones."""
        return self._one("parallel_stream", "sample parallel streams")

    @property
    def both_streams(self) -> bool:
        """Whether one recipe asks for parallel streams and for a reference stream, and so knows of both."""
        paintings = [adapter.recipe.painting for adapter in self._painting]
        return any(painting.parallel_stream and painting.reference_stream for painting in paintings)

    @property
    def latent_operations(self) -> tuple[LatentOperation, ...]:
        """The operations on latents between steps. At an adapter's scale s, an operation changes latents by s times its
        change."""
        return tuple(_partly(op, o.scale) for o in self._painting for op in o.recipe.painting.latents)

    @property
    def after_step_operations(self) -> tuple[LatentOperation, ...]:
        """The operations on latents after every step. At an adapter's scale s, an operation changes latents by s times
        its change."""
        return tuple(_partly(op, o.scale) for o in self._painting for op in o.recipe.painting.after_steps)

    @property
    def sampler(self) -> str:
        """The sampler where the user names none; empty for the base's own. Raises `InputError` where two attached
        recipes want different ones."""
        wanted = self._one("sampler", "want a sampler of their own") or ""
        return wanted if wanted in self.base.samplers else ""

    def reference_stream(self, steps: int) -> ReferenceStream | None:
        """The row that is sampled along with every batch; None where no recipe asks for one. Raises `InputError` where
        two attached recipes do."""
        maker = self._one("reference_stream", "need a reference stream of their own")
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
        """Names of the conditions that are needed in sampling."""
        return self.reads | {name for adapter in self._painting for name in adapter.recipe.painting.reads}

    @property
    def frames(self) -> int:
        """Number of frames of the longest clip that can be sampled; 1 for pictures alone."""
        return max([self.base.frames, *(live.frames for live in self._acting)])

    @property
    def candidates(self) -> Candidates | None:
        """How one of several sampled pictures is chosen; None where no recipe samples several. Raises `InputError`
        where two attached recipes do."""
        candidates: Candidates | None = self._one("candidates", "choose among candidates")
        return candidates

    @property
    def first_pass(self) -> FirstPass | None:
        """The sampling that comes before each picture's own; None where no recipe asks for one. Raises `InputError`
        where two attached recipes ask for different ones."""
        first: FirstPass | None = self._one("first_pass", "ask for a first pass with settings of their own")
        return first

    @property
    def everywhere(self) -> tuple[int, ...]:
        """Places of the adapters that act in every region of a picture."""
        return tuple(place for place, adapter in enumerate(self.adapters) if adapter.everywhere)

    def _one(self, name: str, do: str) -> Any:
        """A part of `Painting` that at most one of the adapters may have, or several where all have an equal one."""
        adapters = [adapter for adapter in self._painting if getattr(adapter.recipe.painting, name)]
        parts = [getattr(adapter.recipe.painting, name) for adapter in adapters]
        if any(part != parts[0] for part in parts):
            both = " and ".join(adapter.handle for adapter in adapters)
            raise InputError(f"{both} each {do}; only one such concept can be attached at a time")
        return getattr(adapters[0].recipe.painting, name) if adapters else None

    # ------------------------------------------------------------------------------------------------------- prompts

    def expand_prompt(self, prompt: str) -> str:
        """The prompt as the base reads it: every handle of an attached adapter replaced by its recipe's words."""
        for handle, words in self._readings():
            prompt = in_place(prompt, handle, words)
        return prompt

    def _readings(self) -> Iterator[tuple[str, str]]:
        """Every handle of an attached adapter, and the words that replace it now."""
        for place, adapter in enumerate(self.adapters):
            for answer in adapter.answers:
                says = answer.says if self._acts(place) or not answer.noun else answer.noun
                yield answer.handle, says if isinstance(says, str) else says(self.base)

    def handle_places(self, prompt: str, handle: str) -> tuple[int, ...]:
        """The positions, in the text-encoder hidden states, of the words that replace a handle in a prompt, or of a
        plain word. The prompt is given as the user wrote it. Empty where it does not name the handle or word."""
        readings = dict(self._readings())
        plain = not handle.startswith("<")
        if not names_word(prompt, handle) if plain else handle not in prompt or handle not in readings:
            return ()
        count = self.base.num_tokens(handle if plain else readings[handle], words=self.words)
        words = {**self.words, MARK: torch.zeros(count, 1)}
        if plain:
            renamed = re.sub(whole_word(handle), MARK, prompt, flags=re.IGNORECASE)
        else:
            renamed = in_place(prompt, handle, MARK, of=readings[handle])
        marked = self.expand_prompt(renamed)
        starts = self.base.word_places(marked, MARK, words=words)
        return tuple(start + k for start in starts for k in range(count))

    def text_states(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D]: hidden states of prompts. They are cached, also for other adapted bases, unless words or the text
        encoder are in training. Raises `PromptError` for a prompt with two handles that become the same words."""
        for prompt in prompts if sum(len(adapter.answers) for adapter in self.adapters) > 1 else ():
            _check_apart(prompt, self.adapters, self.base)
        texts = [self.expand_prompt(prompt) for prompt in prompts]
        residuals = {word: vector() for live in self._acting for word, vector in live.residuals.items()}
        return with_residuals(self.base, texts, self._states_of(texts), residuals, self.words if residuals else {})

    def _states_of(self, texts: Sequence[str]) -> Tensor:
        """[B, L, D]: hidden states of prompts as the base reads them, without residuals."""
        if not self.frozen_text or self._only is not None:
            unique = sorted(set(texts))
            states = self.base.text_states(unique, words=self.words)
            return states[torch.tensor([unique.index(text) for text in texts], device=states.device)]
        cached_states = {text: self._states.get(text) for text in set(texts)}
        states_by_text = {text: states for text, states in cached_states.items() if states is not None}
        new = sorted(set(texts) - states_by_text.keys())
        if new:
            read = read_texts(self.base, new, words=self.words)
            for text, states in read.items():
                self._states.put(text, states, states.numel() * states.element_size())
            states_by_text |= read
        return torch.stack([states_by_text[text] for text in texts])

    def text_learns(self, learns: bool) -> None:
        """Declare whether words or the text encoder are in training from now on, and drop cached hidden states."""
        self.frozen_text = not learns
        self._states.clear()

    def run(self, **about: Any) -> Pass:
        """The context of one run of the denoiser, which must take place before the context of another is made."""
        run = Pass(operations=self.operations, lives=tuple(self.live.every()), **about)
        for live in run.lives:
            live.run = run
        return run

    # ------------------------------------------------------------------------------------- parameters of the base

    def in_single(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The trained tensors in single precision: the parameters themselves, or copies of those in half precision,
        which `tensors` contains in their place from now on. A copy starts from the stored value in single precision
        where there is one, rather than from the rounded one."""
        for name, tensor in parameters.items():
            if tensor.dtype in HALF and name not in self.singles:
                given = self.adapters[0].stored.get(name, tensor)
                exact = given.dtype == torch.float32 and torch.equal(given.to(tensor), tensor)
                self.singles[name] = (given if exact else tensor).detach().to(tensor.device, torch.float32, copy=True)
        return {name: self.singles.get(name, tensor) for name, tensor in parameters.items()}

    def round_off(self, names: Iterable[str]) -> None:
        """Write trained values in single precision to the parameters in half precision that runs compute with."""
        if not self.singles:
            return
        tensors = {n: t for live in self.live.values() for n, t in live.tensors.items()}
        with torch.no_grad():
            for name in self.singles.keys() & set(names):
                (tensors[name] if name in tensors else parameter(self.base, name)).copy_(self.singles[name])

    def changing(self, names: Sequence[str]) -> None:
        """Store the original values of these base parameters, which are about to change, to restore them later."""
        for name in names:
            if name.startswith(BASE_PARTS) and name not in self.originals:
                self.originals[name] = parameter(self.base, name).detach().clone()

    def restart(self, names: Iterable[str]) -> None:
        """Give these trained parameters of the base their original values again. Raises `InputError` for a tensor of a
        modifier, whose values at the start are not stored."""
        strange = sorted(set(names) - self.originals.keys())
        if strange:
            raise InputError(
                f"a stage can train the base's own parameters anew, and {strange[0]} is a modifier's: leave out `anew`"
            )
        with torch.no_grad():
            for name in names:
                parameter(self.base, name).copy_(self.originals[name])
                if name in self.singles:
                    self.singles[name].copy_(self.originals[name])

    def suspended(self) -> AbstractContextManager[None]:
        """While inside, the base is as without adapters: no words, no operations, and its original parameters."""
        return self.only()

    @contextmanager
    def only(self, *places: int) -> Iterator[None]:
        """While inside, only the adapters at these places act: their words, operations, weight changes and parameters.
        In prompts, the class nouns of the other adapters replace their handles.

        Base parameters point to other values meanwhile. Nothing is written in place, so a backward pass may follow.
        Raises `InputError` for a place without an adapter.
        """
        strange = [place for place in places if place not in range(len(self.adapters))]
        if strange:
            raise InputError(
                f"there is no adapter at place {strange[0]}: {len(self.adapters)} are attached, counted from 0"
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

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While inside, trained tensors have the values of their exponential moving averages, in a stage with
        `momentum`.

        Tensors point to other values meanwhile. Nothing is written in place, so a backward pass may follow.
        """
        live_tensors = {name: tensor for live in self.live.values() for name, tensor in live.tensors.items()}
        trained = {n: live_tensors[n] if n in live_tensors else parameter(self.base, n) for n in self.averages}
        values = {name: tensor.data for name, tensor in trained.items()}
        try:
            for name, tensor in trained.items():
                tensor.data = self.averages[name].to(tensor)
            yield
        finally:
            for name, tensor in trained.items():
                tensor.data = values[name]

    def _value(self, name: str) -> Tensor:
        """The value of a base parameter under the adapters that act now."""
        if self._only is None:
            return self._whole[name]
        tensor = self.originals[name].clone() if self._only else self.originals[name]
        changes = _stored_parameters(self.adapters[place] for place in sorted(self._only))
        own = [(adapter, value) for adapter, key, value in changes if key == name]
        if own:
            _put(tensor, self.originals[name], own, alone=len({id(adapter) for adapter, _, _ in changes}) == 1)
        return tensor

    def switch(self) -> None:
        """Turn on the modifiers of the adapters that act now, and turn off the others. A pre-trained change of the
        network that several adapters share acts once, in the adapter with the largest scale."""
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
        """Modifiers that start from pre-trained weights and do not depend on the subject, each with its adapter and
        with a key that is equal for the same weights."""
        for (place, _), modifier, live in self.live.items():
            adapter = self.adapters[place]
            own = () if live.words or hasattr(modifier, "subject") else (live,)
            for each in (*own, *live.within) if self._acts(place) else ():
                if each.tensors and each.tensors.keys() <= adapter.shipped | adapter.tuned:
                    yield (adapter.recipe.weights, frozenset(each.tensors)), adapter, each

    def check_together(self) -> None:
        """Raise `InputError` where sampling with these adapters together, or at their scales, is not possible."""
        for adapter in self._painting:
            _check_scale(adapter)
        _ = self.guidance, self.denoiser, self.branches, self.parallel_stream, self.candidates, self.sampler
        adapters_by_change: dict[Hashable, list[tuple[str, bool]]] = {}
        for key, adapter, live in self._pretrained():
            if adapter.scale:
                adapters_by_change.setdefault(key, []).append(
                    (adapter.handle, bool(live.tensors.keys() & adapter.tuned))
                )
        for wearers in adapters_by_change.values():
            if len(wearers) > 1 and any(tuned for _, tuned in wearers):
                raise InputError(
                    f"{' and '.join(handle for handle, _ in wearers)} were both trained from one pre-trained change of the "
                    "network, which would act once for each; only one such concept can be attached at a time"
                )


@contextmanager
def attach(base: Base, adapters: Sequence[Adapter]) -> Iterator[AdaptedBase]:
    """Attach adapters in order; at the end, also after an exception, detach them in reverse order."""
    _check_handles(adapters)
    for adapter in adapters:
        if adapter.scale:
            _check_parts(base, adapter.recipe)
    adapted = AdaptedBase(base, tuple(adapters))
    with ExitStack() as stack:
        stack.callback(lambda: _assign(base, adapted.originals))
        stack.callback(adapted.live.release)
        _attach_parameters(adapted)
        for place, adapter in enumerate(adapters):
            for index, modifier in enumerate(adapter.recipe.modifiers):
                generator = stream(adapter.seed, "modifier", index)
                change = modifier(base, stored=adapter.stored, generator=generator, scale=adapter.scale)
                live = stack.enter_context(change)
                if set(live.words) & set(adapted.words):
                    raise InputError(
                        f"concept {place + 1} brings the word {set(live.words)}, which another has already"
                    )
                adapted.live.add(place, index, modifier, live)
            _check_all_read(adapter, adapted.live.of(place))
        adapted.switch()
        yield adapted


def with_residuals(
    base: Base, texts: Sequence[str], states: Tensor, residuals: Mapping[str, Tensor], words: Mapping[str, Tensor]
) -> Tensor:
    """The text-encoder hidden states [B, L, D] of texts, with each word's residual [D] added at its positions."""
    for word, vector in residuals.items():
        on = torch.zeros(*states.shape[:2], 1, device=states.device, dtype=states.dtype)
        for row, text in enumerate(texts):
            for start in base.word_places(text, word, words=words) if word in text else ():
                on[row, start : start + len(words[word])] = 1
        states = states + on * vector.to(states)
    return states


def parameter(base: Base, name: str) -> torch.nn.Parameter:
    """A parameter of the base by its full name, such as "denoiser.conv_in.weight"."""
    part, _, rest = name.partition(".")
    return base.module(part).get_parameter(rest)


def _assign(base: Base, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            parameter(base, name).copy_(value)


def _attach_parameters(adapted: AdaptedBase) -> None:
    """Write the base parameters that concepts store as values. A single concept at scale 1 replaces the base's values;
    otherwise differences to the base are scaled and summed."""
    stored = _stored_parameters(adapted.adapters)
    adapted.changing([name for _, name, _ in stored])
    alone = len({id(adapter) for adapter, _, _ in stored}) == 1
    for adapter, name, value in stored:
        now = parameter(adapted.base, name)
        if value.shape != now.shape:
            raise FileError(f"{name} is {tuple(value.shape)} in the concept and {tuple(now.shape)} in the base")
        _put(now, adapted.originals[name], [(adapter, value)], alone=alone)


def _stored_parameters(adapters: Iterable[Adapter]) -> list[tuple[Adapter, str, Tensor]]:
    """The base parameters that adapters store. A pre-trained one that several share counts once, in the adapter with
    the largest scale."""
    own = [(o, n, t) for o in adapters if o.scale for n, t in o.stored.items() if n.startswith(BASE_PARTS)]
    strongest: dict[tuple[str | None, str], Adapter] = {}
    for adapter, name, _ in own:
        if name in adapter.shipped:
            other = strongest.setdefault((adapter.recipe.weights, name), adapter)
            if abs(adapter.scale) > abs(other.scale):
                strongest[adapter.recipe.weights, name] = adapter
    return [(o, n, t) for o, n, t in own if n not in o.shipped or strongest[o.recipe.weights, n] is o]


def _put(now: Tensor, original: Tensor, values: Sequence[tuple[Adapter, Tensor]], *, alone: bool) -> None:
    """Write the values of a base parameter that adapters store to `now`."""
    with torch.no_grad():
        for adapter, value in values:
            if alone and adapter.scale == 1:
                now.copy_(value)
            else:
                now.add_(adapter.scale * (value.to(original) - original))


def scaled(operation: AttentionOp, adapter: Adapter) -> AttentionOp:
    """An operation of sampling at the scale of its adapter."""
    # `_check_scale` has made sure that it has an `at_scale`
    return operation if adapter.scale == 1 else operation.at_scale(adapter.scale)  # type: ignore[attr-defined]


def _partly(operation: LatentOperation, scale: float) -> LatentOperation:
    return operation if scale == 1 else lambda moment: moment.latents.lerp(operation(moment), scale)


def _check_scale(adapter: Adapter) -> None:
    painting = adapter.recipe.painting
    fixed = [op for op in painting.operations if not hasattr(op, "at_scale")]
    if adapter.scale not in (0, 1) and (fixed or painting.denoiser):
        raise InputError(
            f"{adapter.handle} acts in sampling in a way that cannot be scaled: it can be attached at scale 0 or 1, not "
            f"{adapter.scale:g}"
        )


def _check_all_read(adapter: Adapter, lives: Sequence[Live]) -> None:
    known = {name for live in lives for name in live.tensors}
    unread = [n for n in adapter.stored if n not in known and not n.startswith(BASE_PARTS)]
    if unread and adapter.scale:
        raise FileError(f"nothing reads these tensors of the concept: {unread[:5]}; was its method changed since?")


def _check_handles(adapters: Sequence[Adapter]) -> None:
    handles = [answer.handle for adapter in adapters for answer in adapter.answers]
    if len(set(handles)) < len(handles):
        raise PromptError(f"two concepts answer to one handle in {handles}; learn one under another --name")


def _check_apart(prompt: str, adapters: Sequence[Adapter], base: Base) -> None:
    """Raise `PromptError` where two handles in a prompt become the same rare token and class noun.

    Rare tokens are few, and a handle's is chosen by its letters. Recipes whose words are a fixed text are not checked:
    their words are learned or their subject is not identified by words.
    """
    named: dict[str, str] = {}
    for handle, says, _ in (answer for adapter in adapters if adapter.scale for answer in adapter.answers):
        if isinstance(says, str) or handle not in prompt:
            continue
        other = named.setdefault(says(base), handle)
        if other != handle:
            raise PromptError(
                f"{other} and {handle} were both trained as {says(base)!r} on {base.name}, so a prompt cannot tell them "
                "apart: learn one of them again under another --name, or name one of them in a prompt"
            )


def check_suits(base: Base, recipe: Recipe) -> None:
    """Raise `InputError`, before anything is computed, where a recipe cannot run on a base: a part acts in kinds of
    attention that the base does not have, so that it would do nothing, or needs a capability that the base lacks.

    base: the base
    recipe: the recipe; its stages are asked, too
    """
    _check_parts(base, recipe)
    check_needs(base, recipe)


def _check_parts(base: Base, recipe: Recipe) -> None:
    there = {site.kind for site in base.sites}
    for part in acting_parts(recipe):
        wanted = getattr(part, "acts_in", ())
        if wanted and not there.intersection(wanted):
            raise InputError(
                f"{names([part])[0] or 'a part of this method'} acts in {' or '.join(wanted)} attention, and {base.name} ({base.family}) has "
                f"{' and '.join(sorted(there))} attention only: this method does nothing on it"
            )
        check_part(base, part)
