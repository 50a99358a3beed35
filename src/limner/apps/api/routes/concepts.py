"""/api/concepts: learned subjects; their files, names and shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from limner.apps.jobs import access, retention
from limner.apps.jobs.tables import Concept, Share, User
from limner.core.subject import check_name
from limner.core.untrusted import parse_json
from limner.errors import FileError, InputError

from ..errors import ApiError
from ..fields import Fields, Line, Name, Record, check_line
from ..services import Services
from ..uploads import plain_filename, read_form, read_upload
from .common import Me, Work, add_job, address_of, file_response, find_own, find_visible, note, store
from .records import concept_record

router = APIRouter(prefix="/api/concepts", tags=["concepts"])
MEDIA_TYPE = "application/octet-stream"
MOST_HEADER = 8_000_000  # bytes of a file's header: thousands of tensors take one million
IMPORT = {"requestBody": {"content": {"multipart/form-data": {"schema": {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}, "name": {"type": "string"},
                   "noun": {"type": "string"}},
    "required": ["file"],
}}}}}  # fmt: skip


class ConceptChange(Fields):
    """A new name."""

    name: Name


class NewShare(Fields):
    """The user to share a concept with."""

    user: Name


class Export(Fields):
    """The format to write."""

    to: Line
    rank: Annotated[int, Field(ge=0, le=4096)] = 0


class Publish(Fields):
    """The repository on the hub to write."""

    to: Line
    licence: Line = ""
    private: bool = False
    upload: bool = True


class State(Fields):
    """The state of training to keep."""

    done: int


@router.get("")
def list_concepts(work: Work, me: Me) -> Record:
    """The user's concepts and those shared with the user, the newest first."""
    wanted = access.visible(Concept, me).order_by(Concept.created.desc())
    with work.database.reading() as session:
        return {"concepts": [concept_record(row, me) for row in session.scalars(wanted)]}


@router.get("/{number}")
def show_concept(number: str, work: Work, me: Me) -> Record:
    """A concept with its file's header, certificate and the states of its training."""
    with work.database.reading() as session:
        return concept_record(find_visible(session, Concept, number, me), me, whole=True)


@router.get("/{number}/file")
def download_concept(number: str, request: Request, work: Work, me: Me) -> Response:
    """The concept's file, which `limner paint --with FILE` reads."""
    with work.database.session() as session:
        # a share lets others paint with a concept, not take it away
        row = find_own(session, Concept, number, me)
        note(session, request, "concept.download", row.id)
        sha256, name = row.sha256, row.name
    return file_response(work.files.read(sha256), MEDIA_TYPE, filename=f"{name}.safetensors")


@router.post("/import", status_code=202, openapi_extra=IMPORT)
async def import_concept(request: Request, work: Work, me: Me) -> Record:
    """Start the job that reads a concept's file, limner's own or another tool's, from a multipart form."""
    form = await read_form(request)
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InputError("send the concept's file in the field file: .safetensors")
    data = await read_upload(file, work.config.limits, most=work.config.limits.concept_bytes)
    await run_in_threadpool(check_safetensors, data)
    about = {name: _text(form.get(name, ""), name) for name in ("name", "noun")}
    if about["name"]:
        about["name"] = check_name(about["name"])
    filename = plain_filename(file.filename)
    return await run_in_threadpool(_import, work, me, data, filename, about)


def _text(value: Any, name: str) -> str:
    try:
        return check_line(str(value))[:128]
    except ValueError as error:
        raise InputError(f"the field {name}: {error}") from error


def _import(work: Services, me: User, data: bytes, filename: str, about: dict[str, str]) -> Record:
    sha256 = store(work, me, data, MEDIA_TYPE)
    payload = {"file": sha256, "filename": filename, **{name: text for name, text in about.items() if text}}
    return {"job": add_job(work, me, "import", payload)}


def check_safetensors(data: bytes) -> None:
    """Raise `FileError` for bytes that do not begin as a safetensors file; no other kind of file is stored."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 10 or size > len(data) - 8 or data[8:9] != b"{":
        raise FileError("the file is no safetensors file, the only kind that is read: no pickle is ever opened")
    if size > MOST_HEADER:
        # JSON takes up to twenty times its length in memory
        raise FileError(f"the file's header has {size:,} bytes; at most {MOST_HEADER:,} are read")
    parse_json(data[8 : 8 + size], "the file's header")


@router.patch("/{number}")
def rename_concept(number: str, change: ConceptChange, work: Work, me: Me) -> Record:
    """Give a concept another name, by which `model` names it. Its handle in prompts stays."""
    name = check_name(change.name)
    with work.database.session() as session:
        row = find_own(session, Concept, number, me)
        check_free(session, me, name, row.id)
        row.name = name
        return concept_record(row, me)


def check_free(session: Any, me: User, name: str, number: str = "") -> None:
    """Raise `ApiError` where another concept of the user has the name."""
    same = select(Concept.id).where(Concept.owner_id == me.id, Concept.name == name, Concept.deleted.is_(None))
    if any(each != number for each in session.scalars(same)):
        raise ApiError(409, "name_taken", f"you have a concept {name!r} already; choose another name")


@router.delete("/{number}")
def delete_concept(number: str, request: Request, work: Work, me: Me) -> Record:
    """Delete a concept, for everyone it is shared with as well."""
    with work.database.session() as session:
        row = find_own(session, Concept, number, me)
        retention.delete_concept(session, row)
        note(session, request, "concept.delete", row.id)
        return {"deleted": row.id}


@router.post("/{number}/state")
def choose_state(number: str, state: State, request: Request, work: Work, me: Me) -> Record:
    """Keep the concept as it was after `done` updates of its training. Scores, diagnosis and certificate are those of
    that state: none where it was not measured, and the earlier ones again where the concept goes back to it."""
    with work.database.session() as session:
        row = find_own(session, Concept, number, me)
        chosen = next((each for each in row.states if each.get("done") == state.done and each.get("sha256")), None)
        if chosen is None:
            known = ", ".join(str(each.get("done")) for each in row.states) or "none"
            raise InputError(f"the concept has no state after {state.done} updates; it has: {known}")
        _use(row, chosen)
        note(session, request, "concept.state", row.id, done=state.done)
        return concept_record(row, me, whole=True)


MEASURED = ("scores", "diagnosis", "certificate")
"""Columns of a concept that hold for one state of its training."""


def _use(row: Concept, chosen: Mapping[str, Any]) -> None:
    """Put a state in the place of the concept; its measurements are kept beside the state that they are of."""
    now = {name: getattr(row, name) for name in MEASURED}
    row.states = [{**each, "measured": now} if each.get("sha256") == row.sha256 else each for each in row.states]
    before = chosen.get("measured", {})
    row.sha256 = chosen["sha256"]
    row.scores = before.get("scores", dict(chosen.get("scores", {})))
    row.diagnosis, row.certificate = before.get("diagnosis", {}), before.get("certificate", [])
    cost = row.header.get("cost")
    if isinstance(cost, dict):
        row.header = {**row.header, "cost": {**cost, "steps": chosen["done"]}}


# --------------------------------------------------------------------------------------------------------------- shares


@router.get("/{number}/shares")
def list_shares(number: str, work: Work, me: Me) -> Record:
    """The users who may see the concept and paint with it."""
    with work.database.reading() as session:
        find_own(session, Concept, number, me)
        rows = session.execute(
            select(User.name).join(Share, Share.user_id == User.id).where(Share.concept_id == number)
        )
        return {"users": sorted(name for (name,) in rows)}


@router.post("/{number}/shares", status_code=201)
def share_concept(number: str, share: NewShare, request: Request, work: Work, me: Me) -> Record:
    """Let another user see the concept and paint with it."""
    with work.database.session() as session:
        access.share(session, me, number, share.user, address=address_of(request))
    return list_shares(number, work, me)


@router.delete("/{number}/shares/{user}")
def unshare_concept(number: str, user: Line, request: Request, work: Work, me: Me) -> Record:
    """Take the concept back from a user."""
    with work.database.session() as session:
        access.unshare(session, me, number, user, address=address_of(request))
    return list_shares(number, work, me)


# ----------------------------------------------------------------------------------------------------------------- jobs


@router.post("/{number}/export", status_code=202)
def export_concept(number: str, export: Export, work: Work, me: Me) -> Record:
    """Start the job that writes the concept for another tool."""
    return _start(work, me, number, "export", export.model_dump())


@router.post("/{number}/publish", status_code=202)
def publish_concept(number: str, publish: Publish, request: Request, work: Work, me: Me) -> Record:
    """Start the job that writes a repository for the concept, and uploads it to the hub."""
    with work.database.session() as session:
        find_own(session, Concept, number, me)
        note(session, request, "concept.publish", number, to=publish.to)
    return _start(work, me, number, "publish", publish.model_dump())


@router.post("/{number}/check", status_code=202)
def check_concept(number: str, work: Work, me: Me) -> Record:
    """Start the job that certifies the concept."""
    return _start(work, me, number, "check", {})


def _start(work: Services, me: User, number: str, kind: str, fields: Record) -> Record:
    with work.database.reading() as session:
        find_visible(session, Concept, number, me)
    return {"job": add_job(work, me, kind, {"concept": {"id": number}, **fields})}
