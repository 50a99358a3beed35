"""A conversation about a picture: words change the state of a picture, every change is a turn of a tree, and what was
not named stays.

    means, conversation = begin(base, [concept])
    reply = say(means, conversation, "rex on the beach")
    reply = say(means, reply.conversation, "give him a red hat")
    reply.picture, reply.answer, reply.conversation.to_json()

A `Conversation` is a value that goes to JSON and comes back equal; its caller keeps it, the pictures and the concepts
(`Means`). The modules, from words to pictures: `moves` and `grammar` read a sentence as edits (or `language_model`
does), `vocabulary` fits their words to the base, `naming` finds the things that they mean or asks back (`asking`),
`edits` changes the state, `painting` makes its picture within `masks`, `liking` does what "more like this" and "keep
this one" ask for.
"""

from .language_model import LanguageModel
from .means import Means, Reply, picture_of
from .preferring import PreferenceSettings
from .states import Accessory, State, Thing
from .talk import begin, say
from .tree import Choice, Conversation, Question, Turn

__all__ = [
    "Accessory",
    "Choice",
    "Conversation",
    "LanguageModel",
    "Means",
    "PreferenceSettings",
    "Question",
    "Reply",
    "State",
    "Thing",
    "Turn",
    "begin",
    "picture_of",
    "say",
]
