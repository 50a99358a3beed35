"""The means of a conversation, its replies, and the step that adds a turn."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limner.errors import InputError

from .language_model import LanguageModel
from .painting import hash_of_picture, paint_state, repaint
from .preferring import PreferenceSettings
from .states import State
from .tree import Conversation, Question, Turn

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept


@dataclass
class Means:
    """An open base, concepts and pictures at hand, with which a conversation paints.

    Calls add to `concepts` and `pictures`; both may be mappings of the caller's that read and write a store.
    """

    base: Base
    concepts: MutableMapping[str, Concept] = field(default_factory=dict)  # by the hash of their tensors
    pictures: MutableMapping[str, Image.Image] = field(default_factory=dict)  # by the id of their turn
    references: Mapping[str, Sequence[Image.Image]] = field(default_factory=dict)  # by handle
    model: LanguageModel | None = None
    preference: PreferenceSettings = field(default_factory=PreferenceSettings)


@dataclass(frozen=True)
class Reply:
    """The answer to one sentence. `picture` is that of the current turn, where it is new or was returned to."""

    conversation: Conversation
    answer: str
    picture: Image.Image | None = field(default=None, repr=False)
    is_new: bool = False  # whether the current turn is new
    concepts: tuple[Concept, ...] = ()  # new ones
    accepted: tuple[str, ...] = ()  # handles whose references the picture joined

    @property
    def question(self) -> Question | None:
        return self.conversation.question


def new_turn(
    means: Means, conversation: Conversation, state: State, words: str, answer: str, named: tuple[str, ...]
) -> Reply:
    """A new turn with its picture."""
    onto = None
    if state.onto:
        before = conversation.by_id(state.onto)
        onto = before.state, picture_of(means, conversation, before)
    image = paint_state(means.base, state, means.concepts, onto=onto).image
    conversation = conversation.add(state, words=words, named=named)
    conversation = conversation.changed(conversation.current, sha256=hash_of_picture(image), answer=answer)
    means.pictures[conversation.current] = image
    return Reply(conversation, answer, image, is_new=True)


def picture_of(means: Means, conversation: Conversation, turn: Turn | None = None) -> Image.Image:
    """The picture of a turn (the current one where none is given): the one at hand, else painted again to the same
    bits."""
    turn = turn or conversation.turn
    if turn is None:
        raise InputError("there is no picture yet: say what to show")
    if turn.id not in means.pictures:
        means.pictures[turn.id] = repaint(
            means.base, conversation, turn, means.concepts, lambda other: means.pictures.get(other.id)
        )
    return means.pictures[turn.id]
