"""One pass over many subjects that can be interrupted, paused, stopped and resumed."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.files import check_folder, check_ours
from limner.core.interrupts import TrainingPaused, stopping
from limner.core.wording import counted
from limner.engine import checkpoint as engine_checkpoint
from limner.engine.checkpoint_sets import CheckpointSets
from limner.errors import InputError, TeachingError

from . import learn
from .controls import PAUSE, SAMPLE, SAVE, STOP, Controls
from .events import ConceptSaved, Event, FleetUpdateDone, Message, Note, StateSaved
from .learn_many import Done, Job, StackedProgress, train_stacked
from .learn_watches import state_file

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.engine.checkpoint import Run

UNFINISHED = "unfinished"
"""Name of the folder, beside the concepts, for the checkpoints of unfinished subjects."""


@dataclass
class Together:
    """Many subjects trained in one pass. A finished subject has its concept in `folder`; an unfinished one has a
    checkpoint beside the concepts. Checkpoints of all subjects are written at once, every few seconds and when the pass
    is interrupted, so a resumed pass continues from one update of all and ends at the same bits."""

    base: Base
    folder: Path
    method: str
    seed: int
    settings: Mapping[str, Any]
    overwrite: bool = False
    resume: bool = False
    controls: Controls = field(default_factory=Controls)
    paused: bool = False
    there: list[Path] = field(default_factory=list)  # concepts of this same run that existed before
    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _losses: dict[str, list[float]] = field(default_factory=dict)
    # handles that are done and go along until the others have come as far
    _again: set[str] = field(default_factory=set)
    _broken: set[str] = field(default_factory=set)  # handles of those that failed

    def __post_init__(self) -> None:
        self.sets = CheckpointSets(self.folder / UNFINISHED)

    def jobs(self, subjects: Sequence[Subject]) -> list[Job]:
        """The jobs of the subjects that are not trained yet. Raises `InputError` where the concept on disk belongs to
        another run and may not be overwritten."""
        jobs = []
        for subject in subjects:
            run = learn.prepared_run(self.base, subject, self.method, self.settings, self.seed)
            target = self.target(subject.handle)
            if target.exists() and (self.resume or not self.overwrite):
                if learn.is_of(Concept.load(target), run):
                    self.there.append(target)
                    if not self.resume or self.sets.path(_name(subject.handle)) is None:
                        continue
                    self._again.add(subject.handle)
                elif not self.overwrite:
                    raise InputError(
                        f"{target} belongs to another run (other pictures, method, settings, seed or base); choose "
                        "another --out, or add --overwrite"
                    )
            self._runs[subject.handle] = run
            checkpoint = self.sets.path(_name(subject.handle)) if self.resume else None
            start, losses = learn.read_checkpoint(checkpoint, run.header) if checkpoint else (None, [])
            self._losses[subject.handle] = losses
            jobs.append(Job(subject, self.method, self.seed, self.settings, start))
        return jobs

    def target(self, handle: str) -> Path:
        return self.folder / f"{_name(handle)}.safetensors"

    @property
    def standing(self) -> str:
        """The message for an interruption of the pass."""
        num_checkpoints = sum(self.sets.path(_name(handle)) is not None for handle in self._runs.keys() - self._again)
        about_checkpoints = (
            f", checkpoints of unfinished ones ({num_checkpoints}) are in {self.folder / UNFINISHED}"
            if num_checkpoints
            else ""
        )
        whole, total = len(self.there) + len(self.written), len(self.there) + len(self._runs) - len(self._again)
        return (
            f"{whole} of {total} concepts are complete in {self.folder}{about_checkpoints}; the same command with "
            "--resume learns the others"
        )

    def run(self, jobs: Sequence[Job], *, slots: int, mixed: bool) -> Iterator[Event]:
        """Train the jobs and save each concept as soon as it is finished. Raises `KeyboardInterrupt` on an
        interruption, after checkpoints are written; after a pause, `paused` is set."""
        try:
            yield from self._run(jobs, slots=slots, mixed=mixed)
        except TrainingPaused:  # before the first update, while class images were sampled
            self.paused = True

    def _run(self, jobs: Sequence[Job], *, slots: int, mixed: bool) -> Iterator[Event]:
        check_folder(self.folder / UNFINISHED)
        saved = time.monotonic()
        training = train_stacked(self.base, jobs, slots=slots, mixed=mixed, controls=self.controls)
        with stopping() as asked, closing(training):
            for progress in training:
                yield from self._take(progress)
                halted, self.paused = asked(), self.controls.take(PAUSE)
                if halted or self.paused or time.monotonic() - saved > engine_checkpoint.CHECKPOINT_SECONDS:
                    self._keep(progress)
                    saved = time.monotonic()
                if progress.losses:
                    yield self._update(progress)
                if halted:
                    raise KeyboardInterrupt
                if self.paused:
                    return
                yield from self._grant(progress)
                if self.controls.take(STOP):
                    yield from self._stop(progress)
                    break
        self.sets.clear(keep=map(_name, self._broken))

    def _take(self, progress: StackedProgress) -> Iterator[Event]:
        for job, loss in progress.losses:
            self._losses[job.subject.handle].append(loss)
        for done in progress.done:
            handle = done.job.subject.handle
            if handle in self._again and done.concept is not None:
                continue  # its concept was there before
            try:
                concept = self._save(done)
            except TeachingError as error:
                self.failed.append(str(error))
                self._broken.add(handle)
            else:
                yield ConceptSaved(self.written[-1], concept.cost)

    def _save(self, done: Done) -> Concept:
        if done.concept is None:
            raise done.error or TeachingError(f"{done.job.subject.handle} was not learned")
        handle = done.job.subject.handle
        losses = self._losses[handle]
        concept = replace(done.concept, losses=losses, cost={**done.concept.cost, "steps": len(losses)})
        learn.check_finite(concept)
        self.written.append(concept.save(self.target(handle), overwrite=self.overwrite))
        return concept

    def _grant(self, progress: StackedProgress) -> Iterator[Event]:
        """Grant the wishes that leave training as it is."""
        if self.controls.take(SAMPLE):
            yield Note("no samples are painted while many subjects learn in one pass; save a state and paint with it")
        if self.controls.take(SAVE):
            for job, concept in self._now(progress):
                done = int(concept.cost["steps"])
                path = state_file(self.folder / _name(job.subject.handle), done)
                path.parent.mkdir(parents=True, exist_ok=True)
                yield StateSaved(done, concept.save(check_ours(path), overwrite=True))

    def _stop(self, progress: StackedProgress) -> Iterator[Event]:
        """Save what the subjects in training have learned, as if it had ended with this update."""
        for job, concept in self._now(progress):
            learn.check_finite(concept)
            self.written.append(concept.save(self.target(job.subject.handle), overwrite=self.overwrite))
            yield ConceptSaved(self.written[-1], concept.cost)
        left = f"; {counted(progress.waiting, 'subject')} had not started" if progress.waiting else ""
        yield Message(f"training was stopped; the concepts learned so far are kept{left}")

    def _now(self, progress: StackedProgress) -> Iterator[tuple[Job, Concept]]:
        """The concept of this moment of each subject that is still learning."""
        ended = {done.job.subject.handle for done in progress.done} | self._again
        for job, _ in progress.losses:
            handle = job.subject.handle
            if handle not in ended:
                learned, losses = progress.snapshot(job).learned, self._losses[handle]
                yield job, learn.to_concept(self._runs[handle], learned, losses, progress.seconds)

    def _keep(self, progress: StackedProgress) -> None:
        """Write the checkpoints of all subjects that are still learning."""
        ended = {done.job.subject.handle for done in progress.done}
        active = [job for job, _ in progress.losses if job.subject.handle not in ended]
        writers = {_name(job.subject.handle): functools.partial(self._write, progress, job) for job in active}
        self.sets.write(writers, keep=map(_name, self._broken))

    def _write(self, progress: StackedProgress, job: Job, path: Path) -> None:
        handle = job.subject.handle
        engine_checkpoint.save_checkpoint(path, progress.snapshot(job), self._runs[handle].header, self._losses[handle])

    def _update(self, progress: StackedProgress) -> FleetUpdateDone:
        mean = sum(loss for _, loss in progress.losses) / len(progress.losses)
        return FleetUpdateDone(
            len(self.written), len(progress.losses), progress.waiting, mean, round(progress.seconds, 3)
        )


def _name(handle: str) -> str:
    return handle.strip("<>")
