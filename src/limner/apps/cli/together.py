"""`limner learn --together`: one pass over many subjects that can be interrupted and resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.files import check_folder
from limner.core.interrupts import stopping
from limner.engine import checkpoint as engine_checkpoint
from limner.errors import InputError, TeachingError
from limner.workflows import learn
from limner.workflows.learn_many import Done, Job, StackedProgress, train_stacked
from limner.workflows.progress import Line

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.engine.checkpoint import Run

UNFINISHED = "unfinished"
"""The folder beside the concepts in which those that are begun have their checkpoints."""


@dataclass
class Together:
    """Many subjects taught at once: each has its concept in `folder` when it is done, and until then a checkpoint beside them,
    written every few seconds and when the pass is interrupted."""

    base: Base
    folder: Path
    method: str
    seed: int
    settings: Mapping[str, Any]
    overwrite: bool = False
    resume: bool = False
    there: list[Path] = field(default_factory=list)  # concepts of this very run that were there before
    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _runs: dict[str, Run] = field(default_factory=dict)
    _losses: dict[str, list[float]] = field(default_factory=dict)

    def jobs(self, subjects: Sequence[Subject]) -> list[Job]:
        """Those still to be taught. Raises `InputError` where the concept that is there is another run's and not to be overwritten."""
        found = []
        for subject in subjects:
            run = learn.prepared_run(self.base, subject, self.method, self.settings, self.seed)
            target = self.target(subject.handle)
            if target.exists() and (self.resume or not self.overwrite):
                if learn.is_of(Concept.load(target), run):
                    self.there.append(target)
                    self.checkpoint(subject.handle).unlink(missing_ok=True)
                    continue
                if not self.overwrite:
                    raise InputError(
                        f"{target} is of another run (other pictures, method, settings, seed or base); choose another --out, or say "
                        "--overwrite"
                    )
            self._runs[subject.handle] = run
            start, losses = (
                learn.read_checkpoint(self.checkpoint(subject.handle), run.header) if self.resume else (None, [])
            )
            self._losses[subject.handle] = losses
            found.append(Job(subject, self.method, self.seed, self.settings, start))
        return found

    def target(self, handle: str) -> Path:
        return self.folder / f"{handle.strip('<>')}.safetensors"

    def checkpoint(self, handle: str) -> Path:
        return self.folder / UNFINISHED / f"{handle.strip('<>')}.safetensors"

    @property
    def standing(self) -> str:
        """The line with which the pass ends when it is interrupted."""
        begun = sum(self.checkpoint(handle).exists() for handle in self._runs)
        kept = f", those begun ({begun}) are kept in {self.folder / UNFINISHED}" if begun else ""
        whole, total = len(self.there) + len(self.written), len(self.there) + len(self._runs)
        return f"{whole} of {total} concepts are whole in {self.folder}{kept}; the same command with --resume teaches the others"

    def run(self, jobs: Sequence[Job], *, slots: int, mixed: bool) -> None:
        """Teach them, saving each as it is done. Raises `KeyboardInterrupt` when asked to stop, after what was learned is kept."""
        if not jobs:
            return
        check_folder(self.folder / UNFINISHED)
        line, saved = Line(), time.monotonic()
        try:
            with stopping() as asked:
                for progress in train_stacked(self.base, jobs, slots=slots, mixed=mixed):
                    self._take(progress)
                    halted = asked()
                    if halted or time.monotonic() - saved > engine_checkpoint.CHECKPOINT_SECONDS:
                        self._keep(progress)
                        saved = time.monotonic()
                    line.show(self._said(progress))
                    if halted:
                        raise KeyboardInterrupt
        finally:
            line.end()
            if not any((self.folder / UNFINISHED).iterdir()):
                (self.folder / UNFINISHED).rmdir()

    def _take(self, progress: StackedProgress) -> None:
        for job, loss in progress.losses:
            self._losses[job.subject.handle].append(loss)
        for done in progress.done:
            try:
                self._save(done)
            except TeachingError as error:
                self.failed.append(str(error))

    def _save(self, done: Done) -> None:
        if done.concept is None:
            raise done.error or TeachingError(f"{done.job.subject.handle} was not taught")
        handle = done.job.subject.handle
        losses = self._losses[handle]
        concept = replace(done.concept, losses=losses, cost={**done.concept.cost, "steps": len(losses)})
        learn.check_finite(concept)
        self.written.append(concept.save(self.target(handle), overwrite=self.overwrite))
        self.checkpoint(handle).unlink(missing_ok=True)

    def _keep(self, progress: StackedProgress) -> None:
        ended = {done.job.subject.handle for done in progress.done}
        for job, _ in progress.losses:
            handle = job.subject.handle
            if handle not in ended:
                engine_checkpoint.save_checkpoint(
                    self.checkpoint(handle), progress.snapshot(job), self._runs[handle].header, self._losses[handle]
                )

    def _said(self, progress: StackedProgress) -> str:
        mean = sum(loss for _, loss in progress.losses) / len(progress.losses)
        return (
            f"{len(self.written)} done, {len(progress.losses)} learning, {progress.waiting} waiting; loss {mean:.4f}; "
            f"{progress.seconds:.0f} s"
        )
