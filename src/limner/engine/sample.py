"""The one sampling loop."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from limner.core.adapted import Adapted, Moment
from limner.core.interrupts import take_break
from limner.core.needs import check_part
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import Pass, Sampling
from limner.core.views import as_moves, checked_views
from limner.core.wording import in_place
from limner.errors import InputError, PaintingError, UnknownName

from .attach import AdaptedBase
from .conditions import checked
from .guidance import classifier_free, norm_preserving
from .inversion import INVERSIONS
from .regions import BACKGROUNDS, COMPOSE, beside_first, blended, composited, parts_of
from .steps import PaintStep
from .two_passes import two_passes

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.adapted import LatentOperation
    from limner.core.base import Base
    from limner.core.types import Denoiser, Guidance, ReferenceStream
    from limner.core.views import View

    from .regions import Layout


@dataclass(frozen=True)
class PaintSettings:
    """The settings of sampling. `guidance` 1 is no guidance; `sampler` is one of the base's ("ddim", "ddpm", "dpm",
    "euler" for diffusion), or empty for its default.

    `guide_between` are two shares of the steps, from 0 to 1: before the first and from the second on, only the text
    branch is run (the guidance interval of arXiv:2404.07724, there between two noise levels), so those steps cost half.
    It limits the base's guidance only: a recipe's own guidance acts in all steps, with a warning, and later stages of a
    cascade are guided in all of theirs.

    Concepts act from the share `subject_from` of the steps on. Before it, the unchanged base samples with the class
    noun in the handle's place, so that the prompt determines the layout (delayed subject conditioning,
    arXiv:2305.10431).

    Where subjects have regions, `compose` is how these act: "blend" predicts each region with only its concept attached
    and blends the predictions, "attention" attaches all concepts at once and restricts their words to their regions,
    "latents" samples each subject on latents of its own for half of the steps and composites these, and "method" leaves
    regions to the concepts' own methods, such as layout guidance or grounding. `background` is the predictor of the
    rest of the picture: "base", or "all" concepts at once.

    `views` turn the camera around subjects: handle -> degrees of azimuth away from the subject's first picture,
    positive towards its left, or (azimuth, elevation, factor of the distance), or a side such as "back left". Only some
    methods read it.
    """

    steps: int = 25
    guidance: float = 4.0
    sampler: str = ""
    negative: str = ""
    batch: int = 16
    guide_between: tuple[float, float] = (0.0, 1.0)
    subject_from: float = 0.0
    compose: str = "blend"
    background: str = "base"
    views: Mapping[str, View] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_views(self.views)
        if not 1 <= self.steps <= 1000:
            raise InputError(f"steps must be from 1 to 1000, not {self.steps}")
        if not 0 <= self.guidance <= 100:
            raise InputError(f"guidance must be from 0 to 100, not {self.guidance}")
        if self.batch < 1:
            raise InputError(f"the batch must hold at least one picture, not {self.batch}")
        if not 0 <= self.guide_between[0] < self.guide_between[1] <= 1:
            raise InputError(
                f"guide_between must be two rising shares of the steps, from 0 to 1, not {self.guide_between}"
            )
        if self.compose not in COMPOSE:
            raise InputError(f"compose must be one of {', '.join(COMPOSE)}, not {self.compose!r}")
        if self.background not in BACKGROUNDS:
            raise InputError(f"the background must be predicted by {' or '.join(BACKGROUNDS)}, not {self.background!r}")
        if not 0 <= self.subject_from < 1:
            raise InputError(f"subject_from must be a share of the steps, from 0 to below 1, not {self.subject_from}")
        if not any(self.guides(step, self.steps) for step in range(self.steps)):
            raise InputError(
                f"guide_between must hold a step: none of {self.steps} lies between {self.guide_between[0]} and "
                f"{self.guide_between[1]}; widen it, take more steps, or give guidance 1 for none"
            )

    def wears(self, step: int, total: int) -> bool:
        """Whether concepts act at step number `step` of `total`, counted from 0."""
        return step >= round(self.subject_from * total)

    def guides(self, step: int, total: int) -> bool:
        """Whether step number `step` of `total`, counted from 0, is guided."""
        first, last = (round(share * total) for share in self.guide_between)
        return first <= step < last

    @property
    def metadata(self) -> dict[str, Any]:
        """The settings in a picture's record."""
        record: dict[str, Any] = {"steps": self.steps, "guidance": self.guidance, "sampler": self.sampler}
        if self.negative:
            record["negative"] = self.negative
        if self.guide_between != (0, 1):
            record["guide_between"] = list(self.guide_between)
        if self.subject_from:
            record["subject_from"] = self.subject_from
        if self.views:
            record["views"] = {handle: list(view) for handle, view in checked_views(self.views).items()}
        return record


@dataclass(frozen=True)
class Canvas:
    """A picture to change by sampling, everywhere or within a mask.

    The share `start` of the steps is skipped, so that sampling starts from the noised picture (SDEdit,
    arXiv:2108.01073). Before each step up to the share `until`, the area outside of the mask is replaced by the noised
    picture; the remaining steps smooth the transition. Adapters that read the conditions "source" and "mask" have the
    picture and the mask, unless these conditions are given.
    """

    image: Image.Image
    mask: Image.Image | None = None  # white where it may change; None: everywhere
    start: float = 0.3
    until: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1 or not 0 <= self.until <= 1:
            raise InputError(f"a canvas's start and until must be from 0 to 1, not {self.start} and {self.until}")

    def latents(self, base: Base) -> tuple[Tensor, Tensor]:
        """The picture's latents [1, C, h, w], and a mask [1, 1, h, w] that is 1 where they may change and else 0."""
        import torch.nn.functional as F

        seen = Subject.of([self.image], noun="canvas", handle="here", masks=[self.mask] if self.mask else ())
        clean, mask = base.encode(seen.tensor(base.picture_size))[0], seen.masks(base.picture_size)
        where = torch.ones_like(clean[:, :1])
        if mask is not None:
            where = (F.interpolate(mask, clean.shape[-2:], mode="area") > 0.5).to(clean)
        return clean, where

    def conditions(self, base: Base, names: Set[str]) -> dict[str, Tensor]:
        """The picture ("source") [1, 3, H, W] and, where there is one, the mask ("mask") [1, 1, H, W], as far as they
        are among these names of conditions."""
        seen = Subject.of([self.image], noun="canvas", handle="here", masks=[self.mask] if self.mask else ())
        given = {"source": seen.tensor(base.picture_size), "mask": seen.masks(base.picture_size)}
        return {name: tensor for name, tensor in given.items() if name in names and tensor is not None}


def sample(
    adapted: Adapted,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    settings: PaintSettings,
    canvas: Canvas | None = None,
    conditions: Mapping[str, Tensor] = MappingProxyType({}),
    frames: int = 1,
    layout: Layout | None = None,
    after: PaintStep | None = None,
    first: tuple[str, int] | None = None,
) -> Iterator[PaintStep]:
    """Sample one picture, or a clip of `frames` frames, for each (prompt, seed), yielding after every step.

    Args:
        adapted: the base with the attached adapters.
        prompts: prompts as the user wrote them, one for each picture.
        seeds: one for each picture. Its first latents are a function of the seed alone, not of the batch.
        settings: number of steps, guidance and so on.
        canvas: a picture to change; None starts from noise.
        conditions: name -> [1 or n, 1 or 3, H, W] in [0, 1]: one for all, or one for each picture (for clips: for each
            frame).
        frames: number of frames of each clip, whose latents are consecutive rows; 1 for pictures.
        layout: regions of the subjects.
        after: a step to go on from, with its latents.
        first: prompt and seed of the first picture of all, where these are a later batch; None: the first one here.
            A reference stream may show it.

    Where an adapter asks for a first pass and there is no layout, steps are those of both passes, counted on.

    Raises `InputError` for conditions that do not fit, and for clips that are longer than base and adapters can sample.
    """
    base = adapted.base
    adapted.check_together()
    _check_frames(adapted, frames, settings)
    _check_views(adapted, settings)
    if (passes := adapted.first_pass) and layout is None:
        check_part(base, passes.regions)
        given: dict[str, Any] = {"settings": settings, "canvas": canvas, "conditions": conditions, "frames": frames}
        given["first"] = first
        yield from two_passes(adapted, passes, prompts, seeds, sample, decoded, given)
        return
    if canvas:
        conditions = {**canvas.conditions(base, adapted.painting_reads | adapted.may_read), **conditions}
    if layout and layout.compose == "latents":
        yield from _composited(adapted, prompts, seeds, settings, layout, canvas, conditions, frames, first)
        return
    prompts = [prompt for prompt in prompts for _ in range(frames)]
    seeds = [seed for seed in seeds for _ in range(frames)]
    conditions = checked(adapted, conditions, len(seeds))
    scheduler = base.scheduler(settings.sampler or adapted.sampler, steps=settings.steps)
    total, times = len(scheduler.timesteps), scheduler.timesteps.to(base.device)
    reference_stream, wanted = adapted.reference_stream(total), len(seeds)
    if adapted.parallel_stream:
        if reference_stream and not adapted.both_streams:
            raise InputError(
                "one of these concepts samples parallel streams and another a reference stream; attach one at a time"
            )
        prompts, seeds = (
            [*prompts, *(adapted.parallel_stream(adapted.expand_prompt(prompt)) for prompt in prompts)],
            [*seeds, *seeds],
        )
    rows, whose = list(prompts), list(seeds)
    if reference_stream:
        text, seed = first or (prompts[0], seeds[0])
        if reference_stream.prompt is not None:
            text, seed = reference_stream.prompt, seeds[0]
        rows, whose = [text, *rows], [seed, *whose]
    latents = base.begin(_first_latents(base, seeds, whose[: len(whose) - len(seeds)], frames), scheduler)
    noises = [
        stream(seed, "sampler", *_frame(k - (reference_stream is not None), frames)) for k, seed in enumerate(whose)
    ]
    # number of each row's condition
    at = [0] * (reference_stream is not None) + [row % wanted for row in range(len(seeds))]
    conditions = {name: condition[at] for name, condition in conditions.items()}
    plain = _plain(adapted, rows, whose, settings, reference_stream, conditions, frames, layout)
    denoise = _guided(plain)
    early = _before_attached(adapted, rows, whose, settings, conditions, frames) if settings.subject_from else denoise
    own, begin, where = slice(1 if reference_stream else 0, None), 0, None
    spread = functools.partial(base.spread, scheduler)  # step -> scale of the sampler's latents relative to the base's
    if canvas:
        begin, (clean, where) = int(canvas.start * total), canvas.latents(base)
        noise = latents[own] / float(getattr(scheduler, "init_noise_sigma", 1.0))
        if hasattr(scheduler, "set_begin_index"):  # schedulers that count their steps need to know the first
            scheduler.set_begin_index(begin)
        noisy = base.noised(clean.expand_as(noise), noise, times[begin].expand(len(noise)))
        latents = torch.cat([latents[: own.start], noisy * spread(begin)])
    if after:
        begin = after.step + 1
        latents = after.latents * spread(begin)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)

    def changed(operations: Sequence[LatentOperation], latents: Tensor, time: Tensor, step: int) -> Tensor:
        """The latents after the operations of a step."""
        for operation in operations:
            own_prompts, states = plain.prompts["text"][own], plain.states["text"][own]
            against = plain.states["negative"][own]
            now = latents[own] / spread(step)
            shown = {name: condition[own] for name, condition in conditions.items()}
            places = tuple(plain.places["text"][own])
            about = where, against, settings.guidance, shown, frames, layout.masks if layout else {}, places
            moment = Moment(adapted, now, time, step, total, own_prompts, states, *about, times, plain.sampling)
            latents = torch.cat([latents[: own.start], operation(moment) * spread(step)])
        return latents

    for step, time in list(enumerate(times))[begin:]:
        take_break()
        own_time = scheduler.timesteps[step]  # on the CPU, so that no step of a sampler waits for the device
        if reference_stream and reference_stream.latents:
            latents[0] = reference_stream.latents(step).to(latents) * spread(step)
        if canvas and where is not None and step < canvas.until * total:
            outside = base.noised(clean.expand_as(noise), noise, time.expand(len(noise)))
            latents = torch.cat([latents[: own.start], torch.where(where > 0, latents[own], outside * spread(step))])
        is_worn = settings.wears(step, total)
        if is_worn:
            latents = changed(adapted.latent_operations, latents, time, step)
        model_input = (
            scheduler.scale_model_input(latents, own_time) if hasattr(scheduler, "scale_model_input") else latents
        )
        with nullcontext() if is_worn else adapted.suspended():
            every = time.expand(len(latents))
            output = (denoise if is_worn else early).at(step, model_input, every, guided=settings.guides(step, total))
        noised = latents[own][:wanted] / spread(step)
        implied = functools.partial(clean_latents, base, noised, output[own][:wanted], every[own][:wanted])
        latents = base.stepped(scheduler, output, own_time, latents, noises)
        if is_worn:
            after_time = times[step + 1] if step + 1 < total else torch.zeros_like(time)
            latents = changed(adapted.after_step_operations, latents, after_time, step + 1)
        yield PaintStep(step, total, latents[own][:wanted] / spread(step + 1), implied)


def clean_latents(base: Base, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
    """The clean latents [B, C, h, w] that a prediction implies; of a base that predicts tokens, the most probable ones.

    noised: [B, C, h, w], as the base noises latents
    output: the prediction, [B, C, h, w] or, of tokens, [B, K, h, w]
    time: [B]
    """
    return output.argmax(1, keepdim=True).to(noised) if base.predicts == "tokens" else base.x0(noised, output, time)


def decoded(base: Base, latents: Tensor) -> Tensor:
    """Latents [B, C, h, w] -> pixels [B, 3, H, W] in [0, 1]. Raises `PaintingError` where latents or pixels are not
    finite numbers, which would be black in a file."""
    whole = bool(torch.isfinite(latents).all())
    pixels = base.decode(latents) if whole else latents
    if not bool(torch.isfinite(pixels).all()):
        where = "once they are decoded" if whole else "before they are decoded"
        raise PaintingError(
            f"the pictures that {base.name} paints are not finite numbers, {where}: attach concepts at a lower scale, "
            "open the base in float32 (--dtype float32), or examine the concept with `limner check`"
        )
    return pixels


def inverted(base: Base, latents: Tensor, prompt: str, steps: int, *, inversion: str = "ddim") -> list[Tensor]:
    """Invert clean latents [1, C, h, w]: the trajectory by which the base's default sampler with `steps` steps (DDIM,
    or Euler along a flow) would reach them.

    Returns latents [C, h, w] before each of its steps, noisiest first. There is no guidance.

    inversion: "ddim" (`inverted_along`) or "exact" (`solved_along`)
    """
    with torch.no_grad():
        states = base.text_states([prompt], words={})
        times = base.scheduler(steps=steps).timesteps

        def predict(now: Tensor, at: Tensor) -> Tensor:
            return base.predict(now, at, states, context=Pass(time=at))

        return [now[0] for now in INVERSIONS[inversion](base, predict, latents, times)[:-1]]


OWN: dict[str, tuple[Guidance, ...]] = {
    "classifier_free": (classifier_free,),
    "norm_preserving": (norm_preserving,),
    "embedded": (),
}
"""A base's kind of guidance -> the functions that wrap its denoiser."""


class _plain:
    """The adapted base as a denoiser for these rows, without guidance, at the step `step`."""

    def __init__(
        self,
        adapted: Adapted,
        prompts: Sequence[str],
        seeds: Sequence[int],
        settings: PaintSettings,
        reference_stream: ReferenceStream | None,
        conditions: Mapping[str, Tensor],
        frames: int,
        layout: Layout | None = None,
    ) -> None:
        self.rows, self.settings, self.layout = list(prompts), settings, layout
        self.adapted, self.seeds, self.reference_stream, self.step = adapted, tuple(seeds), reference_stream, 0
        self.conditions, self.frames, self.sampling = conditions, frames, Sampling()
        # number of branches -> conditions repeated for them, once for all steps
        self.repeated: dict[int, dict[str, Tensor]] = {}
        against = settings.negative or adapted.negative
        texts = {"text": prompts, "negative": [against] * len(prompts)}
        for branch, reads in adapted.branches.items():
            texts[branch] = [reads(prompt) for prompt in prompts]
        self.prompts = {branch: tuple(adapted.expand_prompt(row) for row in rows) for branch, rows in texts.items()}
        every = adapted.text_states([row for rows in texts.values() for row in rows])  # one pass for all branches
        self.states = dict(zip(texts, every.split(len(prompts)), strict=True))
        self.joined: dict[tuple[str, ...], Tensor] = {}  # branches -> their states joined, once for all steps
        self.scale = settings.guidance if adapted.base.guidance == "embedded" else None
        self.views = {handle: move.to(adapted.base.device) for handle, move in as_moves(settings.views).items()}
        self.places = {branch: [self._places(row) for row in rows] for branch, rows in texts.items()}

    def _places(self, prompt: str) -> dict[str, tuple[int, ...]]:
        """Handle with a region -> positions of its words in the text-encoder hidden states of a prompt."""
        handles = self.layout.masks if self.layout else ()
        positions = {handle: self.adapted.handle_places(prompt, handle) for handle in handles}
        return {handle: places for handle, places in positions.items() if places}

    def __call__(self, x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        reads = [branch.partition("@")[0] for branch in branches]
        x, t, each = x.repeat(len(branches), 1, 1, 1), t.repeat(len(branches)), len(x)
        for place, branch in enumerate(branches):
            shown = branch.partition("@")[2]
            if shown and self.reference_stream and self.reference_stream.shown:
                latents, time = self.reference_stream.shown(self.step, shown)
                x[place * each], t[place * each] = latents, time
        about = {
            "prompts": tuple(text for branch in reads for text in self.prompts[branch]),
            "seeds": self.seeds * len(branches),
            "reference_stream": self.reference_stream is not None,
            "parallel_stream": self.adapted.parallel_stream is not None or bool(self.layout and self.layout.first),
            "guidance": self.scale,
            "conditions": self._conditions(len(branches)),
            "frames": self.frames,
            "sampling": self.sampling,
            "views": self.views,
        }
        run = self.adapted.run(time=t, latents=x, step=self.step, branches=tuple(reads), **about)
        run.operations = self.adapted.painting_operations
        if self.layout:
            run.operations += self.layout.operations
            run.regions = self.layout.masks
            run.handle_places = tuple(row for branch in reads for row in self.places[branch])
        if tuple(reads) not in self.joined:
            self.joined[tuple(reads)] = torch.cat([self.states[branch] for branch in reads])
        output = self.adapted.base.predict(x, t, self.joined[tuple(reads)], context=run)
        return output.chunk(len(branches))

    def _conditions(self, branches: int) -> dict[str, Tensor]:
        if branches not in self.repeated:
            self.repeated[branches] = {name: c.repeat(branches, 1, 1, 1) for name, c in self.conditions.items()}
        return self.repeated[branches]


class _guided:
    """The denoiser for these rows (`plain`), with and without guidance. None of the denoisers refers to this object, so
    that everything is freed with it, without waiting for the collector of reference cycles."""

    def __init__(self, plain: _plain) -> None:
        adapted, settings, layout = plain.adapted, plain.settings, plain.layout
        self.plain = plain
        self.inner: Denoiser = plain
        if layout and layout.compose == "blend":
            self.inner = _blended(plain, layout)
        self.guided: Denoiser = self.inner
        if adapted.denoiser:
            self.guided = adapted.denoiser(adapted, self.guided)
        for guidance in adapted.guidance or OWN[adapted.base.guidance]:
            by_region = getattr(guidance, "for_regions", None)
            act: Guidance = by_region(layout.masks) if layout and by_region else guidance
            self.guided = act(self.guided, settings.guidance)
        if settings.guide_between != (0, 1):
            _check_interval(adapted)

    def at(self, step: int, x: Tensor, t: Tensor, *, guided: bool) -> Tensor:
        """The prediction for one step of sampling. A recipe's own guidance acts in every step."""
        self.plain.step = step
        (output,) = (self.guided if guided or self.plain.adapted.guidance else self.inner)(x, t)
        return output


def _blended(whole: _plain, layout: Layout) -> Denoiser:
    """A denoiser that blends the predictions for each region's concept and for the background."""
    adapted = whole.adapted
    parts, denoisers = parts_of(adapted, layout), list[_plain]()
    plain: list[Denoiser] = []
    for part in parts:
        alone = layout.alone(part)
        # rows of the first pass run beside the picture's
        times = 2 if alone.first else 1
        own = [layout.prompts.get(part.handles[0], prompt) for prompt in whole.rows] if part.handles else whole.rows
        conditions = {name: condition.repeat(times, 1, 1, 1) for name, condition in whole.conditions.items()}
        with adapted.only(*part.places):
            about = whole.seeds * times, whole.settings, None, conditions, whole.frames, alone
            denoisers.append(_plain(adapted, list(own) * times, *about))
        plain.append(denoisers[-1])
        if alone.first:
            plain[-1] = beside_first(plain[-1], lambda: layout.first.get(whole.step))

    def at_this_step() -> None:
        for each in denoisers:
            each.step = whole.step

    return blended(adapted, parts, plain, at_this_step)


def _before_attached(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    conditions: Mapping[str, Tensor],
    frames: int,
) -> _guided:
    """The unchanged base as a denoiser for the same pictures, for the steps in which all adapters are suspended."""
    rows = list(prompts)
    for answer in (answer for adapter in adapted.adapters for answer in adapter.answers):
        rows = [in_place(prompt, answer.handle, answer.noun) for prompt in rows]
    with adapted.suspended():
        base = AdaptedBase(adapted.base, (), frozen_text=False)
        return _guided(_plain(base, rows, seeds, settings, None, conditions, frames))


def _check_frames(adapted: Adapted, frames: int, settings: PaintSettings) -> None:
    """Raise `InputError` for a clip that is too long, and for control branches or motion modules that `subject_from`
    would attach after the first step."""
    if not 1 <= frames <= adapted.frames:
        most = f"at most {adapted.frames} frames" if adapted.frames > 1 else "pictures alone"
        raise InputError(
            f"{adapted.base.name} paints {most} with what is attached, not clips of {frames} frames: attach motion "
            f"modules "
            "(--motion FOLDER), or ask for fewer"
        )
    if settings.subject_from and (adapted.reads or frames > 1):
        raise InputError(
            "subject_from attaches everything late, control branches and motion modules too, which act from the first "
            "step: leave it "
            "out"
        )


def _check_views(adapted: Adapted, settings: PaintSettings) -> None:
    """Raise `InputError` for the viewpoint of a handle that no attached concept answers to, and of a concept that reads
    none."""
    handles = {answer.handle: place for place, adapter in enumerate(adapted.adapters) for answer in adapter.answers}
    for handle in checked_views(settings.views):
        if handle not in handles:
            raise UnknownName("concept to give a viewpoint to, named", handle, handles)
        if not any(live.takes_view for live in adapted.live.of(handles[handle])):
            raise InputError(
                f"{handle} was learned by a method that reads no viewpoint: name the side in the prompt (`seen from the "
                "back`), or learn the subject with a method that turns it to a viewpoint"
            )


def _composited(
    adapted: Adapted,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: PaintSettings,
    layout: Layout,
    canvas: Canvas | None,
    conditions: Mapping[str, Tensor],
    frames: int,
    first: tuple[str, int] | None,
) -> Iterator[PaintStep]:
    """Sample each part on latents of its own, from the same noise, up to the share `layout.join` of the steps; then
    composite these latents, and sample the remaining steps with blended predictions."""
    if canvas:
        raise InputError("latents cannot be composited on a canvas; give compose 'blend' or 'attention'")
    parts, alone = parts_of(adapted, layout), replace(layout, compose="attention")
    about: dict[str, Any] = {"seeds": seeds, "settings": settings, "conditions": conditions, "frames": frames}
    about["first"] = first
    steps = [sample(adapted, prompts, layout=alone, **about) for _ in parts]
    last: PaintStep | None = None
    total = len(adapted.base.scheduler(settings.sampler, steps=settings.steps).timesteps)
    for _ in range(min(round(layout.join * total), total)):
        done = []
        for part, own in zip(parts, steps, strict=True):
            with adapted.only(*part.places):
                done.append(next(own))
        clean = functools.partial(lambda done: composited(parts, [at.clean() for at in done]), done)
        last = replace(done[0], latents=composited(parts, [at.latents for at in done]), clean=clean)
        yield last
    rest = replace(layout, compose="blend")
    yield from sample(adapted, prompts, layout=rest, after=last, **about)


def _check_interval(adapted: Adapted) -> None:
    """Warn or raise `InputError` where an interval of guidance has no effect."""
    if adapted.guidance:
        own = ", ".join(
            adapter.handle for adapter in adapted.adapters if adapter.scale and adapter.recipe.painting.guidance
        )
        warnings.warn(f"{own} is guided by its own recipe, at every step: guide_between does nothing", stacklevel=2)
    elif adapted.base.guidance == "embedded":
        raise InputError(
            f"guide_between leaves out the branch without text, and {adapted.base.name} has none: it runs one pass, "
            "whatever its guidance"
        )


def _first_latents(base: Base, seeds: Sequence[int], leads: Sequence[int], frames: int) -> Tensor:
    """Noise [n, C, h, w] of each picture or frame, behind that of reference streams with the seeds `leads`."""
    streams = [stream(seed, "latents", *_frame(row, frames)) for row, seed in enumerate(seeds)]
    streams = [*(stream(seed, "latents") for seed in leads), *streams]
    return torch.stack([torch.randn(base.latent_shape, generator=each) for each in streams]).to(base.device, base.dtype)


def _frame(row: int, frames: int) -> tuple[str | int, ...]:
    """A further purpose of the random streams of a clip's later frames; empty for the first frame, whose stream is that
    of a single picture."""
    return ("frame", row % frames) if row > 0 and row % frames else ()
