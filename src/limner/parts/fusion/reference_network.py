"""The denoiser itself as the encoder of references: the inputs of its attention layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.lru import LRU, TEXT_BYTES
from limner.core.streams import stream
from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.denoiser import switched_off
from limner.parts.encoders.latents import encoded
from limner.parts.encoders.looks import subject_references
from limner.parts.modifiers.parameters import Kept, prefixed, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Modifier
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, AttentionOp, Pass, Site


@dataclass(frozen=True)
class Shown:
    """The denoiser's hidden states of each row's references at one site."""

    hidden: Tensor  # [rows, R * N, C]: the layer's input for all pictures of a row
    where: Tensor  # [rows, R * N] in [0, 1]: masks of the subject in them
    on: Tensor  # [rows] bool: rows with references
    count: int  # number R of pictures of a row
    strength: float  # strength of the recipe
    handle: str = ""  # handle of the subject

    @property
    def by_row(self) -> Tensor:
        """[rows, 1, 1]: the strength, and 0 for rows without references."""
        return (self.strength * self.on).to(self.hidden).view(-1, 1, 1)


Use: TypeAlias = "Callable[[AttentionCall, Shown, Mapping[str, Tensor]], None]"
"""Act on an attention layer's call, with the hidden states at its site and the parameters of the reading."""

Reading: TypeAlias = "Callable[[Base, list[Site], Mapping[str, Tensor], Generator], tuple[dict[str, Tensor], Use]]"
"""Base, sites, stored tensors by name, generator -> parameters, and how sites use the references' hidden states."""


@dataclass(frozen=True)
class reference_network:
    """Attention layers read the hidden states that the subject's references have in the same layers.

    The references run through the denoiser first, noised to the run's time or clean at time 0. When sampling, clean
    pictures run once. Raises `InputError` where the base has no such sites.

    subject: the subject
    reading: how sites use the hidden states
    chosen: site -> whether it reads references
    noised: whether references are noised to the run's time
    plain: whether the subject is shown on a plain background
    says: prompt of these runs, with {noun} for the class
    captioned: whether pictures' own captions are prompts, where they have any
    copy: a modifier that changes the denoiser in these runs; None runs the base. No other modifier acts in them
    shared: whether `copy` is attached in all runs: one network then reads the references and predicts
    blind: branches of sampling that read no references
    outside: whether, with `plain`, the subject's surroundings are shown in its place, from its own pictures
    name: prefix of its tensors' names
    """

    subject: Subject
    reading: Reading
    chosen: Callable[[Site], bool]
    noised: bool = True
    plain: bool = False
    says: str = "a photo of a {noun}"
    captioned: bool = False
    copy: Modifier | None = None
    shared: bool = False
    blind: tuple[str, ...] = ("negative",)
    outside: bool = False
    name: str = "reference_network"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        sites = [site for site in base.sites if self.chosen(site)]
        if not sites:
            raise InputError(
                f"{base.name} ({base.family}) has no attention layer of the kind that reads references here: this method does "
                "not work on it"
            )
        latents, where = self._own(base, stored)
        prefix = f"{self.name}."
        given = under(prefix, stored)
        own, use = self.reading(base, sites, given, generator)
        strength = scale if self.shared else 1.0
        made: Any = nullcontext(Live())
        if self.copy:
            made = self.copy(base, stored=stored, generator=generator, scale=strength)
        with made as copy:
            live = Live(within=(copy,) if self.shared else ())
            running = _Running(self, base, copy, copy.operations, latents, where, scale)
            reference_tensors = {f"{prefix}latents": latents, f"{prefix}masks": where}
            live.tensors = {**copy.tensors, **reference_tensors, **prefixed(prefix, own)}
            copy.on = self.shared
            if scale:
                shared = copy.operations if self.shared else ()
                live.operations = (*shared, running.operation({site.name for site in sites}, use, own, live))
            yield live

    def _own(self, base: Base, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Latents [R, C, h, w] of the subject's pictures and its masks [R, 1, h, w]."""
        import torch

        if f"{self.name}.latents" in stored:
            tensors = (stored[f"{self.name}.{what}"] for what in ("latents", "masks"))
            latents, where = (tensor.to(base.device, base.dtype) for tensor in tensors)
            return latents, where
        with torch.no_grad():
            shown = subject_references(base, self.subject, masks=self.plain)
            if self.outside and shown.masks is not None:
                shown = replace(shown, masks=1 - shown.masks)
            latents, where = encoded(base, shown, plain=self.plain)
        return latents[0], where[0]

    def prompts_of(self, noun: str, captions: tuple[str, ...], count: int) -> list[str]:
        """The prompts of one row's pictures."""
        own = captions if self.captioned and captions else ("",) * count
        return [caption or self.says.format(noun=noun) for caption in own]


@dataclass
class _Running:
    """A reference network while it is attached."""

    network: reference_network
    base: Base
    copy: Live
    inner: tuple[AttentionOp, ...]  # operations in runs of the network itself
    latents: Tensor
    where: Tensor
    scale: float
    cache: Kept = field(default_factory=Kept)
    texts: LRU[Tensor] = field(default_factory=lambda: LRU(TEXT_BYTES))

    def operation(self, names: set[str], use: Use, own: Mapping[str, Tensor], live: Live) -> AttentionOp:
        """At sites of these names, rows use the references' hidden states."""

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.name in names and live.on:
                key: Any = (id(self.network), "shown")
                if key not in call.run.cache:
                    call.run.cache[key] = self.shown(call.run, len(call.query))
                shown = call.run.cache[key]
                if shown:
                    use(call, shown[call.site.name], own)
            return call

        return operation

    def shown(self, run: Pass, rows: int) -> dict[str, Shown]:
        """Hidden states by name of the site; empty where no row has references."""
        import torch

        assert run.time is not None
        noun, given = self.network.subject.noun, run.references
        if given is not None:
            clean, masks = encoded(self.base, given, plain=self.network.plain)
            on, time = given.on, run.time
            nouns = given.nouns or (noun,) * len(clean)
            captions = given.captions or ((),) * len(clean)
        else:
            clean, masks, nouns, time = self.latents[None], self.where[None], (noun,), run.time[:1]
            captions = (self._own_captions(),)
            branches = [branch not in self.network.blind and run.random is None for branch in run.branches]
            on = torch.tensor(branches).repeat_interleave(rows // len(run.branches))
            if not on.any():
                return {}
        count = clean.shape[1]
        prompts = [text for row in zip(nouns, captions, strict=True) for text in self.network.prompts_of(*row, count)]
        shown_by_site = {}
        for name, states in self._hidden(clean, prompts, time, run).items():
            seen = _resized(masks, states.shape[1]).flatten(1)
            whole = states.unflatten(0, clean.shape[:2]).flatten(1, 2)
            at = on.to(whole.device)
            handle = self.network.subject.handle
            shown_by_site[name] = Shown(
                whole.expand(rows, -1, -1), seen.expand(rows, -1), at, count, self.scale, handle
            )
        return shown_by_site

    def _own_captions(self) -> tuple[str, ...]:
        """Captions of the subject's pictures, with the class noun in the handle's position."""
        subject = self.network.subject
        return tuple(picture.caption.replace(subject.handle, f"a {subject.noun}") for picture in subject.pictures)

    def _hidden(self, clean: Tensor, prompts: list[str], time: Tensor, run: Pass) -> dict[str, Tensor]:
        """[B * R, N, C] by site: its input when the network reads these latents [B, R, C, h, w]."""
        import torch

        from limner.core.types import Pass

        base, noised, count = self.base, self.network.noised, clean.shape[1]
        flat, times = clean.flatten(0, 1), time.repeat_interleave(count) * int(noised)
        still = run.random is None and run.references is None and not torch.is_grad_enabled()
        self.cache.check(self.copy.tensors.values())
        key = int(times[0])
        if still and key in self.cache.values:
            cached_states: dict[str, Tensor] = self.cache.values[key]
            return cached_states
        if noised:
            at = run.random("reference noise") if run.random else stream(0, "reference noise", key)
            flat = base.noised(flat, torch.randn(flat.shape, generator=at).to(flat), times)
        hidden: dict[str, Tensor] = {}

        def note(call: AttentionCall) -> AttentionCall:
            if self.network.chosen(call.site):
                hidden[call.site.name] = call.hidden
            return call

        with switched_off(run.lives, but=self.copy):
            about = Pass((*self.inner, note), time=times, prompts=tuple(prompts), fused=run.fused)
            base.predict(flat, times, self._states(prompts), context=about)
        if still:
            self.cache.values.clear()
            self.cache.values[key] = hidden
        return hidden

    def _states(self, prompts: list[str]) -> Tensor:
        """[B * R, L, D]: the base's hidden states of these prompts; cached while the network is attached."""
        import torch

        states_by_prompt: dict[str, Tensor] = {}
        with torch.no_grad():
            for text in prompts:
                if text not in states_by_prompt:
                    states = self.texts.get(text)
                    states_by_prompt[text] = self.base.text_states([text], words={})[0] if states is None else states
                    self.texts.put(
                        text,
                        states_by_prompt[text],
                        states_by_prompt[text].numel() * states_by_prompt[text].element_size(),
                    )
        return torch.stack([states_by_prompt[text] for text in prompts])


def _resized(masks: Tensor, places: int) -> Tensor:
    """[B, R, N]: masks [B, R, 1, h, w] at a site of N positions."""
    import torch.nn.functional as F

    side = round(places**0.5)
    return F.adaptive_avg_pool2d(masks.flatten(0, 1).float(), side).flatten(1).unflatten(0, masks.shape[:2]).to(masks)
