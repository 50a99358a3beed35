"""A conversation: a tree of turns that goes to JSON and comes back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from limner.core.untrusted import parse_json
from limner.core.wording import counted
from limner.errors import FileError, InputError

from ..requests import plain_data, read_plain
from .edits import Edit
from .states import State, Thing

MOST_TURNS = 10_000


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One picture of a conversation: the words that led to it, its state and the turn before it."""

    id: str
    number: int  # counted from 1 in the order of the conversation
    parent: str = ""  # id; empty for a first turn
    words: str = ""
    answer: str = ""
    state: State
    named: tuple[str, ...] = ()  # things and accessories that the words named, the last first
    sha256: str = ""  # hash of the picture's pixels; empty before it is painted


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the readings that a question offers."""

    text: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question back to the user, open until the next words."""

    text: str
    choices: tuple[Choice, ...]
    words: str = ""  # the words that it is about


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """The turns so far and the current one. Values: every turn makes a new conversation, and old ones stay valid."""

    turns: tuple[Turn, ...] = ()
    current: str = ""  # id of the turn that the next words follow; empty before the first
    start: State = State()  # the state that the first words change
    question: Question | None = None
    cast: tuple[Thing, ...] = ()  # learned subjects that the words may name
    # handle -> ids of the turns whose pictures joined its references
    accepted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(plain_data(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Conversation:
        """The conversation of a JSON text. Raises `FileError` for text that is not JSON and for turns that do not form
        a tree, `InputError` for a value of the wrong type and `UnknownName` for an unknown field."""
        return cls.from_record(parse_json(text, "the conversation"))

    @classmethod
    def from_record(cls, record: Any) -> Conversation:
        """The same, from a JSON object."""
        conversation: Conversation = read_plain(cls, record, "the conversation")
        conversation._check()
        return conversation

    def _check(self) -> None:
        if len(self.turns) > MOST_TURNS:
            raise FileError(f"the conversation has {len(self.turns)} turns; {MOST_TURNS} is the most")
        before: set[str] = set()
        for number, turn in enumerate(self.turns, 1):
            if turn.id in before or not re.fullmatch(r"[0-9A-Za-z-]{1,64}", turn.id) or turn.number != number:
                raise FileError(f"turn {number} of the conversation has the id {turn.id[:80]!r}, number {turn.number}")
            for name in (turn.parent, turn.state.onto):
                if name and name not in before:
                    raise FileError(f"turn {number} of the conversation follows {name[:80]!r}, no turn before it")
            before.add(turn.id)
        if self.current and self.current not in before:
            raise FileError(f"the current turn {self.current[:80]!r} is not among the conversation's turns")

    # ------------------------------------------------------------------------------------------------------- the tree

    @property
    def turn(self) -> Turn | None:
        """The current turn; None before the first."""
        return self.by_id(self.current) if self.current else None

    @property
    def state(self) -> State:
        """The current turn's state."""
        return self.turn.state if self.turn else self.start

    def by_id(self, turn: str) -> Turn:
        for each in self.turns:
            if each.id == turn:
                return each
        raise InputError(f"there is no turn {turn[:80]!r} in this conversation")

    def numbered(self, number: int) -> Turn:
        """The turn of a number, from 1; -1 is the last. Raises `InputError` where there is none."""
        number = len(self.turns) + 1 + number if number < 0 else number
        if not 1 <= number <= len(self.turns):
            raise InputError(f"there is no turn {number}: the conversation has {counted(len(self.turns), 'turn')}")
        return self.turns[number - 1]

    def add(self, state: State, *, words: str, named: tuple[str, ...] = ()) -> Conversation:
        """The conversation with a new turn, which follows the current one and becomes current."""
        number = len(self.turns) + 1
        turn = Turn(id=f"t{number}", number=number, parent=self.current, words=words, state=state, named=named)
        return replace(self, turns=(*self.turns, turn), current=turn.id, question=None)

    def changed(self, turn: str, **values: Any) -> Conversation:
        """The conversation with other values of a turn's fields."""
        self.by_id(turn)
        return replace(self, turns=tuple(replace(t, **values) if t.id == turn else t for t in self.turns))

    def back_to(self, turn: str) -> Conversation:
        """The conversation with another current turn. All turns stay: going on from here is a branch."""
        self.by_id(turn)
        return replace(self, current=turn, question=None)

    def undo(self, count: int = 1) -> Conversation:
        """Back by a number of turns. Raises `InputError` where there are fewer."""
        at = self.turn
        for _ in range(count):
            if at is None or not at.parent:
                raise InputError("there is no earlier turn to go back to")
            at = self.by_id(at.parent)
        assert at is not None
        return self.back_to(at.id)

    def redo(self) -> Conversation:
        """On to the newest turn that follows the current one. Raises `InputError` where none does."""
        after = [turn for turn in self.turns if turn.parent == self.current]
        if not after:
            raise InputError("nothing follows this turn")
        return self.back_to(after[-1].id)

    @property
    def subjects(self) -> tuple[Thing, ...]:
        """The learned subjects, each with the concept that it had last on the way here."""
        last = {thing.handle: thing for turn in self.way for thing in turn.state.things if thing.handle}
        return tuple(replace(each, concept=last.get(each.handle, each).concept) for each in self.cast)

    @property
    def way(self) -> tuple[Turn, ...]:
        """The turns from the first to the current one."""
        at, way = self.turn, []
        while at is not None:
            way.append(at)
            at = self.by_id(at.parent) if at.parent else None
        return tuple(reversed(way))
