"""The workflow `pretrain`: a corpus in, the weights that a method starts from out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.interrupts import standing
from limner.errors import InputError
from limner.methods import find

from .events import Event, Message, RunDone, RunPlanned
from .learn_request import update_event
from .opening import open_base, open_encoders

if TYPE_CHECKING:
    from limner.core.corpus import Corpus
    from limner.engine.parallel import Spread

    from .requests import BaseChoice, PretrainRequest


def pretrain_request(
    request: PretrainRequest, *, open_base: Callable[[BaseChoice], Any] = open_base
) -> Iterator[Event]:
    """Train the weights of a request. Where several processes run, the main one alone yields events. `open_base` may
    return a base that is open already."""
    from limner.core.weights import weights_path
    from limner.engine.checkpoint import CHECKPOINT
    from limner.engine.early_stopping import together
    from limner.engine.parallel import spread

    from .pretrain import Manner, folder_of, prepared, trained_updates
    from .trackers import tracker

    find(request.method)
    over = spread(request.accumulate)
    if request.corpus is None and (request.exclude or request.noun):
        raise InputError("--exclude and --class need a corpus: name one with --corpus")
    corpus = _corpus(request, over)
    ready = prepared(
        request.method,
        base=open_base(replace(request.base, device=request.base.device or over.device)),
        corpus=corpus,
        seed=request.seed,
        manner=Manner(request.accumulate, request.ema, request.precision),  # type: ignore[arg-type]  # checked there
        spread=over,
        given=request.settings,
    )
    folder = folder_of(ready, request.run)
    if over.main:
        yield Message(f"corpus {ready.seen}")
        target = weights_path(str(ready.recipe.weights), ready.base)
        yield RunPlanned(request.method, ready.settings, ready.base.name, target, folder)
    standing(
        lambda: (
            f"the checkpoint is {folder / CHECKPOINT}; the same command continues from it"
            if (folder / CHECKPOINT).exists()
            else "there is no checkpoint yet; the same command starts from the beginning"
        )
    )
    following = tracker(request.track, folder=folder, about=ready.header) if request.track and over.main else None
    with closing(following) if following else nullcontext():
        watches: list[Any] = [following] if following else []
        if request.preview_every:
            watches.append(_previews(request, ready, folder, following))
        with closing(trained_updates(ready, run=request.run, watch=together(*watches))) as updates:
            while True:
                try:
                    progress = next(updates)
                except StopIteration as ended:
                    path = ended.value
                    break
                if over.main:
                    yield update_event(progress)
    if over.main:
        yield RunDone({"weights": str(path), "corpus": dict(ready.seen.record)}, str(path))


def _corpus(request: PretrainRequest, over: Spread) -> Corpus | None:
    from limner.data.corpora import corpus

    if request.corpus is None:
        return None
    if request.duplicates not in ("error", "leave-out"):
        raise InputError(f"--duplicates must be error or leave-out, not {request.duplicates!r}")
    about: Any = {"noun": request.noun, "held_out": request.exclude, "duplicates": request.duplicates}
    with over.main_first():
        return corpus(request.corpus, **about)


def _previews(request: PretrainRequest, ready: Any, folder: Any, following: Any) -> Any:
    """Previews of a development toy, or of the subject in the folder that the request names."""
    from limner.data.corpora import called
    from limner.data.layouts import recognised

    from .previews import previews

    subject = None
    if request.preview_of:
        shown = recognised(request.preview_of)
        subject = shown.subject(noun=shown.noun or called(request.preview_of.resolve().name))
    watcher = previews(
        find(request.method),
        ready.settings,
        base=ready.base.name,
        folder=folder,
        every=request.preview_every,
        subject=subject,
        encoders=open_encoders(request.encoders, device=request.base.device),
        writes=ready.spread.main,
    )
    if following:
        watcher.shown = following.shown
    return watcher
