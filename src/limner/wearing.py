"""Wearing recipes: the base changed for as long as a `with` lasts, and afterwards equal to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .bases.attention import Pass
from .errors import FileError, InputError, PromptError
from .keeping import read_texts
from .recipe import (
    AttentionOp,
    Candidates,
    Companion,
    Denoiser,
    Guidance,
    LatentOperation,
    Live,
    Modifier,
    Recipe,
    names,
)
from .streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base

MAX_STATES = 4096  # prompts whose states are kept
BASE_PARTS = (
    *("denoiser.", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "autoencoder."),
    *("prior.", "prior_pictures.", "second_stage."),
)
"""How the names of a base's own parameters begin."""


@dataclass(frozen=True)
class Outfit:
    """A recipe to wear: under which handle, with which stored tensors, how strongly (0 is the base, 1 as learned). `noun` is what
    its subject is where it is not worn yet."""

    recipe: Recipe
    handle: str
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0
    seed: int = 0
    noun: str = ""


@dataclass
class Worn:
    """A base and what it wears now."""

    base: Base
    outfits: tuple[Outfit, ...]
    live: dict[Modifier, Live] = field(default_factory=dict)
    originals: dict[str, Tensor] = field(default_factory=dict)  # of base parameters that changed, by name
    frozen_text: bool = True
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)  # for what a painting needs at many steps
    _states: dict[str, Tensor] = field(default_factory=dict)
    _suspended: bool = False

    @property
    def words(self) -> dict[str, Tensor]:
        """Learned words now in the vocabulary: word -> vectors [n, D]."""
        if self._suspended:
            return {}
        return {w: v() if callable(v) else v for live in self.live.values() for w, v in live.words.items()}

    @property
    def operations(self) -> tuple[AttentionOp, ...]:
        """What acts in attention, in the order worn."""
        if self._suspended:
            return ()
        return tuple(op for live in self.live.values() for op in live.operations)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Everything that makes the difference to the base: what a concept stores."""
        found = {name: tensor for live in self.live.values() for name, tensor in live.tensors.items()}
        return found | {name: parameter(self.base, name) for name in self.originals}

    @property
    def guidance(self) -> tuple[Guidance, ...]:
        return tuple(g for outfit in self.outfits for g in outfit.recipe.painting.guidance if outfit.scale)

    @property
    def denoisers(self) -> tuple[Callable[[Worn, Denoiser], Denoiser], ...]:
        """What is put around the base's own denoiser while painting, in the order worn."""
        own = (outfit.recipe.painting.denoiser for outfit in self.outfits if outfit.scale)
        return tuple(around for around in own if around)

    @property
    def painting_operations(self) -> tuple[AttentionOp, ...]:
        own = (op for outfit in self.outfits for op in outfit.recipe.painting.operations if outfit.scale)
        return (*self.operations, *own)

    @property
    def twins(self) -> Callable[[str], str] | None:
        """Picture's prompt -> its twin's, if a recipe asks for twins. Two that ask cannot be worn at once."""
        makers = [o.recipe.painting.twins for o in self.outfits if o.recipe.painting.twins and o.scale]
        if len(makers) > 1:
            raise InputError(f"{len(makers)} of these concepts paint twins; only one can be worn at a time")
        return makers[0] if makers else None

    @property
    def latent_operations(self) -> tuple[LatentOperation, ...]:
        return tuple(op for outfit in self.outfits for op in outfit.recipe.painting.latents if outfit.scale)

    def companion(self, steps: int) -> Companion | None:
        """The row painted along, if a recipe asks for one. Two that ask cannot be worn at once."""
        makers = [o.recipe.painting.companion for o in self.outfits if o.recipe.painting.companion and o.scale]
        if len(makers) > 1:
            raise InputError(
                f"{len(makers)} of these concepts need a reference row of their own; only one can be worn at a time"
            )
        return makers[0](self)(steps) if makers else None

    @property
    def candidates(self) -> Candidates | None:
        """How the picture to keep is chosen, if a recipe paints several. Two that do cannot be worn at once."""
        found = [o.recipe.painting.candidates for o in self.outfits if o.recipe.painting.candidates and o.scale]
        if len(found) > 1:
            raise InputError(f"{len(found)} of these concepts choose among candidates; only one can be worn at a time")
        return found[0] if found else None

    # ------------------------------------------------------------------------------------------------------- prompts

    def said(self, prompt: str) -> str:
        """The prompt as the base reads it: every worn handle replaced by what its recipe says."""
        for outfit in self.outfits:
            says = outfit.recipe.says
            prompt = prompt.replace(outfit.handle, says if isinstance(says, str) else says(self.base))
        return prompt

    def text_states(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, D]; kept for prompts seen before, also by another worn base, unless words or the text tower are learning. Raises
        `PromptError` for a prompt that names two concepts which are read as the same words."""
        for prompt in prompts if len(self.outfits) > 1 else ():
            _check_apart(prompt, self.outfits, self.base)
        said = [self.said(prompt) for prompt in prompts]
        if not self.frozen_text or self._suspended:
            unique = sorted(set(said))
            states = self.base.text_states(unique, words=self.words)
            return states[torch.tensor([unique.index(text) for text in said], device=states.device)]
        if len(self._states) > MAX_STATES:
            self._states.clear()
        new = sorted(set(said) - self._states.keys())
        if new:
            self._states |= read_texts(self.base, new, words=self.words)
        return torch.stack([self._states[text] for text in said])

    def text_learns(self, learns: bool) -> None:
        """Whether words or the text tower change now; states kept from before are forgotten."""
        self.frozen_text = not learns
        self._states.clear()

    def run(self, **about: Any) -> Pass:
        """The context of one run of the denoiser, to be run before another is asked for."""
        run = Pass(operations=self.operations, lives=tuple(self.live.values()), **about)
        for live in self.live.values():
            live.run = run
        return run

    # ------------------------------------------------------------------------------------------------ the base's own

    def changing(self, names: Sequence[str]) -> None:
        """Say that these base parameters will change, so that they can be put back."""
        for name in names:
            if name.startswith(BASE_PARTS) and name not in self.originals:
                self.originals[name] = parameter(self.base, name).detach().clone()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The untouched base for a while: no words, no operations, no deltas, its own parameters.

        Parameters point to their original values meanwhile; nothing is written, so a gradient may be under way.
        """
        now = {name: parameter(self.base, name).data for name in self.originals}
        for name, value in self.originals.items():
            parameter(self.base, name).data = value
        self._suspended = True
        for live in self.live.values():
            live.on = False
        try:
            yield
        finally:
            self._suspended = False
            for live in self.live.values():
                live.on = True
            for name, value in now.items():
                parameter(self.base, name).data = value


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
                worn.live[modifier] = live
            _check_all_read(outfit, worn)
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
    stored = [(o, n, t) for o in worn.outfits if o.scale for n, t in o.stored.items() if n.startswith(BASE_PARTS)]
    worn.changing([name for _, name, _ in stored])
    alone = len({id(outfit) for outfit, _, _ in stored}) == 1
    with torch.no_grad():
        for outfit, name, value in stored:
            now, original = parameter(worn.base, name), worn.originals[name]
            if value.shape != now.shape:
                raise FileError(f"{name} is {tuple(value.shape)} in the concept and {tuple(now.shape)} in the base")
            if alone and outfit.scale == 1:
                now.copy_(value)
            else:
                now.add_(outfit.scale * (value.to(original) - original))


def _check_all_read(outfit: Outfit, worn: Worn) -> None:
    known = {n for m in outfit.recipe.modifiers if m in worn.live for n in worn.live[m].tensors}
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
