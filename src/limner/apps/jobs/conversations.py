"""Jobs of conversations: turns in the database -> the request of one sentence. `turns.py` stores the reply.

The newest turn's row holds the whole conversation as `limner.workflows.converse` writes it; every row holds the id that
its turn has there, so that words may follow any turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .access import NotFound, find, may_change
from .reading import Reading
from .tables import Conversation, Picture, Subject, Turn

MOST_PICTURES = 24
"""Pictures of the last turns that are laid out; the workflow paints others again where it needs them."""
PAYLOAD = ("conversation", "words", "parent", "concepts", "seed", "steps", "guidance", "preference_steps")


def read_turn(reading: Reading, again: bool) -> None:
    """Read the payload of one sentence."""
    reading.take("words", "seed", "steps", "guidance", "preference_steps")
    session, payload = reading.layout.session, reading.payload
    row = find(session, reading.layout.user, Conversation, str(payload.get("conversation", "")))
    turns = turns_of(session, row.id)
    parent = next((turn for turn in turns if turn.id == payload.get("parent")), None)
    if payload.get("parent") and parent is None:
        raise NotFound(f"there is no turn {str(payload['parent'])[:40]!r} in this conversation")
    if record := newest_record(turns):
        reading.fields["conversation"] = {**record, "current": (parent.state if parent else {}).get("turn", "")}
        if parent is None or parent.id != turns[-1].id:
            reading.fields["conversation"]["question"] = None  # it was asked elsewhere
    named = [str(each.get("id") if isinstance(each, dict) else each) for each in payload.get("concepts") or ()]
    earlier = [str(id) for turn in turns for id in turn.state.get("concepts", ())]
    reading.fields["concepts"] = [reading.concept(id) for id in dict.fromkeys([*named, *earlier])]
    reading.fields["pictures"] = _pictures(reading, turns, parent)
    reading.fields["photos"] = _photos(reading)
    reading.fields["out"] = str(reading.layout.out)


def turns_of(session: Session, conversation_id: str) -> list[Turn]:
    """The turns of a conversation, the oldest first."""
    query = select(Turn).where(Turn.conversation_id == conversation_id).order_by(Turn.created, Turn.id)
    return list(session.scalars(query))


def newest_record(turns: Sequence[Turn]) -> dict[str, Any]:
    """The conversation as its newest turn recorded it; empty before the first."""
    return next((dict(t.state["conversation"]) for t in reversed(turns) if t.state.get("conversation")), {})


def _pictures(reading: Reading, turns: Sequence[Turn], parent: Turn | None) -> dict[str, str]:
    """Id of a turn in the conversation -> the place of its picture."""
    places: dict[str, str] = {}
    for turn in [*([parent] if parent else []), *reversed(turns)]:
        name = str(turn.state.get("turn", ""))
        if len(places) >= MOST_PICTURES or not name or name in places or turn.picture_id is None:
            continue
        picture = reading.layout.session.get(Picture, turn.picture_id)
        if picture is not None and picture.deleted is None:
            places[name] = str(reading.layout.add(picture.sha256, f"turns/{len(places):03}.png"))
    return places


def _photos(reading: Reading) -> dict[str, str]:
    """Name of a subject -> the folder of its reference images, for those that the owner may see."""
    folders: dict[str, str] = {}
    for row in reading.concepts:
        subject = reading.layout.session.get(Subject, row.subject_id) if row.subject_id else None
        name = row.handle.strip("<>")
        if subject is None or subject.deleted or name in folders or not may_change(reading.layout.user, subject):
            continue
        if any(picture.in_training for picture in subject.pictures):
            folders[name] = str(reading.layout.photos(subject, f"photos/{len(folders)}"))
    return folders
