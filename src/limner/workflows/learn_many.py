"""Training of many subjects at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.core.interrupts import TrainingPaused, breaking
from limner.engine.stacked.rows import alike
from limner.engine.stacked.train import SLOTS, StackedTrainer, SubjectRun, stacked_trainer
from limner.engine.train import Checkpoint
from limner.errors import InputError

from .controls import PAUSE, Controls
from .learn import prepared_run, to_concept
from .progress import Line, fleet_line

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject


GRACE = 0.05  # seconds to wait for a job that may be available already


@dataclass(frozen=True)
class Job:
    """A subject to learn, by a method whose modifiers all have a stacked form."""

    subject: Subject
    method: str | Callable[..., Recipe] = "lora_dreambooth"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: Checkpoint | None = None


@dataclass(frozen=True)
class Done:
    """The end of a job: its concept or its error, and its last good state."""

    job: Job
    concept: Concept | None
    error: Exception | None
    checkpoint: Checkpoint


@dataclass(frozen=True)
class StackedProgress:
    """One update of all subjects in training."""

    losses: tuple[tuple[Job, float], ...]
    done: tuple[Done, ...]  # jobs that ended with this update
    waiting: int  # jobs that have not started, where their number is known
    seconds: float
    snapshot: Callable[[Job], Checkpoint] = field(repr=False)


def train_stacked(
    base: Base, jobs: Iterable[Job], *, slots: int = SLOTS, mixed: bool = False, controls: Controls | None = None
) -> Generator[StackedProgress]:
    """Train all jobs, `slots` at a time, and yield after every update.

    `mixed` computes in bfloat16 and updates weights in the base's own precision: faster for many subjects, and no
    longer equal to learning a subject alone up to rounding. A job that ends or fails leaves its slot to the next; the
    next job is requested when a slot becomes free. An iterator of jobs may block: it runs in a thread of its own, and
    the subjects in training continue meanwhile. A job that cannot start ends at once, with its error. Where others wait
    for the base (`controls`), all adapters are taken off between two updates, and put back after the others' turns;
    they have it between the steps of sampling class images, too. A pause that is asked for there, before the first
    update, raises `TrainingPaused`. The base returns to its former state when the generator ends, is closed or raises.
    """
    controls = controls or Controls()
    if slots < 1:
        raise InputError(f"the number of slots must be 1 or more, not {slots}")
    asked, began = Asked(jobs), time.monotonic()
    members: list[SubjectRun] = []
    job_of: dict[SubjectRun, Job] = {}
    has_begun = False

    def at_break(is_base_free: bool) -> None:
        if is_base_free:
            controls.give_way()
        if not has_begun and controls.take(PAUSE):
            raise TrainingPaused

    while True:
        refused: list[Done] = []
        while len(members) < slots and (job := asked.next(wait=not members and not refused)) is not None:
            try:
                with breaking(at_break):
                    members.append(_start(base, job, job_of))
            except TrainingPaused:
                raise
            except Exception as error:  # the fault of one job must not end the others
                refused.append(Done(job, None, error, job.start or Checkpoint(0, 0, {}, {})))
        if refused:
            yield StackedProgress((), tuple(refused), asked.left, time.monotonic() - began, _of_nobody)
        if not members:
            if refused:
                continue
            asked.finish()
            return
        members = [members[k] for group in alike([member.recipe for member in members]) for k in group]
        with stacked_trainer(base, members) as trainer:
            trainer.mixed = mixed
            while True:
                losses, ended = trainer.update()
                has_begun = True
                done = tuple(_done(trainer, member, job_of[member]) for member in ended)
                job_losses = tuple((job_of[member], loss) for member, loss in losses)
                yield StackedProgress(
                    job_losses, done, asked.left, time.monotonic() - began, _snapshots(trainer, job_of)
                )
                if ended or controls.others_wait or (len(members) < slots and asked.ready()):
                    trainer.keep()
                    members = [member for member in members if member not in ended]
                    break
        controls.give_way()


def _of_nobody(job: Job) -> Checkpoint:
    raise InputError(f"{job.subject.handle} is not in training, so it has no state")


class Asked:
    """A queue of jobs. An iterator that is not a sequence may block, so a thread of its own reads it, at most one job
    ahead."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._given = iter(jobs)
        # number of jobs that have not started, where it is known
        self.left = len(jobs) if isinstance(jobs, Sequence) else 0
        self._at_hand = isinstance(jobs, Sequence)
        self._answer: queue.Queue[Job | Exception | None] = queue.Queue()
        self._asking = self._over = False
        self._error: Exception | None = None

    def next(self, *, wait: bool) -> Job | None:
        """The next job; None at the end, and, unless `wait` is set, where none is available yet."""
        if self._at_hand:
            self.left = max(self.left - 1, 0)
            return next(self._given, None)
        self._ask()
        if self._over:
            return None
        try:
            answer = self._answer.get(timeout=None if wait else GRACE)
        except queue.Empty:
            return None
        self._asking = False
        if not isinstance(answer, Job):
            self._over, self._error = True, answer
            return None
        return answer

    def ready(self) -> bool:
        """Whether `next` would return at once."""
        return not self._over and not self._answer.empty()

    def finish(self) -> None:
        """Raise the iterator's exception, if there was one; called after all started jobs have ended."""
        if self._error is not None:
            raise self._error

    def _ask(self) -> None:
        if not self._asking and not self._over:
            self._asking = True
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        try:
            self._answer.put(next(self._given, None))
        except Exception as error:
            self._answer.put(error)


def learn_many(
    base: Base,
    jobs: Iterable[Job],
    *,
    slots: int = SLOTS,
    mixed: bool = False,
    watch: Callable[[StackedProgress], object] | None = None,
    progress: bool = False,
) -> list[Done]:
    """Run `train_stacked` to its end: every job with its concept or its error, in the order in which they ended.
    `progress` draws a line of progress on the error stream."""
    outcomes: list[Done] = []
    line = Line()
    try:
        for update in train_stacked(base, jobs, slots=slots, mixed=mixed):
            outcomes += update.done
            if watch:
                watch(update)
            if progress and update.losses:
                mean = sum(loss for _, loss in update.losses) / len(update.losses)
                line.show(fleet_line(len(outcomes), len(update.losses), update.waiting, mean, update.seconds))
    finally:
        line.end()
    return outcomes


def _start(base: Base, job: Job, job_of: dict[SubjectRun, Job]) -> SubjectRun:
    run = prepared_run(base, job.subject, job.method, dict(job.settings), job.seed)
    member = SubjectRun(base, run, job.start)
    job_of[member] = job
    return member


def _done(trainer: StackedTrainer, member: SubjectRun, job: Job) -> Done:
    point = trainer.end(member)
    if member.error is not None:
        return Done(job, None, member.error, point)
    concept = to_concept(member.run, point.tensors, member.losses, time.monotonic() - member.began)
    return Done(job, concept, None, point)


def _snapshots(trainer: StackedTrainer, job_of: Mapping[SubjectRun, Job]) -> Callable[[Job], Checkpoint]:
    """A function that returns a job's state under the names of unstacked training, so that the job can continue stacked
    with other jobs or alone."""
    return lambda job: trainer.snapshot(next(m for m in trainer.members if job_of[m] is job))
