"""Chat: refine a picture by talking. A tree of turns; the page shows the branch that leads to the current one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from limner.apps.api.errors import not_found
from limner.apps.api.routes.common import find_own
from limner.apps.jobs.tables import Conversation, Job, Picture, Turn
from limner.errors import InputError

from .rows import OPEN, ConceptView, concepts_of, handles_of, job_view, named_concepts
from .view import Form, form_key, go, queue_job, reading, render, text, user_of, writing
from .words import picture_scores

router = APIRouter(include_in_schema=False)


@router.get("/chat")
def show_all(request: Request) -> Response:
    with reading(request) as session:
        user = user_of(request)
        wanted = select(Conversation).where(Conversation.owner_id == user.id)
        rows = list(session.scalars(wanted.order_by(Conversation.created.desc()).limit(60)))
        concepts = concepts_of(session, user)
    return render(request, "chats.html", title="Chat", rows=rows, **_fields(concepts))


def _fields(concepts: list[Any]) -> dict[str, Any]:
    return {"concepts": concepts, "handles": handles_of(concepts), "key": form_key()}


@router.post("/chat")
def begin(request: Request, form: Form) -> Response:
    """Begin a conversation with its first words."""
    words = _words(form)
    with writing(request) as session:
        row = Conversation(owner_id=user_of(request).id, title=words[:120])
        session.add(row)
        session.flush()
        number = row.id
    _say(request, form, number, words, None)
    return go(request, f"/chat/{number}")


def _words(form: FormData) -> str:
    words = text(form, "words", most=2000)
    if not words:
        raise InputError("say something: what to paint, or what to change")
    return words


@router.get("/chat/{number}")
def show(request: Request, number: str) -> Response:
    with reading(request) as session:
        user = user_of(request)
        row = find_own(session, Conversation, number, user)
        concepts = concepts_of(session, user)
        return render(
            request, "chat.html", title=row.title or "Chat", row=row, **_fields(concepts), **_talk(session, row)
        )


@router.get("/chat/{number}/talk")
def show_talk(request: Request, number: str) -> Response:
    with reading(request) as session:
        row = find_own(session, Conversation, number, user_of(request))
        return render(request, "talk.html", row=row, key=form_key(), **_talk(session, row))


def _talk(session: Session, row: Conversation) -> dict[str, Any]:
    """The branch that leads to the current turn, what else follows each of its turns, and the answer in the making."""
    turns = {
        t.id: t for t in session.scalars(select(Turn).where(Turn.conversation_id == row.id).order_by(Turn.created))
    }
    children: dict[str, list[Turn]] = {}
    for turn in turns.values():
        children.setdefault(turn.parent_id or "", []).append(turn)
    branch: list[Turn] = []
    at = turns.get(row.current_id or "") or (list(turns.values())[-1] if turns else None)
    while at is not None and at not in branch:
        branch.insert(0, at)
        at = turns.get(at.parent_id or "")
    ids = [turn.picture_id for turn in turns.values() if turn.picture_id]
    pictures = {p.id: p for p in session.scalars(select(Picture).where(Picture.id.in_(ids)))} if ids else {}
    numbers = {each: k for k, each in enumerate(turns, 1)}
    shown = [_turn(turn, children, pictures, numbers) for turn in branch]
    last = branch[-1] if branch else None
    further = [] if last is None else [_line(each, numbers) for each in children.get(last.id, [])]
    return {"turns": shown, "further": further, "job": _job(session, row)}


def _turn(
    turn: Turn, children: dict[str, list[Turn]], pictures: dict[str, Picture], numbers: dict[str, int]
) -> dict[str, Any]:
    picture = pictures.get(turn.picture_id or "")
    question = turn.state.get("question") or {}
    choices = question.get("choices", turn.state.get("choices", []))
    return {
        "id": turn.id,
        "number": numbers[turn.id],
        "words": turn.words,
        "answer": turn.answer,
        "picture": picture.id if picture is not None and picture.deleted is None else "",
        "prompt": picture.prompt if picture is not None else "",
        "scores": picture_scores(picture.scores) if picture is not None else [],
        "choices": [str(each.get("text", "")) if isinstance(each, dict) else str(each) for each in choices],
        "branches": [_line(each, numbers) for each in children.get(turn.parent_id or "", []) if each.id != turn.id],
    }


def _line(turn: Turn, numbers: dict[str, int]) -> dict[str, Any]:
    return {"id": turn.id, "number": numbers[turn.id], "words": turn.words[:60]}


def _job(session: Session, row: Conversation) -> Any:
    """The job that answers, where one waits or runs, or the last one where it failed."""
    wanted = select(Job).where(Job.owner_id == row.owner_id, Job.kind == "converse").order_by(Job.created.desc())
    for job in session.scalars(wanted.limit(20)):
        if job.payload.get("conversation") == row.id:
            return job_view(job) if job.state in (*OPEN, "failed") else None
    return None


@router.post("/chat/{number}/say")
def say(request: Request, number: str, form: Form) -> Response:
    """Say something after the current turn, or after the turn that the form names."""
    words = _words(form)
    with reading(request) as session:
        row = find_own(session, Conversation, number, user_of(request))
        parent = text(form, "parent", most=32) or row.current_id
        if parent:
            _turn_of(session, number, parent)
    _say(request, form, number, words, parent)
    return go(request, f"/chat/{number}#now")


def _say(request: Request, form: FormData, number: str, words: str, parent: str | None) -> None:
    with reading(request) as session:
        known = concepts_of(session, user_of(request))
    concepts = [{"id": each.id, "scale": 1.0} for each in named_concepts(with_handles(words, known), known)]
    queue_job(
        request, "converse", {"conversation": number, "words": words, "parent": parent, "concepts": concepts}, form
    )


def with_handles(words: str, known: Sequence[ConceptView]) -> str:
    """The words, and the handles of the concepts that they call by the bare name: "rex on the beach"."""
    names = set(re.findall(r"\w+", words.lower()))
    return " ".join([words, *(each.handle for each in known if each.handle.strip("<>").lower() in names)])


def _turn_of(session: Session, number: str, turn_id: str) -> Turn:
    turn = session.get(Turn, turn_id)
    if turn is None or turn.conversation_id != number:
        raise not_found("turn")
    return turn


@router.post("/chat/{number}/back")
def go_back(request: Request, number: str, form: Form) -> Response:
    """Go to a turn: the next words follow it, and later turns stay as another branch."""
    with writing(request) as session:
        row = find_own(session, Conversation, number, user_of(request))
        row.current_id = _turn_of(session, number, text(form, "turn", most=32)).id
    return go(request, f"/chat/{number}#now")


@router.post("/chat/{number}/delete")
def forget(request: Request, number: str) -> Response:
    """Delete a conversation; its pictures stay."""
    with writing(request) as session:
        row = find_own(session, Conversation, number, user_of(request))
        session.execute(delete(Turn).where(Turn.conversation_id == row.id))
        session.delete(row)
    return go(request, "/chat", "deleted")
