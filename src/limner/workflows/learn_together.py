"""The workflow `learn` with `together`: one pass over many subjects that can be interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.files import check_folder
from limner.core.heic import unread_note
from limner.core.interrupts import TrainingPaused, standing
from limner.core.method import settings
from limner.core.wording import counted
from limner.engine.stacked.train import SLOTS, room
from limner.errors import InputError, UnknownName
from limner.library.apart import notes_of
from limner.library.settings import check_word, checked_settings
from limner.methods import DEFAULT, find, methods

from .choose_method import Choice, choose
from .controls import Controls
from .events import ConceptSaved, Event, Message, Note, Paused, PicturesRead, RunDone
from .faces import consented, demand_consent, face_alone
from .first_use import weights_made
from .form import facts_of_method
from .learn_files import check_target
from .learn_request import unused_pictures
from .opening import free_memory, open_base, strange_words_note
from .together import UNFINISHED, Together

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject

    from .requests import BaseChoice, LearnRequest

ALONE_ONLY = (
    *("stop", "without", "pool", "auxiliary", "segment", "caption", "hold_out", "budget", "sample_every", "states"),
    *("after", "beside"),
)
"""Fields of a request that only a single subject can have."""


def learn_together(
    request: LearnRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Learn every folder in a folder as a subject, all in one pass, each into its own file. Concepts that exist already
    are skipped; with `resume`, unfinished ones continue. `open_base` may return a base that is open already.
    `controls` carries wishes: pause, stop (the subjects in training keep what they have learned; those that wait are
    left out) and save (a concept of this moment for each of them).

    Raises `InputError` before training for a request that cannot be learned. The last event names the subjects whose
    training failed.
    """
    _check_alone(request)
    method = request.method or (yield from _method(request))
    folders = _folders(request)
    if unread := unread_note(folders):
        yield Note(unread)
    subjects = _subjects(request, folders)
    for subject in subjects:
        strange = strange_words_note(request.base.name, subject.noun)
        yield from (Note(f"{subject.name}: {note}") for note in (*subject.notes, strange) if note)
        yield PicturesRead(subject.name, subject.noun, subject.kind, len(subject.pictures))
    folder = check_folder(request.out)
    for subject in subjects:
        check_target(folder / f"{subject.name}.safetensors", overwrite=request.overwrite, resume=True)
    base = open_base(request.base)
    agreed: dict[str, Any] = {"may": request.may, "person": request.person, "guardian": request.guardian}
    subjects = [consented(subject, **agreed) for subject in subjects]
    for subject in subjects:
        demand_consent(base, subject)
    subjects = [face_alone(base, subject, which=request.which) for subject in subjects]
    yield from map(Note, notes_of(base, subjects, method, request.settings, folder))
    one_pass = Together(
        base,
        folder,
        method,
        request.seed,
        request.settings,
        overwrite=request.overwrite,
        resume=request.resume,
        controls=controls or Controls(),
    )
    standing(lambda: one_pass.standing)
    for subject in subjects:
        check_word(subject, base)
    recipe = find(method)(subjects[0], **checked_settings(find(method), request.settings, base=base.name))
    try:
        yield from weights_made(method, recipe, base, one_pass.controls)
    except TrainingPaused:
        yield Paused(None)
        return
    jobs = one_pass.jobs(subjects)
    if one_pass.there:
        yield Message(f"{len(one_pass.there)} of {counted(len(subjects), 'subject')} are learned already")
        # a queue knows of a concept by this event alone
        yield from (ConceptSaved(path, Concept.load(path).cost) for path in one_pass.there)
    if jobs:
        slots = request.slots or _room(base, subjects[0], method, request)
        yield Message(f"{counted(len(jobs), 'subject')}, {min(slots, len(jobs))} at a time, by {method}")
        yield from one_pass.run(jobs, slots=slots, mixed=request.mixed)
        if one_pass.paused:
            yield Paused(folder / UNFINISHED)
            return
    yield from (Message(f"failed: {error}") for error in one_pass.failed)
    yield from unused_pictures(subjects, method)
    written = [str(path) for path in (*one_pass.there, *one_pass.written)]
    bad = len(one_pass.failed)
    failure = f"{bad} of {counted(len(jobs), 'subject')} could not be learned; the others were saved" if bad else ""
    yield RunDone({"concepts": written, "failed": one_pass.failed}, "\n".join(written), failure)


def _check_alone(request: LearnRequest) -> None:
    """Raise `InputError` for a field that only a single subject can have."""
    in_vain = [name for name in ALONE_ONLY if getattr(request, name)]
    if in_vain or request.keep == "best":
        flag = (in_vain or ["keep"])[0].replace("_", "-")
        raise InputError(
            f"--{flag} does not work with --together, which only trains and saves; learn that subject alone"
        )


def _method(request: LearnRequest) -> Generator[Event, None, str]:
    """Return the method for the request's goal, among those by which many subjects learn in one pass; the usual one
    where the request has settings that the other lacks."""
    among = [name for name in methods() if facts_of_method(name)["together"]]
    choice = choose(base=request.base.name, goal=request.goal, kind=request.kind, among=among)
    if choice.method not in among:  # the usual method for the kind, where none was measured
        choice = Choice(DEFAULT, f"{choice.method} learns one subject at a time")
    elif strange := request.settings.keys() - {setting.name for setting in settings(find(choice.method))}:
        choice = Choice(DEFAULT, f"{choice.method} has no setting {min(strange)!r}")
    yield Message(f"method: {choice.method} ({choice.why})")
    return choice.method


def _folders(request: LearnRequest) -> list[Path]:
    """The folders of the subjects. Raises `InputError` where there are none, and for the class of a missing folder."""
    root = request.pictures[0] if len(request.pictures) == 1 else None
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root is not None and root.is_dir() else []
    if not folders:
        raise InputError("with --together, name one folder that holds a folder of pictures for each subject")
    names = [folder.name for folder in folders]
    for name in request.nouns:
        if name not in names:
            raise UnknownName(f"folder in {root}", name, names)
    return folders


def _subjects(request: LearnRequest, folders: Sequence[Path]) -> list[Subject]:
    """The subject of each folder. Its class is the one that the request names for it, else the one in its folder, else
    the one for all."""
    from limner.data.layouts import recognised

    subjects = []
    for folder in folders:
        contents = recognised(folder)
        noun = request.nouns.get(folder.name) or contents.noun or request.noun
        if not noun:
            raise InputError(
                f"the class of {folder} is not known: write it into {folder / 'class.txt'}, or say --classes "
                f"{folder.name}=dog, or --class dog for all"
            )
        name = contents.token if contents.concepts else folder.name
        subjects.append(contents.subject(noun=noun, name=name, kind=request.kind))
    return subjects


def _room(base: Base, subject: Subject, method: str, request: LearnRequest) -> int:
    """Number of subjects that fit into the free memory, at most `SLOTS`."""
    recipe = find(method)(subject, **checked_settings(find(method), request.settings, base=base.name))
    batch = int(request.settings.get("batch", 4))
    return min(SLOTS, room(base, recipe, batch=batch, limit=0.7 * free_memory(request.base.device)))
