"""The workflow `learn`: from pictures on disk to a concept, its scores, its previews and its page.

It takes a request and yields events: the command line, an HTTP server and a queue call this and nothing below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from limner.core.interrupts import TrainingPaused, breaking
from limner.errors import InputError

from .controls import PAUSE, SAMPLE, SAVE, STOP, Controls
from .events import ConceptSaved, Event, Message, Note, Paused, RunDone, UpdateDone
from .first_use import weights_made
from .learn_end import certify_concept, keep_best, paint_previews, score_concept
from .learn_files import PAGE
from .learn_plan import planned
from .opening import open_base

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.subject import Subject
    from limner.engine.checkpoint import Run
    from limner.engine.train import Progress

    from .learn_plan import LearnRun
    from .requests import BaseChoice, LearnRequest


def learn_subject(
    request: LearnRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Learn the subject of a request. `open_base` may return a base that is open already. `controls` carries wishes
    during the run; after the event `Paused` nothing follows, and the same request with `resume` goes on.

    Raises `InputError` before training for a request that cannot be learned, and `TeachingError` where training cannot
    continue. A concept that fails its certificate is saved all the same, and the last event names the failed checks.
    """
    if request.slots is not None or request.mixed:
        flag = "--slots" if request.slots is not None else "--mixed"
        raise InputError(f"{flag} is for many subjects in one pass: add --together, or leave it out")
    if request.nouns:
        raise InputError("--classes is for many subjects in one pass: add --together, or use --class for one subject")
    from limner.engine.checkpoint import CHECKPOINT

    run = yield from planned(request, open_base, controls)
    try:
        yield from _whole(run)
    except TrainingPaused:
        yield Paused(next((path for path in (run.page / CHECKPOINT, run.target) if path.exists()), None))


def _whole(run: LearnRun) -> Iterator[Event]:
    """Train, score, preview and certify. Raises `TrainingPaused` where a pause is asked for."""
    controls = run.watches.controls
    concept = yield from _taught(run)
    run.watches.has_begun = True
    _check_pause(run)
    controls.give_way()
    concept = yield from keep_best(run, concept)
    concept, card = yield from score_concept(run, concept)
    if run.watches.keeper:
        run.watches.keeper.clear()
    _check_pause(run)
    controls.give_way()
    yield from paint_previews(run, concept, card)
    controls.give_way()
    failure = yield from certify_concept(run, concept)
    result = {"concept": str(run.target), "page": str(run.page / PAGE), "cost": concept.cost, "scores": concept.scores}
    yield RunDone(result, f"{run.target}\n{run.page / PAGE}", failure)


def _check_pause(run: LearnRun) -> None:
    """Raise `TrainingPaused` where a pause is asked for; samples and states are no longer possible after training."""
    for wish in (SAMPLE, SAVE, STOP):
        run.watches.controls.take(wish)
    if run.watches.controls.take(PAUSE):
        raise TrainingPaused


def _taught(run: LearnRun) -> Generator[Event, None, Concept]:
    """Train the concept, save it and return it. A resumed run takes the concept from disk where this same run had saved
    it."""
    from limner.engine.checkpoint import CHECKPOINT

    from .learn import prepared_run, run_of, state_of

    request = run.request
    yield from weights_made(run.method, run.recipe, run.base, run.watches.controls)
    ready = prepared_run(run.base, run.subject, run.method, run.settings, request.seed, run.after)
    concept = _taught_already(run, ready)
    if concept is not None:
        yield Message(f"{run.target} is trained already; continuing with the steps after training")
    elif request.resume and not (run.page / CHECKPOINT).exists():
        yield Note(f"there is no checkpoint in {run.page}, so training starts from the beginning")
    if concept is None:
        run.watches.resumes = request.resume and (run.page / CHECKPOINT).exists()
        run.watches.state_of = functools.partial(state_of, run.base, ready)
        updates = run_of(
            run.base,
            ready,
            checkpoints=run.page,
            resume=request.resume,
            watch=run.watches,
            to=run.target,
            overwrite=request.overwrite,
            pause=functools.partial(run.watches.controls.take, PAUSE),
        )
        concept = yield from _updates(run, updates)
    # a resumed run says so, too: a queue knows of a concept by this event alone
    yield ConceptSaved(run.target, concept.cost)
    if not run.recipe.tuning:
        yield from unused_pictures([run.subject], run.method)
    return concept


def _updates(run: LearnRun, updates: Generator[Progress, None, Concept]) -> Generator[Event, None, Concept]:
    """Yield an event for each update; return the concept. A note about unused masks follows the first update of the
    last stage."""
    has_noted, last = False, len(run.recipe.tuning) - 1
    with closing(run.watches), closing(updates):
        while True:
            try:
                progress = _next(run, updates)
            except StopIteration as ended:
                concept: Concept = ended.value
                return concept
            yield update_event(progress)
            yield from run.watches.events
            run.watches.events.clear()
            if progress.stage == last and not has_noted:
                has_noted = True
                yield from unused_pictures([run.subject], run.method)


def _next(run: LearnRun, updates: Generator[Progress, None, Concept]) -> Progress:
    """The next update. Until the first one is done, class images may be sampled, which take breaks."""
    if run.watches.has_begun:
        return next(updates)
    with breaking(run.watches.at_break):
        return next(updates)


def update_event(progress: Progress) -> UpdateDone:
    """An update as an event."""
    return UpdateDone(progress.done, progress.total, progress.stage, dict(progress.losses), progress.eta, progress.last)


def _taught_already(run: LearnRun, ready: Run) -> Concept | None:
    """The concept of a resumed run whose training had ended, so that only later steps are missing; else None. Raises
    `InputError` where the concept on disk belongs to another run."""
    from limner.core.concept import Concept
    from limner.engine.checkpoint import CHECKPOINT, discard

    from .learn import is_of

    request, target = run.request, run.target
    if not request.resume or not target.exists() or (request.overwrite and (run.page / CHECKPOINT).exists()):
        return None
    concept = Concept.load(target)
    if not is_of(concept, ready):
        if request.overwrite:
            return None
        raise InputError(
            f"{target} belongs to another run (other pictures, method, settings, seed or base); choose another --name "
            "or --out, or add --overwrite"
        )
    discard(run.page)
    return concept


def unused_pictures(subjects: Sequence[Subject], method: str) -> Iterator[Note]:
    """Yield a note where subjects have masks or auxiliary pictures that the method did not use."""
    idle = [s.name for s in subjects if "masks" not in s.uses and all(p.mask is not None for p in s.pictures)]
    if idle:
        yield Note(f"the masks of {', '.join(idle)} were not used: {method} learns from whole pictures")
    idle = [s.name for s in subjects if s.auxiliary and "auxiliary" not in s.uses]
    if idle:
        yield Note(f"the auxiliary pictures of {', '.join(idle)} were not used: {method} reads none; styleboost does")
