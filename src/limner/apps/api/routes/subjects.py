"""/api/subjects: reference images of a subject, with captions and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from limner.apps.jobs import retention
from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import Reference, Subject, User
from limner.core.subject import KINDS, check_name, check_noun
from limner.errors import InputError

from ..errors import ApiError
from ..fields import Fields, Line, Record, check_line, check_text
from ..uploads import UploadedPicture, check_picture, plain_filename, read_form, read_upload
from .common import Me, Work, add_job, find_own, note, picture_kind, store
from .records import subject_record

if TYPE_CHECKING:
    from ..services import Services

router = APIRouter(prefix="/api/subjects", tags=["subjects"])
FORM = {"requestBody": {"content": {"multipart/form-data": {"schema": {
    "type": "object",
    "properties": {
        "name": {"type": "string"}, "noun": {"type": "string"}, "kind": {"type": "string", "enum": list(KINDS)},
        "may": {"type": "boolean"}, "person": {"type": "string"}, "guardian": {"type": "string"},
        "pictures": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "masks": {"type": "array", "items": {"type": "string", "format": "binary"},
                  "description": "masks by the name of their picture: rex.jpg has the mask rex.png"},
        "captions": {"type": "array", "items": {"type": "string"}, "description": "in the order of the pictures"},
    },
    "required": ["name", "noun", "pictures"],
}}}}}  # fmt: skip


class SubjectChange(Fields):
    """Fields of a subject to change."""

    name: Line | None = None
    noun: Line | None = None
    kind: str | None = None
    may: bool | None = None
    person: Line | None = None
    guardian: Line | None = None


class Protection(Fields):
    """The method of protection and its settings."""

    method: Line = ""
    settings: dict[str, bool | int | float | str] = Field(default_factory=dict)
    seed: int = 0


@router.get("")
def list_subjects(work: Work, me: Me) -> Record:
    """The user's subjects, the newest first."""
    with work.database.reading() as session:
        rows = session.scalars(visible(Subject, me).order_by(Subject.created.desc())).all()
        return {"subjects": [subject_record(row) for row in rows]}


@router.post("", status_code=201, openapi_extra=FORM)
async def create_subject(request: Request, work: Work, me: Me) -> Record:
    """Create a subject from pictures of a multipart form."""
    form = await read_form(request)
    about = _about(form)
    pictures = await _pictures(form, work)
    if not pictures:
        raise InputError("there are no pictures: send one or more files in the field pictures (three to ten are best)")
    return await run_in_threadpool(_create, request, work, me, about, pictures)


def _create(request: Request, work: Services, me: User, about: Record, pictures: list[Record]) -> Record:
    rows = [_reference(work, me, picture, place) for place, picture in enumerate(pictures)]
    with work.database.session() as session:
        subject = Subject(owner_id=me.id, pictures=rows, **about)
        session.add(subject)
        session.flush()
        note(session, request, "subject.create", subject.id, pictures=len(rows))
        return subject_record(subject)


def _about(form: FormData) -> Record:
    """The subject's fields. Raises `InputError` for those that cannot be used."""
    kind = _field(form, "kind") or "object"
    return checked_about({
        "name": _field(form, "name"),
        "noun": _field(form, "noun"),
        "kind": kind,
        "may": _field(form, "may").lower() in ("1", "true", "yes", "on"),
        "person": _field(form, "person"),
        "guardian": _field(form, "guardian"),
    })  # fmt: skip


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise InputError(f"the field {name} must be a text, not a file")
    try:
        return check_line(value)
    except ValueError as error:
        raise InputError(f"the field {name}: {error}") from error


def checked_about(about: Record) -> Record:
    """The fields of a subject as they are stored."""
    if about.get("name") is not None:
        about["name"] = check_name(about["name"])
    if about.get("noun") is not None:
        about["noun"] = check_noun(about["noun"])
    if about.get("kind") not in (None, *KINDS):
        raise InputError(f"the kind must be one of {', '.join(KINDS)}, not {str(about['kind'])[:40]!r}")
    if about.get("name") is not None and about["name"] == str(about.get("noun")).lower():
        raise InputError(f"the name {about['name']!r} is the class itself; give the subject a name of its own")
    return {name: value[:128] if isinstance(value, str) else value for name, value in about.items()}


async def _pictures(form: FormData, work: Services) -> list[Record]:
    """The uploaded pictures, each decoded, with its caption and mask."""
    limits = work.config.limits
    files = [file for file in form.getlist("pictures") if isinstance(file, UploadFile) and (file.filename or file.size)]
    if len(files) > limits.pictures:
        raise ApiError(413, "too_many_files", f"at most {limits.pictures} pictures are read at once, not {len(files)}")
    captions = [str(text) for text in form.getlist("captions")]
    if captions and len(captions) != len(files):
        raise InputError(f"there are {len(captions)} captions for {len(files)} pictures; send one for each")
    masks = {_stem(file.filename): file for file in form.getlist("masks") if isinstance(file, UploadFile)}
    pictures = []
    for place, file in enumerate(files):
        upload = await read_picture(file, limits)
        mask = masks.pop(_stem(file.filename), None)
        caption = check_text(captions[place])[:10_000] if captions else ""
        mask_upload = await read_picture(mask, limits, mask=True) if mask is not None else None
        pictures.append({"picture": upload, "mask": mask_upload, "caption": caption})
    if masks:
        raise InputError(f"the mask {next(iter(masks))!r} has no picture of its name")
    return pictures


async def read_picture(file: UploadFile, limits: Any, *, mask: bool = False) -> UploadedPicture:
    """An uploaded picture or mask, which can be decoded."""
    data = await read_upload(file, limits)
    return await run_in_threadpool(check_picture, data, file.filename or "", limits, mask=mask)


def _stem(filename: str | None) -> str:
    return plain_filename(filename).rpartition(".")[0] or plain_filename(filename)


def _reference(work: Services, me: User, picture: Record, place: int) -> Reference:
    upload: UploadedPicture = picture["picture"]
    mask: UploadedPicture | None = picture["mask"]
    return Reference(
        position=place,
        sha256=store(work, me, upload.data, picture_kind(upload.data)),
        filename=upload.filename,
        caption=picture["caption"],
        mask=store(work, me, mask.data, picture_kind(mask.data)) if mask else "",
    )


# ---------------------------------------------------------------------------------------------------------- one subject


@router.get("/{number}")
def show_subject(number: str, work: Work, me: Me) -> Record:
    """A subject with its pictures and the report of what was read of them."""
    with work.database.reading() as session:
        return subject_record(find_own(session, Subject, number, me))


@router.patch("/{number}")
def change_subject(number: str, change: SubjectChange, work: Work, me: Me) -> Record:
    """Change a subject's name, class, kind or consent."""
    with work.database.session() as session:
        row = find_own(session, Subject, number, me)
        given = change.model_dump(exclude_none=True)
        about = checked_about({"name": row.name, "noun": row.noun, **given})
        for name in given:
            setattr(row, name, about[name])
        return subject_record(row)


@router.delete("/{number}")
def delete_subject(number: str, request: Request, work: Work, me: Me) -> Record:
    """Delete a subject; concepts that were learned from it stay."""
    with work.database.session() as session:
        row = find_own(session, Subject, number, me)
        retention.delete_subject(session, row)
        note(session, request, "subject.delete", row.id)
        return {"deleted": row.id}


@router.post("/{number}/report", status_code=202)
def look_at_subject(number: str, work: Work, me: Me) -> Record:
    """Start the job that reports what is read of the pictures: cuts, masks, near-duplicates, captions, faces."""
    with work.database.reading() as session:
        find_own(session, Subject, number, me)
    return {"job": add_job(work, me, "look", {"subject": number})}


@router.post("/{number}/protect", status_code=202)
def protect_subject(number: str, protection: Protection, work: Work, me: Me) -> Record:
    """Start the job that writes protected copies of the pictures. They are hard to learn from, without any
    guarantee."""
    with work.database.reading() as session:
        find_own(session, Subject, number, me)
    return {"job": add_job(work, me, "protect", {"subject": number, **protection.model_dump(exclude_defaults=True)})}


@router.post("/{number}/pictures", status_code=201)
async def add_pictures(number: str, request: Request, work: Work, me: Me) -> Record:
    """Add pictures of a multipart form to a subject."""
    pictures = await _pictures(await read_form(request), work)
    return await run_in_threadpool(_add, number, work, me, pictures)


def _add(number: str, work: Services, me: User, pictures: list[Record]) -> Record:
    with work.database.reading() as session:
        start = len(find_own(session, Subject, number, me).pictures)
    if start + len(pictures) > work.config.limits.pictures:
        raise InputError(f"a subject has at most {work.config.limits.pictures} pictures")
    rows = [_reference(work, me, picture, start + place) for place, picture in enumerate(pictures)]
    with work.database.session() as session:
        subject = find_own(session, Subject, number, me)
        subject.pictures.extend(rows)
        session.flush()
        return subject_record(subject)
