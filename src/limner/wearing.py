"""Wearing recipes: the base changed for as long as a `with` lasts, and afterwards equal to the bit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .bases.attention import Pass
from .errors import FileError, InputError, PromptError
from .keeping import TEXT_BYTES, Recent, read_texts
from .recipe import (
    AttentionOp,
    Candidates,
    Companion,
    Denoiser,
    Guidance,
    LatentOperation,
    Live,
    Lives,
    Recipe,
    names,
)
from .streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base

HALF = (torch.float16, torch.bfloat16)
BASE_PARTS = (
    *("denoiser.", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "autoencoder."),
    *("prior.", "prior_pictures.", "second_stage."),
)
"""How the names of a base's own parameters begin."""


@dataclass(frozen=True)
class Outfit:
    """A recipe to wear: under which handle, with which stored tensors, how strongly (0 is the base, 1 as learned). `noun` is what
    its subject is where it is not worn yet. `shipped` names the stored tensors that are those of the recipe's pre-trained weights,
    and `tuned` those that the weights have as well and this subject learned on."""

    recipe: Recipe
    handle: str
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0
    seed: int = 0
    noun: str = ""
    shipped: frozenset[str] = frozenset()
    tuned: frozenset[str] = frozenset()


@dataclass
class Worn:
    """A base and what it wears now."""

    base: Base
    outfits: tuple[Outfit, ...]
    live: Lives = field(default_factory=Lives)
    originals: dict[str, Tensor] = field(default_factory=dict)  # of base parameters that changed, by name
    frozen_text: bool = True
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)  # for what a painting needs at many steps
    singles: dict[str, Tensor] = field(default_factory=dict)  # what learns and is in half precision, by name, in single
    _states: Recent[Tensor] = field(default_factory=lambda: Recent(TEXT_BYTES))
    _only: frozenset[int] | None = None  # places of the outfits that act; None: all
    _whole: dict[str, Tensor] = field(
        default_factory=dict
    )  # base parameters that changed, as they are with all outfits

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
    def _painting(self) -> list[Outfit]:
        """The outfits that act while painting."""
        return [outfit for place, outfit in enumerate(self.outfits) if outfit.scale and self._acts(place)]

    @property
    def operations(self) -> tuple[AttentionOp, ...]:
        """What acts in attention, in the order worn."""
        return tuple(op for live in self._acting for op in live.operations)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that makes the difference to the base: what a concept stores. What learns is in single precision."""
        found = {name: tensor for live in self.live.values() for name, tensor in live.tensors.items()}
        return found | {name: parameter(self.base, name) for name in self.originals} | self.singles

    @property
    def guidance(self) -> tuple[Guidance, ...]:
        """How a recipe guides by itself. Two that do cannot be worn at once."""
        return self._one("guidance", "guide by themselves") or ()

    @property
    def denoiser(self) -> Callable[[Worn, Denoiser], Denoiser] | None:
        """What is put around the base's own denoiser while painting. Two that ask for it cannot be worn at once."""
        return self._one("denoiser", "change what is denoised")

    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]:
        own = (scaled(op, outfit) for outfit in self._painting for op in outfit.recipe.painting.operations)
        return (*self.operations, *own)

    @property
    def branches(self) -> dict[str, Callable[[str], str]]:
        """What guidance may ask for beside "text" and "negative". Two recipes cannot have the same."""
        found: dict[str, Callable[[str], str]] = {}
        for outfit in self._painting:
            if both := found.keys() & outfit.recipe.painting.branches.keys():
                raise InputError(
                    f"two of these concepts guide by a branch {min(both)!r} of their own; only one can be worn at a time"
                )
            found |= outfit.recipe.painting.branches
        return found

    @property
    def twins(self) -> Callable[[str], str] | None:
        """Picture's prompt -> its twin's, if a recipe asks for twins. Two that ask cannot be worn at once."""
        return self._one("twins", "paint twins")

    @property
    def latent_operations(self) -> tuple[LatentOperation, ...]:
        """What acts between steps; at a scale below 1 it goes that part of its way."""
        return tuple(_partly(op, o.scale) for o in self._painting for op in o.recipe.painting.latents)

    def companion(self, steps: int) -> Companion | None:
        """The row painted along, if a recipe asks for one. Two that ask cannot be worn at once."""
        maker = self._one("companion", "need a reference row of their own")
        return maker(self)(steps) if maker else None

    @property
    def candidates(self) -> Candidates | None:
        """How the picture to keep is chosen, if a recipe paints several. Two that do cannot be worn at once."""
        found: Candidates | None = self._one("candidates", "choose among candidates")
        return found

    def _one(self, name: str, do: str) -> Any:
        """A part of painting that at most one outfit may have."""
        found = [outfit for outfit in self._painting if getattr(outfit.recipe.painting, name)]
        if len(found) > 1:
            both = " and ".join(outfit.handle for outfit in found)
            raise InputError(f"{both} each {do}; only one such concept can be worn at a time")
        return getattr(found[0].recipe.painting, name) if found else None

    # ------------------------------------------------------------------------------------------------------- prompts

    def said(self, prompt: str) -> str:
        """The prompt as the base reads it: every worn handle replaced by what its recipe says."""
        for place, outfit in enumerate(self.outfits):
            says = outfit.recipe.says if self._acts(place) or not outfit.noun else outfit.noun
            prompt = prompt.replace(outfit.handle, says if isinstance(says, str) else says(self.base))
        return prompt

    def text_states(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D]; kept for prompts seen before, also by another worn base, unless words or the text tower are learning. Raises
        `PromptError` for a prompt that names two concepts which are read as the same words."""
        for prompt in prompts if len(self.outfits) > 1 else ():
            _check_apart(prompt, self.outfits, self.base)
        said = [self.said(prompt) for prompt in prompts]
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
        """What is to learn, in single precision: parameters themselves, or, of those in half precision, copies that `tensors` has in
        their place from now on. What was learned before is gone on from, not what it was rounded to."""
        for name, tensor in parameters.items():
            if tensor.dtype in HALF and name not in self.singles:
                given = self.outfits[0].stored.get(name, tensor)
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
        """For a while, the base with the outfits at these places alone: their words, operations, deltas and parameters. In prompts,
        the handles of the others are their nouns.

        Base parameters point to other values meanwhile; nothing is written, so a gradient may be under way. Raises `InputError`
        for a place where there is no outfit.
        """
        strange = [place for place in places if place not in range(len(self.outfits))]
        if strange:
            raise InputError(f"there is no outfit at place {strange[0]}: {len(self.outfits)} are worn, counted from 0")
        now = {name: parameter(self.base, name).data for name in self.originals}
        before, on = self._only, [(live, live.on) for live in self.live.every()]
        if before is None:
            self._whole = now
        self._only = frozenset(places) if len(set(places)) < len(self.outfits) else None
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
        """A base parameter as the outfits that act now have it."""
        if self._only is None:
            return self._whole[name]
        found = self.originals[name].clone() if self._only else self.originals[name]
        changes = _stored_parameters(self.outfits[place] for place in sorted(self._only))
        own = [(outfit, value) for outfit, key, value in changes if key == name]
        if own:
            _put(found, self.originals[name], own, alone=len({id(outfit) for outfit, _, _ in changes}) == 1)
        return found

    def switch(self) -> None:
        """Turn on what acts now. A pre-trained change of the network that several outfits share acts once, in the strongest of
        them."""
        for (place, _), _, live in self.live.items():
            for each in (live, *live.within):
                each.on = self._acts(place)
        shared: dict[Hashable, tuple[float, Live]] = {}
        for key, outfit, live in self._pretrained():
            if live.tensors.keys() <= outfit.shipped:
                strength, strongest = shared.setdefault(key, (abs(outfit.scale), live))
                if live is not strongest:
                    weaker = live
                    if abs(outfit.scale) > strength:
                        shared[key], weaker = (abs(outfit.scale), live), strongest
                    weaker.on = False

    def _pretrained(self) -> Iterator[tuple[Hashable, Outfit, Live]]:
        """Changes of the network, the same for every subject, that begin as pre-trained weights: with what tells one from another."""
        for (place, _), modifier, live in self.live.items():
            outfit = self.outfits[place]
            own = () if live.words or hasattr(modifier, "subject") else (live,)
            for each in (*own, *live.within) if self._acts(place) else ():
                if each.tensors and each.tensors.keys() <= outfit.shipped | outfit.tuned:
                    yield (outfit.recipe.weights, frozenset(each.tensors)), outfit, each

    def check_together(self) -> None:
        """Raises `InputError` where these outfits cannot be painted with at once, or not at their scales."""
        for outfit in self._painting:
            _check_scale(outfit)
        _ = self.guidance, self.denoiser, self.branches, self.twins, self.candidates
        found: dict[Hashable, list[tuple[str, bool]]] = {}
        for key, outfit, live in self._pretrained():
            if outfit.scale:
                found.setdefault(key, []).append((outfit.handle, bool(live.tensors.keys() & outfit.tuned)))
        for wearers in found.values():
            if len(wearers) > 1 and any(tuned for _, tuned in wearers):
                raise InputError(
                    f"{' and '.join(handle for handle, _ in wearers)} learned on from one pre-trained change of the network, which "
                    "would act once for each; only one such concept can be worn at a time"
                )


@contextmanager
def wear(base: Base, outfits: Sequence[Outfit]) -> Iterator[Worn]:
    """Put outfits on, in order; take them off in reverse, whatever happens in between."""
    _check_handles(outfits)
    _check_sites(base, outfits)
    worn = Worn(base, tuple(outfits))
    with ExitStack() as stack:
        stack.callback(lambda: _assign(base, worn.originals))
        _wear_parameters(worn)
        for place, outfit in enumerate(outfits):
            for index, modifier in enumerate(outfit.recipe.modifiers):
                generator = stream(outfit.seed, "modifier", index)
                change = modifier(base, stored=outfit.stored, generator=generator, scale=outfit.scale)
                live = stack.enter_context(change)
                if set(live.words) & set(worn.words):
                    raise InputError(f"concept {place + 1} brings the word {set(live.words)}, which is worn already")
                worn.live.add(place, index, modifier, live)
            _check_all_read(outfit, worn.live.of(place))
        worn.switch()
        yield worn


def parameter(base: Base, name: str) -> torch.nn.Parameter:
    """A parameter of the base by its full name, "denoiser.conv_in.weight"."""
    part, _, rest = name.partition(".")
    return base.module(part).get_parameter(rest)


def _assign(base: Base, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            parameter(base, name).copy_(value)


def _wear_parameters(worn: Worn) -> None:
    """Base parameters that a concept stores as values. One at full strength is put in as it is; else deltas add up."""
    stored = _stored_parameters(worn.outfits)
    worn.changing([name for _, name, _ in stored])
    alone = len({id(outfit) for outfit, _, _ in stored}) == 1
    for outfit, name, value in stored:
        now = parameter(worn.base, name)
        if value.shape != now.shape:
            raise FileError(f"{name} is {tuple(value.shape)} in the concept and {tuple(now.shape)} in the base")
        _put(now, worn.originals[name], [(outfit, value)], alone=alone)


def _stored_parameters(outfits: Iterable[Outfit]) -> list[tuple[Outfit, str, Tensor]]:
    return [(o, n, t) for o in outfits if o.scale for n, t in o.stored.items() if n.startswith(BASE_PARTS)]


def _put(now: Tensor, original: Tensor, values: Sequence[tuple[Outfit, Tensor]], *, alone: bool) -> None:
    """Write what outfits make of a base parameter."""
    with torch.no_grad():
        for outfit, value in values:
            if alone and outfit.scale == 1:
                now.copy_(value)
            else:
                now.add_(outfit.scale * (value.to(original) - original))


def scaled(operation: AttentionOp, outfit: Outfit) -> AttentionOp:
    """An operation of painting as strong as its outfit is worn."""
    return operation if outfit.scale == 1 else operation.at_scale(outfit.scale)  # type: ignore[attr-defined]  # checked before


def _partly(operation: LatentOperation, scale: float) -> LatentOperation:
    return operation if scale == 1 else lambda moment: moment.latents.lerp(operation(moment), scale)


def _check_scale(outfit: Outfit) -> None:
    painting = outfit.recipe.painting
    fixed = [op for op in painting.operations if not hasattr(op, "at_scale")]
    if outfit.scale not in (0, 1) and (fixed or painting.denoiser):
        raise InputError(
            f"{outfit.handle} acts while painting in a way that has no strength: it can be worn at scale 0 or 1, not {outfit.scale:g}"
        )


def _check_all_read(outfit: Outfit, lives: Sequence[Live]) -> None:
    known = {name for live in lives for name in live.tensors}
    unread = [n for n in outfit.stored if n not in known and not n.startswith(BASE_PARTS)]
    if unread and outfit.scale:
        raise FileError(f"nothing reads these tensors of the concept: {unread[:5]}; was its method changed since?")


def _check_handles(outfits: Sequence[Outfit]) -> None:
    handles = [outfit.handle for outfit in outfits]
    if len(set(handles)) < len(handles):
        raise PromptError(f"two concepts answer to one handle in {handles}; teach one under another --name")


def _check_apart(prompt: str, outfits: Sequence[Outfit], base: Base) -> None:
    """Two concepts that were taught by one rare word and class noun cannot be told apart in one prompt. Rare words are few, and a
    handle's is chosen by its letters; a recipe that says the plain noun is known by other means than words."""
    named: dict[str, str] = {}
    for outfit in outfits:
        says = outfit.recipe.says
        if isinstance(says, str) or not outfit.scale or outfit.handle not in prompt:
            continue
        other = named.setdefault(says(base), outfit.handle)
        if other != outfit.handle:
            raise PromptError(
                f"{other} and {outfit.handle} were both taught as {says(base)!r} on {base.name}, so a prompt cannot tell them apart: "
                "teach one of them again under another --name, or name one of them in a prompt"
            )


def _check_sites(base: Base, outfits: Sequence[Outfit]) -> None:
    """What acts in attention finds some of its kind; else it would do nothing, in silence."""
    there = {site.kind for site in base.sites}
    for outfit in outfits:
        parts: list[Any] = [*outfit.recipe.modifiers, *outfit.recipe.painting.operations]
        for part in parts:
            wanted = getattr(part, "acts_in", ())
            if outfit.scale and wanted and not there.intersection(wanted):
                raise InputError(
                    f"{names([part])[0]} acts in {' or '.join(wanted)} attention, and {base.name} ({base.family}) has "
                    f"{' and '.join(sorted(there))} attention only: this method means nothing on it"
                )
