"""/api/conversations: pictures refined by talking; each turn is a job of the queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from sqlalchemy import delete, select

from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import Concept, Conversation, Turn

from ..errors import not_found
from ..fields import Fields, Id, Line, Prompt, Record, Seed
from .common import Me, Work, add_job, find_own, find_visible
from .records import turn_record, when

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


class NewConversation(Fields):
    """A title for people."""

    title: Annotated[Line, StringConstraints(max_length=128)] = ""


class NewTurn(Fields):
    """The words of the user, after which turn (null: the current one), and the concepts to paint with."""

    words: Prompt
    parent: Id | None = None
    concepts: Annotated[list[Id], Field(max_length=16)] = Field(default_factory=list)
    seed: Seed | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None


class Current(Fields):
    """The turn that the next one follows."""

    turn: Id


@router.get("")
def list_conversations(work: Work, me: Me) -> Record:
    """The user's conversations, the newest first."""
    wanted = visible(Conversation, me).order_by(Conversation.created.desc())
    with work.database.reading() as session:
        return {"conversations": [_record(row) for row in session.scalars(wanted)]}


def _record(row: Conversation) -> Record:
    return {"id": row.id, "title": row.title, "current": row.current_id, "created": when(row.created)}


@router.post("", status_code=201)
def create_conversation(conversation: NewConversation, work: Work, me: Me) -> Record:
    """Begin a conversation."""
    with work.database.session() as session:
        row = Conversation(owner_id=me.id, title=conversation.title)
        session.add(row)
        session.flush()
        return _record(row)


@router.get("/{number}")
def show_conversation(number: str, work: Work, me: Me) -> Record:
    """A conversation with all of its turns, the oldest first."""
    with work.database.reading() as session:
        row = find_own(session, Conversation, number, me)
        turns = session.scalars(select(Turn).where(Turn.conversation_id == number).order_by(Turn.created))
        return {**_record(row), "turns": [turn_record(turn) for turn in turns]}


@router.post("/{number}/turns", status_code=202)
def say(number: str, turn: NewTurn, work: Work, me: Me) -> Record:
    """Say something: the job of the turn paints its picture, or asks back."""
    with work.database.reading() as session:
        row = find_own(session, Conversation, number, me)
        parent = turn.parent or row.current_id
        if turn.parent is not None:
            _find_turn(session.get(Turn, turn.parent), number)
        for concept in turn.concepts:
            find_visible(session, Concept, concept, me)
    concepts = [{"id": concept, "scale": 1.0} for concept in turn.concepts]
    more = turn.model_dump(include={"seed", "steps", "guidance"}, exclude_none=True)
    payload = {"conversation": number, "words": turn.words, "parent": parent, "concepts": concepts, **more}
    return {"job": add_job(work, me, "converse", payload)}


def _find_turn(turn: Turn | None, conversation: str) -> Turn:
    if turn is None or turn.conversation_id != conversation:
        raise not_found("turn of the conversation")
    return turn


@router.put("/{number}/current")
def go_back(number: str, current: Current, work: Work, me: Me) -> Record:
    """Go back to a turn: the next one follows it, and the others stay as another branch."""
    with work.database.session() as session:
        row = find_own(session, Conversation, number, me)
        row.current_id = _find_turn(session.get(Turn, current.turn), number).id
        return _record(row)


@router.delete("/{number}")
def delete_conversation(number: str, work: Work, me: Me) -> Record:
    """Delete a conversation with its turns; the pictures stay."""
    with work.database.session() as session:
        row = find_own(session, Conversation, number, me)
        session.execute(delete(Turn).where(Turn.conversation_id == number))
        session.delete(row)
        return {"deleted": number}
