"""The workflow `protect`: from photographs on disk to protected copies beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.artefact import copy_names
from limner.core.files import check_place
from limner.core.interrupts import TrainingPaused, standing
from limner.core.subject import Subject, check_noun, read_all
from limner.core.wording import counted
from limner.errors import InputError

from .controls import PAUSE, Controls
from .events import Event, Message, Note, Paused, PhotoProtected, RunDone
from .opening import open_base, plan_memory

if TYPE_CHECKING:
    from limner.core.artefact import Artefact
    from limner.engine.train import Progress

    from .requests import BaseChoice, ProtectRequest

HANDLE = "<photo>"
NO_GUARANTEE = (
    "protection is no guarantee: other models and newer methods may learn from the copies all the same, and a blur, JPEG, "
    "a resize or purification weakens or removes the change. Share the PNG files as they are, and never the photographs"
)


def protect_request(
    request: ProtectRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Protect the photographs of a request and save each copy as a PNG in the folder `out`. `open_base` may return a
    base that is open already. A pause that `controls` carry ends the work with its checkpoint on disk; the same request
    with `resume` goes on.

    Raises `InputError` where a copy would replace a photograph, `FileError` where it would replace another file, and
    `UnknownName` for an unknown method or setting.
    """
    from limner.engine.checkpoint import CHECKPOINT

    from .protect import prepared_protection, protect_updates

    controls = controls or Controls()
    references, notes = read_all(list(request.pictures))
    subject = Subject(HANDLE, check_noun(request.noun), tuple(references))
    yield from map(Note, notes)
    _check_places(request, subject)
    choice, memory = _plan(request, subject)
    if memory:
        yield Message(memory)
    base = open_base(choice)
    run = prepared_protection(base, subject, request.method, request.settings, request.seed)
    yield from map(Note, run.recipe.notes)
    yield Message(f"protecting {counted(len(references), 'photograph')} by {request.method}")
    if request.resume and not (request.out / CHECKPOINT).exists():
        yield Note(f"there is no checkpoint in {request.out}, so the work starts from the beginning")
    standing(lambda: "no copy is written yet; the same command with --resume goes on")
    pause = functools.partial(controls.take, PAUSE)
    updates = protect_updates(base, run, checkpoints=request.out, resume=request.resume, pause=pause)
    try:
        copies = yield from _updates(updates, controls)
    except TrainingPaused:
        yield Paused(request.out / CHECKPOINT)
        return
    yield from _saved(request, subject, copies)


def _plan(request: ProtectRequest, subject: Subject) -> tuple[BaseChoice, str]:
    """How the base is opened, and a line about its memory, which leaves out the encoder's activations. Checks the
    method and its settings before that."""
    from limner.library.settings import checked_settings
    from limner.methods import find_protection

    function = find_protection(request.method)
    chosen = checked_settings(function, request.settings, base=request.base.name)
    # photographs are changed one by one, so that the first takes as much memory as any
    return plan_memory(request.base, function(replace(subject, pictures=subject.pictures[:1]), **chosen))


def _check_places(request: ProtectRequest, subject: Subject) -> None:
    """Raise `InputError` where a copy would replace a photograph, and `FileError` where it would replace another file
    that may not be replaced."""
    folders = [path if path.is_dir() else path.parent for path in request.pictures]
    if request.out.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(
            f"{request.out} holds the photographs themselves, which are never replaced: name another folder for the copies"
        )
    for name in copy_names([reference.name for reference in subject.pictures]):
        check_place(request.out / name, overwrite=_replaces(request))


def _replaces(request: ProtectRequest) -> bool:
    """Whether earlier copies are replaced: also by a run that was interrupted while it wrote them."""
    return request.overwrite or request.resume


def _updates(
    updates: Generator[Progress, None, Sequence[Artefact]], controls: Controls
) -> Generator[Event, None, Sequence[Artefact]]:
    """Yield an event for each update, and let others use the base between two of them; return the copies."""
    from .learn_request import update_event

    with closing(updates):
        while True:
            try:
                progress = next(updates)
            except StopIteration as ended:
                copies: Sequence[Artefact] = ended.value
                return copies
            yield update_event(progress)
            if controls.others_wait:
                with progress.adapted.suspended():
                    controls.give_way()


def _saved(request: ProtectRequest, subject: Subject, copies: Sequence[Artefact]) -> Iterator[Event]:
    """Save the copies, and report how far each is from its photograph."""
    from limner.engine.checkpoint import discard

    from .protect import difference, image_of

    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for reference, copy in zip(subject.pictures, copies, strict=True):
        assert reference.image is not None
        path = copy.save(request.out, overwrite=_replaces(request))
        largest, psnr = difference(reference.image, image_of(copy))
        yield PhotoProtected(reference.name, path, largest, psnr)
        rows.append({"photo": reference.name, "path": str(path), "largest": largest, "psnr": psnr})
        far = f"changed by at most {largest} of 255, {psnr:.1f} dB" if psnr is not None else "unchanged"
        lines.append(f"{path}  {far}")
    discard(request.out)
    yield Note(NO_GUARANTEE)
    yield RunDone({"files": [row["path"] for row in rows], "photos": rows, "warning": NO_GUARANTEE}, "\n".join(lines))
