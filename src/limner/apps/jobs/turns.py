"""The reply to a sentence -> a turn of its conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .access import may_change
from .conversations import turns_of
from .made import Made
from .tables import Conversation, Reference, Subject, Turn, User, now


def add_turn(session: Session, made: Made, reply: Mapping[str, Any], concepts: Sequence[str]) -> dict[str, Any]:
    """Add the turn of a reply and make it the conversation's current one; return the job's result.

    Args:
        reply: the fields of the event `TurnDone`, with the id of the stored picture as `picture`, and as `references`
            the SHA-256 of each accepted picture by its subject's name.
        concepts: ids of the concepts that the sentence made.
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
    if homeless := _accept(session, made, reply["references"]):
        turn.answer += f"; but no photos of {' and '.join(homeless)} are yours here, so it was added to none"
        session.merge(turn)
    return {"turn": turn.id, "answer": turn.answer, "picture": picture}


def _picture_of(turns: Sequence[Turn], name: str) -> str | None:
    """The picture of a turn that the words returned to."""
    return next((turn.picture_id for turn in reversed(turns) if name and turn.state.get("turn") == name), None)


def _accept(session: Session, made: Made, references: Mapping[str, str]) -> list[str]:
    """Add accepted pictures, SHA-256 by subject's name, to the references of the owner's subjects. Returns the names
    that no subject of the owner has: a concept that was merged, imported or shared by another has no photos."""
    owner, homeless = session.get(User, made.job.owner_id), []
    for name, sha256 in references.items():
        concept = next((c for c in made.plan.concepts if c.handle.strip("<>") == name and c.subject_id), None)
        subject = session.get(Subject, concept.subject_id) if concept is not None else None
        if subject is None or owner is None or not may_change(owner, subject):
            homeless.append(name)
            continue
        last = session.scalar(select(func.max(Reference.position)).where(Reference.subject_id == subject.id)) or 0
        id, filename = made.id(f"reference {name}"), f"accepted-{last + 1}.png"
        session.merge(Reference(id=id, subject_id=subject.id, position=last + 1, sha256=sha256, filename=filename))
    return homeless
