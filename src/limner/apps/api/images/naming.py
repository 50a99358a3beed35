"""The concepts that a request names, and the handles that its prompt must name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.apps.jobs.tables import Concept, User
from limner.core.headers import subject_cards

from ..errors import ApiError
from ..routes.common import ID, mine

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .fields import Generation

IMPORTED = "imported"
"""The method of a concept that was read from another tool's file (`core.concept`, which loads torch)."""
FOLLOWS = re.compile(
    r"(on|in|at|by|with|without|under|over|near|beside|behind|before|inside|outside|as|and|from|through|among|"
    r"wearing|\w+ing|is|that|who|made)\b",
    re.IGNORECASE,
)
"""Beginnings of a prompt that go on after a subject: "on the beach", "with a hat"."""


@dataclass(frozen=True)
class Chosen:
    """A concept that a request names, and its strength."""

    row: Concept
    scale: float


def model_name(row: Concept, user: User, owner: str) -> str:
    """The name by which `model` and `lora` name a concept: its own, or "OWNER/NAME" for one that is shared."""
    return row.name if row.owner_id == user.id else f"{owner}/{row.name}"


def named_concepts(session: Session, fields: Generation, user: User, base: str) -> list[Chosen]:
    """The concepts of `model` and `lora`, in this order. Raises `ApiError` for a name that the user does not see."""
    concepts = []
    if fields.model and fields.model != base:
        concepts.append(Chosen(find_named(session, fields.model, user, base), 1.0))
    for lora in fields.loras:
        row = find_named(session, lora.concept, user, base)
        if lora.concept == fields.model or any(row.id == each.row.id for each in concepts):
            # a model's name with a lora of the same name sets its strength
            concepts = [Chosen(each.row, lora.strength) if each.row.id == row.id else each for each in concepts]
            continue
        concepts.append(Chosen(row, lora.strength))
    return concepts


def find_named(session: Session, name: str, user: User, base: str) -> Concept:
    """A concept by its name or id, or by "OWNER/NAME" where it is shared."""
    if "\0" in name:
        raise _unknown(name, base)
    wanted = mine(Concept, user).join(User, User.id == Concept.owner_id).add_columns(User.name)
    plain = name.strip("<>")
    owner, _, last = plain.rpartition("/")
    wanted = wanted.where(Concept.id == plain if ID.fullmatch(plain) else Concept.name == last)
    rows = session.execute(wanted.order_by(Concept.created.desc())).all()
    for row, owners_name in rows:
        own = row.owner_id == user.id or ID.fullmatch(plain) is not None
        if (owner and owner == owners_name) or (not owner and own):
            named: Concept = row
            return named
    raise _unknown(name, base)


def _unknown(name: str, base: str) -> ApiError:
    text = f"there is no model {name[:100]!r}: models are the base {base!r} and your concepts, see GET /v1/models"
    return ApiError(404, "model_not_found", text, param="model")


# -------------------------------------------------------------------------------------------------------------- prompts


def cards_of(row: Concept) -> list[Mapping[str, Any]]:
    """The card (handle, noun, kind) of each subject that a concept answers to."""
    header = row.header or {}
    members = [member["subject"] for member in header.get("members", ()) if "subject" in member]
    subjects = members or ([header["subject"]] if "subject" in header else [])
    cards = [card for subject in subjects for card in subject_cards(subject)]
    return cards or [{"handle": row.handle, "noun": row.noun, "kind": row.kind}]


def has_trigger(row: Concept) -> bool:
    """Whether prompts name the concept by its handle."""
    header = row.header or {}
    settings = header.get("settings", {})
    return header.get("method", row.method) != IMPORTED or bool(settings.get("words") or settings.get("says"))


def name_concepts(prompt: str, concepts: Sequence[Chosen], negative: str = "") -> str:
    """The prompt with the handle of every concept that it does not name: in place of the class where the prompt has it,
    otherwise in front of it (of a style: behind it).

    >>> from types import SimpleNamespace as Row
    >>> rex = Row(handle="<rex>", noun="dog", kind="pet", method="lora", header={})
    >>> name_concepts("a dog on the beach", [Chosen(rex, 1.0)])
    'a <rex> on the beach'
    >>> name_concepts("on the beach", [Chosen(rex, 1.0)])
    '<rex> on the beach'
    """
    for each in reversed(concepts):
        cards = cards_of(each.row)
        if has_trigger(each.row) and not any(str(card["handle"]) in f"{prompt}\n{negative}" for card in cards):
            prompt = _name(prompt, cards)
    return prompt


def _name(prompt: str, cards: Sequence[Mapping[str, Any]]) -> str:
    named = prompt
    for card in cards:
        pattern = rf"(?<![\w<]){re.escape(str(card.get('noun') or chr(0)))}(?![\w>])"
        handle = str(card["handle"]).replace("\\", r"\\")  # `re.sub` reads backslashes of the words that it puts in
        named = re.sub(pattern, handle, named, count=1, flags=re.IGNORECASE)
    if named != prompt:
        return named
    handle = str(cards[0]["handle"])
    if cards[0].get("kind") == "style":
        return f"{prompt.rstrip(' .,')} in {handle}"
    return f"{handle} {prompt}" if FOLLOWS.match(prompt) else f"{handle}, {prompt}"
