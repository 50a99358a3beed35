"""The workflow `look`: a report on a subject's photos, before anything is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder, check_ours
from limner.errors import InputError, PictureError

from .events import Event, FaceRead, Message, PictureRead, RunDone, SubjectRead
from .faces import WHOLE
from .look_files import THING, near_duplicates, read_contents, subject_of
from .opening import open_base, strange_words_note

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.face_pictures import FacesSeen
    from limner.core.subject import Reference, Subject

    from .requests import BaseChoice, LookRequest

SHOWN = 1024
"""Side in pixels of the largest PNG that is written of a photo, for browsers that do not open every format."""


@dataclass
class Looks:
    """Everything that is known of each picture, in order."""

    subject: Subject
    orientations: list[int]
    crops: list[tuple[int, int, int, int]]
    masks: list[Image.Image | None]
    mask_sources: list[str]
    captions: list[str]
    caption_sources: list[str]
    visible: list[bool | None]
    faces: list[FacesSeen] = field(default_factory=list)  # empty for a subject that is no face
    unclear: str = ""
    consent: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def look_subject(request: LookRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Read the photos of a request and yield `SubjectRead`. A file that cannot be read is reported, with the reason,
    in place of an error. `open_base` may return a base that is open already; a base without networks of its own is not
    opened.

    Raises `PictureError` where no file can be read as a picture.
    """
    from limner.core.decoding import orientation_of

    check_folder(request.out)
    contents, unread = read_contents(request)
    if not contents.references:
        why = "; ".join(f"{name}: {reason}" for name, reason in unread[:3])
        raise PictureError(f"there are no pictures that can be read{': ' + why if why else ''}")
    yield Message(f"{len(contents.references)} pictures read; looking at them")
    duplicates = near_duplicates(contents)
    read = zip(contents.references, contents.items, strict=True)
    orientations = {reference.sha256: orientation_of(item.path) for reference, item in read}
    subject = subject_of(request, contents)
    left_out = [note for note in subject.notes if "is the same picture as an earlier one" in note]
    unread += [(note.split(" is the same picture", 1)[0], "the same picture as an earlier one") for note in left_out]
    looks = _looks(request, subject, orientations, open_base)
    event = _event(request, looks, duplicates, unread)
    yield event
    yield RunDone(event.record, "\n".join(_lines(event)))


# ---------------------------------------------------------------------------------------------------------- the looking


def _looks(
    request: LookRequest,
    subject: Subject,
    orientations: dict[str, int],
    open_base: Callable[[BaseChoice], Any],
) -> Looks:
    from limner.bases.common.loading import capabilities_of
    from limner.core.capabilities import NONE
    from limner.data.prepare import prepared

    images = [_image(picture) for picture in subject.pictures]
    looks = Looks(
        subject,
        [orientations[picture.sha256] for picture in subject.pictures],
        [middle_square(image) for image in images],
        [picture.mask for picture in subject.pictures],
        ["given" if picture.mask is not None else "" for picture in subject.pictures],
        [picture.caption for picture in subject.pictures],
        ["given" if picture.caption else "" for picture in subject.pictures],
        [None] * len(images),
        notes=[*subject.notes, *_class_notes(request, subject)],
    )
    has_networks = capabilities_of(request.base.name) is not NONE or bool(request.base.faces)
    base = open_base(request.base) if has_networks else None
    if subject.kind == "face":
        _look_at_faces(looks, base, request.which)
    if request.segment or request.caption:
        about: dict[str, Any] = {"segment": request.segment, "caption": request.caption}
        complete = prepared(subject, **about, device=request.base.device)
        for k, picture in enumerate(complete.pictures):
            if looks.masks[k] is None and picture.mask is not None:
                looks.masks[k], looks.mask_sources[k] = picture.mask, "model"
            if not looks.captions[k] and picture.caption:
                looks.captions[k], looks.caption_sources[k] = picture.caption, "model"
    if base is not None:
        _look_by_base(looks, base)
    return looks


def _class_notes(request: LookRequest, subject: Subject) -> Iterator[str]:
    from limner.bases.common.loading import facts_of
    from limner.core.subject import small_notes
    from limner.data.layouts.contents import USUAL_SIDE

    if subject.noun == THING and not request.noun:
        yield "the class of the subject is not known yet: name it, such as dog"
    elif note := strange_words_note(request.base.name, subject.noun):
        yield note
    if facts_of(request.base.name).photographs:
        yield from small_notes(subject.pictures, USUAL_SIDE)


def _look_at_faces(looks: Looks, base: Any, which: int | None) -> None:
    """Find the faces, take the crop around the person's, and find out who must consent."""
    from limner.core.face_pictures import faces_seen, square_around

    from .faces import looks_of_age

    looks.consent = ("person",)
    networks = base.capabilities.faces if base is not None else None
    if networks is None:
        looks.notes.append(WHOLE)
        return
    looks.faces, looks.unclear = faces_seen(looks.subject.pictures, networks, which=which)
    for k, (picture, seen) in enumerate(zip(looks.subject.pictures, looks.faces, strict=True)):
        if seen.chosen is not None:
            looks.crops[k] = square_around(seen.faces[seen.chosen], _image(picture).size)
        elif not looks.unclear:
            fault = seen.faults[0] if seen.faces else "shows no face"
            looks.notes.append(f"{picture.name} is left out: it {fault}")
    ages = looks_of_age(base, looks.subject)
    if 2 * sum(age == "child" for age in ages.values()) > len(ages):
        looks.consent = ("person", "guardian")


def _look_by_base(looks: Looks, base: Any) -> None:
    """Masks and captions by the base's own networks, and whether the subject is visible."""
    from limner.core.pixels import to_tensor
    from limner.core.subject import small_notes
    from limner.data.caption import named
    from limner.parts.encoders.masks import LEAST

    cuts = [_image(picture).crop(crop) for picture, crop in zip(looks.subject.pictures, looks.crops, strict=True)]
    pixels = to_tensor(cuts, base.picture_size)
    looks.notes += small_notes(
        [replace(p, image=cut) for p, cut in zip(looks.subject.pictures, cuts, strict=True)], base.picture_size
    )
    if base.segmenter is not None and looks.subject.kind != "style":
        segmented = base.segmenter(pixels) > 0.5
        for k, share in enumerate(segmented.float().mean((1, 2)).tolist()):
            name = looks.subject.pictures[k].name
            looks.visible[k] = share >= LEAST
            if looks.masks[k] is None and looks.visible[k]:
                size = _image(looks.subject.pictures[k]).size
                looks.masks[k], looks.mask_sources[k] = whole_mask(segmented[k], looks.crops[k], size), "segmenter"
            elif not looks.visible[k]:
                looks.notes.append(f"the subject is not visible in {name}, as far as {base.name} can tell")
    captioner = base.capabilities.captioner
    if captioner is not None and not all(looks.captions):
        for k, text in enumerate(captioner(pixels)):
            if not looks.captions[k]:
                caption = named(text.format(looks.subject.noun), looks.subject)
                looks.captions[k], looks.caption_sources[k] = caption, "captioner"


def middle_square(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the middle square of a picture, in pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side


def whole_mask(segmented: Any, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    """A mask of the whole picture, "L", from that of a crop; black outside.

    segmented: [h, w], true where the subject is
    crop: left, top, right, bottom in pixels
    size: width and height of the picture
    """
    from PIL import Image

    part = Image.fromarray((segmented.cpu().byte() * 255).numpy())
    whole = Image.new("L", size)
    whole.paste(part.resize((crop[2] - crop[0], crop[3] - crop[1]), Image.Resampling.NEAREST), crop[:2])
    return whole


def _image(picture: Reference) -> Image.Image:
    if picture.image is None:
        raise InputError(f"{picture.name} has no pixels; give the picture's file again")
    return picture.image


# ----------------------------------------------------------------------------------------------------------- the report


def _event(
    request: LookRequest,
    looks: Looks,
    duplicates: Sequence[tuple[str, str]],
    unread: Sequence[tuple[str, str]],
) -> SubjectRead:
    from limner.bases.common.loading import SUGGESTED, facts_of

    from .choose_method import are_photographs

    subject, notes = looks.subject, list(dict.fromkeys(looks.notes))
    photographs: bool | None = None
    if not facts_of(request.base.name).photographs:
        photographs = subject.kind in ("object", "pet") and are_photographs(subject)
        if photographs:
            notes.append(
                f"these are photographs, and the base {request.base.name!r} knows toys of its own small world: expect "
                f"a toy that resembles the subject. For the subject itself name a real base, such as {SUGGESTED}"
            )
    pictures = tuple(_picture(request, looks, k) for k in range(len(subject.pictures)))
    return SubjectRead(
        subject.name,
        subject.noun,
        subject.kind,
        pictures,
        tuple(duplicates),
        tuple(unread),
        photographs,
        looks.consent,
        looks.unclear,
        tuple(notes),
    )


def _picture(request: LookRequest, looks: Looks, k: int) -> PictureRead:
    """The report on a picture, once its PNG and that of its mask are written."""
    from limner.core.picture import save_sheet

    picture, mask = looks.subject.pictures[k], looks.masks[k]
    image = _image(picture)
    shown = image.copy()
    shown.thumbnail((SHOWN, SHOWN))
    paths = [request.out / f"{k:03}.png", request.out / f"{k:03}-mask.png"]
    for path in paths:
        check_ours(path)
    save_sheet(shown, paths[0])
    if mask is not None:
        save_sheet(mask, paths[1])
    seen = looks.faces[k] if looks.faces else None
    return PictureRead(
        picture.name,
        picture.sha256,
        image.width,
        image.height,
        looks.orientations[k],
        looks.crops[k],
        paths[0],
        paths[1] if mask is not None else None,
        looks.mask_sources[k],
        looks.visible[k],
        looks.captions[k],
        looks.caption_sources[k],
        _faces(seen) if seen is not None else (),
    )


def _faces(seen: FacesSeen) -> tuple[FaceRead, ...]:
    faces = []
    for place, (face, fault) in enumerate(zip(seen.faces, seen.faults, strict=True)):
        left, top, right, bottom = (round(edge, 1) for edge in face.box)
        faces.append(FaceRead((left, top, right, bottom), place == seen.chosen, fault))
    return tuple(faces)


def _lines(event: SubjectRead) -> Iterator[str]:
    """The report in lines, for people."""
    for picture in event.pictures:
        mask = f", mask {picture.mask_source}" if picture.mask_source else ""
        caption = f", {picture.caption!r}" if picture.caption else ""
        yield f"{picture.name}: {picture.width} x {picture.height}, learned from {picture.crop}{mask}{caption}"
    yield from (f"{name}: not read, {reason}" for name, reason in event.unread)
    yield from (f"near-duplicates: {one}, {other}" for one, other in event.duplicates)
    yield from (f"consent needed: {who}" for who in event.consent)
    yield from event.notes
