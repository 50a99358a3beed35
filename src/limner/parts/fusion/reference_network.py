"""The denoiser itself as the encoder of pictures: what enters its attention layers when it looks at the subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.bases.attention import Pass
from limner.parts.encoders.denoiser import switched_off
from limner.parts.encoders.looks import subject_references
from limner.parts.modifiers.kept import Kept
from limner.recipe import Live
from limner.streams import stream

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.bases.attention import AttentionCall, Site
    from limner.bases.protocol import Base
    from limner.recipe import Modifier, References
    from limner.subject import Subject

LATENTS, MASKS = "reference_network.latents", "reference_network.masks"


@dataclass(frozen=True)
class Shown:
    """What the denoiser saw of each row's pictures at one site."""

    hidden: Tensor  # [rows, R * N, C]: what entered the layer, of all pictures of a row
    where: Tensor  # [rows, R * N] in [0, 1]: where the subject is in them
    on: Tensor  # [rows] bool: rows that see their pictures
    strength: float  # how strongly the recipe is worn


Use: TypeAlias = "Callable[[AttentionCall, Shown, Mapping[str, Tensor]], None]"
"""Acts on a call of the run under way, with what was shown at its site and the parameters of its own."""

Reading: TypeAlias = "Callable[[Base, list[Site], Mapping[str, Tensor], Generator], tuple[dict[str, Tensor], Use]]"
"""Base, sites, stored tensors by name, generator -> parameters, and how sites use what is shown."""


@dataclass(frozen=True)
class reference_network:
    """In runs of the denoiser, its attention layers see what the same layers saw in pictures of the subject.

    Pictures are run through the denoiser first: noised to the time of the run, or clean, at time 0. `copy` is what that
    network has learned of its own, worn in such runs alone, when nothing else is; without it, it is the base. `chosen` says
    at which sites. `plain`: the subject on plain ground. Prompts of these runs are `says`. While painting, negative branches
    see nothing; clean pictures are run once.
    """

    subject: Subject
    reading: Reading
    chosen: Callable[[Site], bool]
    noised: bool = True
    plain: bool = False
    says: str = "a photo of a {noun}"
    copy: Modifier | None = None
    name: str = "reference_network"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from contextlib import nullcontext

        latents, where = self._own(base, stored)
        sites = [site for site in base.sites if self.chosen(site)]
        prefix = f"{self.name}."
        given = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        own, use = self.reading(base, sites, given, generator)
        live = Live({LATENTS: latents, MASKS: where, **{f"{prefix}{key}": p for key, p in own.items()}})
        names = {site.name for site in sites}
        made: Any = self.copy(base, stored=stored, generator=generator, scale=1.0) if self.copy else nullcontext(Live())
        with made as copy:
            copy.on = False
            live.tensors |= copy.tensors
            running = _Running(self, base, copy, latents, where, scale)

            def operation(call: AttentionCall) -> AttentionCall:
                if call.site.name in names and live.on:
                    key: Any = (self, "shown")
                    if key not in call.run.cache:
                        call.run.cache[key] = running.shown(call.run, len(call.query))
                    use(call, call.run.cache[key][call.site.name], own)
                return call

            if scale:
                live.operations = (operation,)
            yield live

    def _own(self, base: Base, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Latents [R, C, h, w] of the subject's pictures and where it is in them [R, 1, h, w]."""
        import torch

        if LATENTS in stored:
            return stored[LATENTS].to(base.device, base.dtype), stored[MASKS].to(base.device, base.dtype)
        with torch.no_grad():
            shown = subject_references(base, self.subject, masks=self.plain)
            latents, where = encoded(base, shown, plain=self.plain)
        return latents[0], where[0]


def encoded(base: Base, shown: References, *, plain: bool) -> tuple[Tensor, Tensor]:
    """Latents [B, R, C, h, w] of pictures, on plain ground or as they are, and masks [B, R, 1, h, w]."""
    import torch
    import torch.nn.functional as F

    from limner.parts.sources.pairs import on_plain

    pixels, size = shown.pixels, base.latent_shape[1:]
    if plain and shown.masks is not None:
        pixels = on_plain(pixels, shown.masks)
    with torch.no_grad():
        latents = base.encode(pixels.flatten(0, 1))[0].to(base.dtype).unflatten(0, pixels.shape[:2])
    if shown.masks is None:
        return latents, torch.ones_like(latents[:, :, :1])
    where = F.interpolate(shown.masks.flatten(0, 1), size, mode="area").unflatten(0, pixels.shape[:2])
    return latents, where.to(latents)


@dataclass
class _Running:
    """A reference network while it is worn."""

    network: reference_network
    base: Base
    copy: Live
    latents: Tensor
    where: Tensor
    scale: float
    kept: Kept = field(default_factory=Kept)
    texts: dict[str, Tensor] = field(default_factory=dict)

    def shown(self, run: Pass, rows: int) -> dict[str, Shown]:
        """What every site sees, by name."""
        import torch

        assert run.time is not None
        noun = self.network.subject.noun
        if run.references is not None:
            clean, masks = encoded(self.base, run.references, plain=self.network.plain)
            nouns, on, time = run.references.nouns, run.references.on, run.time
        else:
            clean, masks, nouns, time = self.latents[None], self.where[None], (noun,), run.time[:1]
            branches = [branch != "negative" and run.random is None for branch in run.branches]
            on = torch.tensor(branches).repeat_interleave(rows // len(run.branches))
        hidden = self._hidden(clean, nouns or (noun,) * len(clean), time, run)
        found = {}
        for name, states in hidden.items():
            seen = _resized(masks, states.shape[1]).flatten(1)
            whole = states.unflatten(0, clean.shape[:2]).flatten(1, 2)
            found[name] = Shown(whole.expand(rows, -1, -1), seen.expand(rows, -1), on.to(whole.device), self.scale)
        return found

    def _hidden(self, clean: Tensor, nouns: tuple[str, ...], time: Tensor, run: Pass) -> dict[str, Tensor]:
        """[B * R, N, C] by site: what entered it when the network looked at these latents [B, R, C, h, w]."""
        import torch

        base, noised, count = self.base, self.network.noised, clean.shape[1]
        flat, times = clean.flatten(0, 1), time.repeat_interleave(count) * int(noised)
        still = run.random is None and run.references is None and not torch.is_grad_enabled()
        self.kept.check(self.copy.tensors.values())
        key = int(times[0])
        if still and key in self.kept.values:
            found: dict[str, Tensor] = self.kept.values[key]
            return found
        if noised:
            at = run.random("reference noise") if run.random else stream(0, "reference noise")
            flat = base.noised(flat, torch.randn(flat.shape, generator=at).to(flat), times)
        said = [self.network.says.format(noun=noun) for noun in nouns for _ in range(count)]
        for text in dict.fromkeys(said):
            if text not in self.texts:
                with torch.no_grad():
                    self.texts[text] = base.text_states([text], words={})[0]
        hidden: dict[str, Tensor] = {}

        def note(call: AttentionCall) -> AttentionCall:
            if self.network.chosen(call.site):
                hidden[call.site.name] = call.hidden
            return call

        with switched_off(run.lives, but=self.copy):
            states = torch.stack([self.texts[text] for text in said])
            about = Pass((*self.copy.operations, note), time=times, prompts=tuple(said), fused=run.fused)
            base.predict(flat, times, states, context=about)
        if still:
            self.kept.values.clear()
            self.kept.values[key] = hidden
        return hidden


def _resized(masks: Tensor, places: int) -> Tensor:
    """[B, R, N]: masks [B, R, 1, h, w] at a site of N places."""
    import torch.nn.functional as F

    side = round(places**0.5)
    return F.adaptive_avg_pool2d(masks.flatten(0, 1).float(), side).flatten(1).unflatten(0, masks.shape[:2]).to(masks)
