"""The first part of the workflow `learn`: everything that is read, checked and opened before training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.interrupts import standing
from limner.core.method import settings
from limner.core.style_captions import content_notes
from limner.core.wording import counted, first_of
from limner.errors import InputError
from limner.library.after import check_answers, method_after, subject_after
from limner.library.apart import notes_of
from limner.library.concepts import read_concepts
from limner.methods import card, find

from .choose_method import are_photographs, choose
from .events import Event, Message, Note, PicturesRead, RunPlanned
from .faces import consented, demand_consent, face_alone
from .learn_files import check_preview, check_target, page_folder, what_is_kept
from .learn_watches import Watches, watches_of
from .opening import open_encoders, plan_memory, strange_words_note
from .picture_scores import picture_scores
from .preview_prompts import preview_prompts

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject
    from limner.evaluation.score import Scorecard

    from .controls import Controls
    from .requests import BaseChoice, FurtherSubject, LearnRequest


@dataclass
class LearnRun:
    """A run that is ready for training: everything that was read and checked."""

    request: LearnRequest
    subject: Subject  # without the pictures that are held out
    method: str
    settings: Mapping[str, Any]  # the settings that the request names
    recipe: Recipe
    base: Any
    target: Path
    page: Path
    after: Concept | None  # the concept that it is learned after
    judge: Callable[[Concept], Scorecard] | None
    watches: Watches


def planned(
    request: LearnRequest, open_base: Callable[[BaseChoice], Any], controls: Controls | None = None
) -> Generator[Event, None, LearnRun]:
    """Check and open everything that training needs; return the run."""
    from limner.data.prepare import prepared
    from limner.library.settings import check_word, checked_settings

    check_preview(request.preview)
    subject, places = yield from _subject(request)
    further = [_further(one) for one in request.beside]
    subject = subject.with_beside([one for one, _ in further])
    places += [path for _, paths in further for path in paths]
    target, page = yield from _places(request, subject, places)
    for note in _first_notes(request, subject):
        yield Note(note)
    yield PicturesRead(subject.name, subject.noun, subject.kind, len(subject.pictures))
    looks: dict[str, Any] = {"segment": request.segment, "caption": request.caption, "device": request.base.device}
    subject = replace(
        prepared(subject, **looks),
        beside=tuple(prepared(one, **looks) if one.pictures else one for one in subject.beside),
    )
    if request.caption and subject.kind == "style":
        for note in content_notes([picture.caption for picture in subject.pictures], subject.handle):
            yield Note(note)
    after = read_concepts([request.after], None)[0] if request.after is not None else None
    method = request.method or (method_after(after) if after else (yield from _method(request, subject)))
    chosen = request.settings
    settings = checked_settings(find(method), chosen, base=request.base.name)
    choice, memory = plan_memory(request.base, find(method)(subject, **settings), batch=int(settings.get("batch", 1)))
    if memory:
        yield Message(memory)
    base = open_base(choice)
    subject = consented(subject, may=request.may, person=request.person, guardian=request.guardian)
    demand_consent(base, subject)
    before = len(subject.notes)
    subject = face_alone(base, subject, which=request.which)
    for note in subject.notes[before:]:
        yield Note(note)
    sequence = subject_after(subject, after, base, method) if after else subject
    recipe = find(method)(sequence, **checked_settings(find(method), chosen, base=base.name))
    check_answers(recipe, sequence, method)
    check_word(subject, base)
    for note in _notes(base, subject, method, recipe, settings, target.parent):
        yield Note(note)
    subject, held_out = hold_out(subject, request.hold_out)
    eyes = open_encoders(request.encoders, device=request.base.device)
    if request.score and base.capabilities.bench is None and eyes is None:
        yield Note(
            "the concept is not scored, since the built-in encoders know toys alone; name others: --clip FOLDER "
            "--dino FOLDER"
        )
    judge = judge_of(base, subject, held_out, eyes, request.seed) if request.score else None
    watches = watches_of(request, subject, held_out, page, judge=judge, controls=controls)
    seen = held_out or [picture.image for picture in subject.pictures if picture.image is not None]
    watches.score = functools.partial(picture_scores, base, subject, references=seen, encoders=eyes)
    yield RunPlanned(method, settings, base.name, target, page)
    return LearnRun(request, subject, method, chosen, recipe, base, target, page, after, judge, watches)


def _subject(request: LearnRequest) -> Generator[Event, None, tuple[Subject, list[Path]]]:
    """Return the subject of a folder in any tool's layout, or of files; and the paths of the user's pictures."""
    from limner.core.heic import unread_note
    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    unread = unread_note(request.pictures)
    if unread:
        yield Note(unread)
    more = {"without": request.without, "pool": request.pool, "auxiliary": request.auxiliary}
    about: dict[str, Any] = {"kind": request.kind, **{name: path or () for name, path in more.items()}}
    places = [path for path in (*request.pictures, *more.values()) if path is not None]
    first = request.pictures[0] if len(request.pictures) == 1 else None
    if first is not None and (first.is_dir() or first.suffix in (".json", ".toml")):
        contents = recognised(first)
        yield Message(str(contents))
        if contents.regular:
            yield Note(
                "the class images beside it are not used; methods with prior preservation paint class images with "
                "the base"
            )
        places += [path for item in contents.items for path in (item.path, item.mask) if path is not None]
        subject = contents.subject(noun=request.noun, name=request.name, **about)
        subject = replace(subject, notes=tuple(note for note in subject.notes if note not in contents.notes))
        return subject, [*places, *contents.regular]
    if not request.noun:
        raise InputError("the class of the subject is not known: name it, as in --class dog")
    name = request.name or "my" + "".join(filter(str.isalnum, request.noun))
    return Subject.of(request.pictures, noun=request.noun, handle=name, **about), places


def _further(one: FurtherSubject) -> tuple[Subject, list[Path]]:
    """A further subject, and the paths of its pictures."""
    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    if one.pictures is None:
        return Subject.shown_with(one.name, noun=one.noun), []
    contents = recognised(one.pictures)
    places = [path for item in contents.items for path in (item.path, item.mask) if path is not None]
    return contents.subject(noun=one.noun, name=one.name), [one.pictures, *places]


def _places(
    request: LearnRequest, subject: Subject, pictures: Sequence[Path]
) -> Generator[Event, None, tuple[Path, Path]]:
    """Return the concept's file and the folder of its page, after checking that both can be written."""
    target = request.out / f"{subject.name}.safetensors"
    check_target(target, overwrite=request.overwrite, resume=request.resume)
    count = request.preview * len(preview_prompts(subject))
    page = page_folder(request.out, subject.name, pictures=pictures, count=count, resume=request.resume)
    if page != request.out / subject.name:
        yield Note(f"{request.out / subject.name} holds files of yours, so the page goes into {page}")
    check_folder(page)
    standing(what_is_kept(target, page, resume=request.resume))
    return target, page


def _first_notes(request: LearnRequest, subject: Subject) -> Iterator[str]:
    from limner.bases.common.loading import SUGGESTED, capabilities_of

    if not capabilities_of(request.base.name).photographs:
        yield (
            f"the base {request.base.name!r} knows toys of its own small world, not photographs; expect a toy "
            "that resembles your subject. For real "
            f"photographs name a real base: --base {SUGGESTED} (about 4 GB, fetched once), or a folder or file that "
            "you have; "
            "`limner bases` lists the families"
        )
    yield from first_of(subject.notes)
    if note := strange_words_note(request.base.name, subject.noun):
        yield note


def _method(request: LearnRequest, subject: Subject) -> Generator[Event, None, str]:
    """Return the method for the request's goal. The request's settings belong to the method for toys: where the method
    for photographs lacks one of them, the method for toys is used, with a note about the pictures to expect."""
    about: dict[str, Any] = {
        "base": request.base.name,
        "goal": request.goal,
        "kind": request.kind,
        "budget": request.budget,
    }
    from limner.bases.common.loading import capabilities_of

    usual = choose(**about)
    known = capabilities_of(request.base.name).photographs
    best = choose(**about, photographs=not known and are_photographs(subject))
    strange = sorted(request.settings.keys() - {setting.name for setting in settings(find(best.method))})
    method, why = usual if strange else best
    yield Message(f"method: {method} ({why})")
    if strange:
        flag = strange[0].replace("_", "-")
        yield Note(
            f"these pictures are photographs; on pocket, {method} will paint noise or some other {subject.noun}. "
            f"{best.method} would paint a toy like the subject, but has no --{flag}"
        )
    return method


def _notes(
    base: Any, subject: Subject, method: str, recipe: Recipe, settings: Mapping[str, Any], folder: Path
) -> Iterator[str]:
    """Notes about the base, the method and the subject."""
    from limner.core.subject import small_notes
    from limner.parts.encoders.captions import repeated_content
    from limner.parts.encoders.masks import unseen

    if base.distilled:
        yield (
            f"{base.name} was distilled for {base.distilled}, and ordinary updates undo that. Learn on the model "
            "that it was distilled from, and use the concept here: limner paint … --base THIS --any-base"
        )
    if base.capabilities.full_size and not card(find(method)).full_size_source:
        yield f"{method} has no settings for a full-size base; its defaults are used, so watch the loss"
    yield from recipe.notes
    yield from notes_of(base, [subject], method, settings, folder)
    yield from small_notes(subject.pictures, base.picture_size)
    if subject.kind == "style" and (content := repeated_content(base, subject)):
        yield (
            f"the base's CLIP names one content ({content!r}) in all {counted(len(subject.pictures), 'picture')} of the style, "
            "so that content and style cannot be told apart: give pictures of different things, or captions that name what "
            "each shows"
        )
    for name in unseen(base, subject) if subject.kind != "style" else ():
        yield f"no toy is visible in {name}; training on a picture without the subject learns its surroundings"


def hold_out(subject: Subject, count: int) -> tuple[Subject, list[Any]]:
    """The subject without its last `count` pictures, and those pictures. Near-duplicates stay on one side."""
    from limner.data.duplicates import split

    if count == 0:
        return subject, []
    images = [p.image for p in subject.pictures if p.image is not None]
    training, out = split(images, held_out=count)
    if len(out) < count:
        raise InputError(
            f"{counted(len(images), 'picture')} are too few to hold out {count}; give more, or hold out fewer"
        )
    return replace(subject, pictures=tuple(subject.pictures[k] for k in training)), [images[k] for k in out]


def judge_of(
    base: Any, subject: Subject, held_out: Sequence[Any], eyes: Any, seed: int
) -> Callable[[Concept], Scorecard] | None:
    """The quick scoring at the end; None where no encoders know this base's pictures."""
    from limner.evaluation.score import QUICK

    from .score import score

    bench = base.capabilities.bench
    if bench is None and eyes is None:
        return None
    real = [p.image for p in subject.pictures if p.image is not None]
    places = ("on the beach", "in the snow", "in the jungle", "in a city")
    prompts: Any = bench.prompts()[:6] if bench else [f"{subject.handle} {place}" for place in places]
    if subject.kind == "style":  # a style has no place: it is that of a picture of something else
        prompts = [f"a dog {place} in {subject.handle}" for place in places]
    # the base's own pictures, painted once for all calls
    plain: list[Any] = []

    def judge(concept: Concept) -> Scorecard:
        card = score(
            base,
            concept,
            training=real,
            held_out=held_out,
            prompts=prompts,
            seeds=(seed,),
            encoders=eyes,
            only=QUICK,
            plain=plain,
        )
        plain[:] = card.base
        return card

    return judge
