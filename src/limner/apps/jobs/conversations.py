"""Jobs of conversations: turns in the database -> the request of one sentence, and its reply -> a turn.

The newest turn's row holds the whole conversation as `limner.workflows.converse` writes it; every row holds the id that
its turn has there, so that words may follow any turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .access import NotFound, find, may_change
from .made import Made
from .reading import Reading
from .tables import Conversation, Picture, Reference, Subject, Turn, User, now
from .uploads import add_file

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
    folders = {}
    for row in reading.concepts:
        subject = reading.layout.session.get(Subject, row.subject_id) if row.subject_id else None
        name = row.handle.strip("<>")
        if subject is None or subject.deleted or name in folders or not may_change(reading.layout.user, subject):
            continue
        if any(picture.kept for picture in subject.pictures):
            folders[name] = str(reading.layout.photos(subject, f"photos/{len(folders)}"))
    return folders


# ------------------------------------------------------------------------------------------------------------ the reply


def add_turn(session: Session, made: Made, reply: Mapping[str, Any], concepts: Sequence[str]) -> dict[str, Any]:
    """Add the turn of a reply and make it the conversation's current one; return the job's result.

    reply: the fields of the event `TurnDone`; its picture as the id of the stored picture, its references by handle
    concepts: ids of the concepts that the sentence made
    """
    payload = made.job.payload
    row = session.get(Conversation, str(payload["conversation"]))
    if row is None:
        raise InputError("the conversation was deleted while it was answered")
    turns = turns_of(session, row.id)
    picture = reply["picture"] or _picture_of(turns, str(reply["turn"]))
    known = [str(id) for turn in turns for id in turn.state.get("concepts", ())]
    used = [concept.id for concept in made.plan.concepts]
    state = {
        **{name: reply[name] for name in ("conversation", "turn", "choices", "state")},
        "concepts": list(dict.fromkeys([*known, *used, *concepts])),
    }
    turn = Turn(
        id=made.id("turn"),
        conversation_id=row.id,
        parent_id=payload.get("parent") or None,
        words=str(payload.get("words", "")),
        answer=str(reply["answer"]),
        state=state,
        picture_id=picture,
        created=now(),
    )
    session.merge(turn)
    for earlier in turns:
        if "conversation" in earlier.state:
            earlier.state = {name: value for name, value in earlier.state.items() if name != "conversation"}
    row.current_id = turn.id
    row.title = row.title or turn.words[:128]
    _accept(session, made, reply["references"])
    return {"turn": turn.id, "answer": turn.answer, "picture": picture}


def _picture_of(turns: Sequence[Turn], name: str) -> str | None:
    """The picture of a turn that the words returned to."""
    return next((turn.picture_id for turn in reversed(turns) if name and turn.state.get("turn") == name), None)


def _accept(session: Session, made: Made, references: Mapping[str, tuple[str, int]]) -> None:
    """Add accepted pictures, (SHA-256, bytes) by subject's name, to the references of the owner's subjects."""
    owner = session.get(User, made.job.owner_id)
    for name, (sha256, num_bytes) in references.items():
        concept = next((c for c in made.plan.concepts if c.handle.strip("<>") == name and c.subject_id), None)
        subject = session.get(Subject, concept.subject_id) if concept is not None else None
        if subject is None or owner is None or not may_change(owner, subject):
            continue
        last = session.scalar(select(func.max(Reference.position)).where(Reference.subject_id == subject.id)) or 0
        add_file(session, sha256, num_bytes, owner=owner.id, media_type="image/png", counted=False)
        id = made.id(f"reference {name}")
        filename = f"accepted-{last + 1}.png"
        session.merge(
            Reference(id=id, subject_id=subject.id, position=last + 1, sha256=sha256, filename=filename, kept=True)
        )
