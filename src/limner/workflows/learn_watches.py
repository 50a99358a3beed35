"""The watches of the workflow `learn`: measurements, samples, saved states and the wishes of people, each with its
events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_ours
from limner.core.interrupts import TrainingPaused
from limner.core.wording import counted, shortened
from limner.errors import InputError, TeachingError

from .choose_method import within
from .controls import PAUSE, SAMPLE, SAVE, STOP, Controls
from .events import Event, Message, SamplePainted, SignalMeasured, StateSaved
from .learn_files import SIGNALS
from .preview_prompts import preview_prompts

if TYPE_CHECKING:
    from limner.core.picture import Picture
    from limner.core.subject import Subject
    from limner.engine.early_stopping import Keeper, Signals
    from limner.engine.train import Progress

    from .requests import LearnRequest
    from .samples import Samples

STATES = "states"
"""Name of the folder, in that of the run's page, for concepts that were saved during training."""


@dataclass
class Watches:
    """Everything that happens between two updates. `events` are those since the last update; the workflow yields and
    clears them."""

    page: Path  # folder of the run's page
    controls: Controls
    keeper: Keeper | None = None
    signals: Signals | None = None
    samples: Samples | None = None
    budget: Callable[[Progress], bool] | None = None
    num_states: int = 0  # number of states to save, equally spaced
    # how a concept of this moment is made, and how pictures are scored; set once training is ready
    state_of: Callable[[Progress], Any] | None = None
    score: Callable[[Sequence[Any], Sequence[str]], list[dict[str, float]]] | None = None
    events: list[Event] = field(default_factory=list)
    resumes: bool = False  # whether training goes on from a checkpoint
    has_begun: bool = False  # whether this run has done an update

    def at_break(self, is_base_free: bool) -> None:
        """Called between the steps of long work that is no training: class images before the first update, scores and
        pictures after the last. Raises `TrainingPaused` for a pause, and `TeachingError` for a stop before there is
        anything to keep."""
        if is_base_free:
            self.controls.give_way()
        if self.controls.take(PAUSE):
            raise TrainingPaused
        if not (self.has_begun or self.resumes) and self.controls.take(STOP):
            raise TeachingError("training was stopped before its first update, so there is nothing to keep")

    def __call__(self, progress: Progress) -> bool:
        """Called with every update. Returns whether training ends."""
        self.has_begun = True
        enough = self.budget is not None and self.budget(progress)
        if self.keeper is not None:
            self.keeper(progress)
        if self.signals is not None:
            enough = self._measure(self.signals, progress) or enough
        if self.samples is not None:
            self.samples(progress)
            if self.controls.take(SAMPLE):
                self.samples.paint(progress)
        if self.controls.take(SAVE) or progress.done in self._marks(progress.total):
            self._save(progress)
        if self.controls.take(STOP) and not progress.last:
            share = f"{progress.done} of {counted(progress.total, 'update')}"
            self.events.append(Message(f"training was stopped after {share}; the concept learned so far is kept"))
            enough = True
        if self.controls.others_wait:
            with progress.adapted.suspended():
                self.controls.give_way()
        return enough

    def close(self) -> None:
        """Let go of what refers back to this object after the last update. Such cycles, with the trained tensors, would
        wait for Python's collector."""
        self.samples = self.budget = self.state_of = self.score = None

    def say(self, text: str) -> None:
        self.events.append(Message(text))

    def painted(self, done: int, pictures: Sequence[Picture], paths: Sequence[Path]) -> None:
        """Samples are on disk."""
        prompts = tuple(picture.prompt for picture in pictures)
        scores = tuple(self.score([picture.image for picture in pictures], prompts)) if self.score else ()
        self.events.append(SamplePainted(done, tuple(paths), prompts, pictures[0].seed, scores))

    def _measure(self, signals: Signals, progress: Progress) -> bool:
        enough = signals(progress)
        if signals.last.get("done") == progress.done:
            values = {name: value for name, value in signals.last.items() if name != "done"}
            self.events.append(SignalMeasured(progress.done, values))
        return enough

    def _marks(self, total: int) -> set[int]:
        return {max(1, round(total * (k + 1) / self.num_states)) for k in range(self.num_states)} - {total}

    def _save(self, progress: Progress) -> None:
        """Write the concept of this moment."""
        assert self.state_of is not None, "the workflow sets it before training"
        concept = self.state_of(progress)
        path = state_file(self.page, progress.done)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.events.append(StateSaved(progress.done, concept.save(check_ours(path), overwrite=True)))


def state_file(page: Path, done: int) -> Path:
    """The file of the concept after `done` updates."""
    return page / STATES / f"{done:06}.safetensors"


def watches_of(
    request: LearnRequest,
    subject: Subject,
    held_out: Sequence[Any],
    page: Path,
    *,
    judge: object,
    controls: Controls | None,
) -> Watches:
    """All watches that the request asks for, and those that `controls` may ask for during training."""
    from limner.engine.early_stopping import Keeper, Signals

    keeper = Keeper(page) if request.keep == "best" else None
    if keeper and judge is None:
        raise InputError(
            "--keep best needs scores: leave out --no-score, and on a real base name encoders with --clip and --dino"
        )
    if keeper and not request.resume:
        keeper.clear()  # states of another run
    watches = Watches(page, controls or Controls(), keeper, num_states=request.states)
    # without a criterion to stop by, the loss on held-out pictures is for people who look on
    if request.stop or (held_out and controls is not None):
        watches.signals = Signals(subject, held_out, stop=request.stop, file=page / SIGNALS)
    watches.samples = _samples(request, subject, page, on_demand=controls is not None)
    if watches.samples is not None:
        watches.samples.shown = watches.painted
    watches.budget = within(request.budget, watches.say) if request.budget else None
    return watches


def _samples(request: LearnRequest, subject: Subject, page: Path, *, on_demand: bool) -> Samples | None:
    """The watch that paints samples during training; None where none are wanted. Raises `InputError` for a prompt that
    does not name the subject."""
    from limner.core.prompts import check_prompts

    from .samples import FOLDER, Samples

    if request.sample_prompts and not request.sample_every and not on_demand:
        raise InputError("--sample-prompt needs an interval: add --sample-every N")
    if not request.sample_every and not on_demand:
        return None
    prompts = list(request.sample_prompts) or preview_prompts(subject)[:1]
    check_prompts(prompts, handles=[subject.handle])
    unnamed = [prompt for prompt in prompts if subject.handle not in prompt]
    if unnamed:
        raise InputError(f"the prompt {shortened(unnamed[0])!r} of --sample-prompt does not name {subject.handle}")
    return Samples(prompts, request.sample_every, page / FOLDER, request.seed)
