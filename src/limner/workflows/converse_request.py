"""The workflow `converse`: a conversation and a sentence in, the conversation with its next turn out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.picture import Numbers, Picture
from limner.core.recipe import Recipe
from limner.errors import InputError

from .events import Event, Message, RunDone, TurnDone
from .opening import open_base, plan_memory, read_concept_choices
from .paint_request import base_choice
from .requests import plain_data
from .score_request import images_of

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.concept import Concept

    from .converse import Conversation, LanguageModel, Means, Reply
    from .requests import BaseChoice, ConverseRequest


def converse_request(
    request: ConverseRequest, *, open_base: Callable[[BaseChoice], Any] = open_base
) -> Iterator[Event]:
    """Answer a sentence and save the picture, the concepts and the references that came of it. `open_base` may return a
    base that is open already.

    Raises `InputError` for a language model together with `offline`, for a picture that is not the turn's, and for two
    concepts of one handle; `FileError` for a conversation that is no tree.
    """
    from .converse import say

    model = language_model(request)
    check_folder(request.out)
    concepts = yield from read_concept_choices(*request.concepts)
    choice, memory = plan_memory(base_choice(request, concepts), Recipe(says=""))
    if memory:
        yield Message(memory)
    means, conversation = means_of(request, open_base(choice), concepts)
    means.model = model
    reply = say(means, conversation, request.words)
    yield from _saved(request, reply, means.base.name)


def language_model(request: ConverseRequest) -> LanguageModel | None:
    """The language model of a request. Raises `InputError` for one that `offline` forbids."""
    from .converse import LanguageModel

    if not request.llm:
        return None
    if request.base.offline:
        raise InputError(
            "--llm asks a language model over the network, and --offline forbids the network: leave one of them out"
        )
    return LanguageModel(request.llm, request.llm_model)


def means_of(request: ConverseRequest, base: Any, concepts: list[Concept]) -> tuple[Means, Conversation]:
    """The means of a conversation, and the conversation of the request or a new one."""
    from .converse import Conversation, PreferenceSettings, begin

    # later states of a concept have its handle: the first file of a handle begins the conversation
    first = list({concept.handle: concept for concept in reversed(concepts)}.values())[::-1]
    means, conversation = begin(base, first, seed=request.seed, steps=request.steps, guidance=request.guidance)
    if request.conversation:
        earlier = Conversation.from_record(dict(request.conversation))
        names = [thing.name for thing in earlier.cast]
        cast = (*earlier.cast, *(thing for thing in conversation.cast if thing.name not in names))
        conversation = replace(earlier, cast=cast)
    means.concepts.update(by_hash(concepts))
    means.preference = PreferenceSettings(steps=request.preference_steps)
    means.pictures.update(_pictures(request, conversation))
    means.references = {f"<{name.strip('<>').lower()}>": images_of(folder) for name, folder in request.photos.items()}
    return means, conversation


def by_hash(concepts: list[Concept]) -> dict[str, Concept]:
    """Concepts by the hash of their tensors."""
    from limner.library.after import hash_of

    return {hash_of(concept): concept for concept in concepts}


def _pictures(request: ConverseRequest, conversation: Conversation) -> Mapping[str, Image.Image]:
    """The pictures at hand. Raises `InputError` for one that is not its turn's."""
    from limner.core.subject import read_picture

    from .converse.painting import hash_of_picture

    images = {}
    for name, path in request.pictures.items():
        turn, image = conversation.by_id(name), read_picture(path)[0].image
        assert image is not None
        if turn.sha256 and hash_of_picture(image) != turn.sha256:
            raise InputError(f"{path} is not the picture of turn {turn.number}, or was changed since")
        images[name] = image
    return images


def _saved(request: ConverseRequest, reply: Reply, base: str) -> Iterator[Event]:
    """Write the picture, new states of concepts and accepted pictures."""
    conversation, turn = reply.conversation, reply.conversation.turn
    path: Path | None = None
    references: list[Path] = []
    concepts = [concept.save(_free(request.out, concept)) for concept in reply.concepts]
    if turn is not None and reply.picture is not None:
        handles = tuple(thing.handle for thing in turn.state.things if thing.handle)
        story = {"steps": turn.state.steps, "guidance": turn.state.guidance, "words": turn.words, "turn": turn.id}
        if turn.state.avoid:
            story["negative"] = turn.state.negative
        picture = Picture(reply.picture, turn.state.prompt, turn.state.seed, handles, base, story)
        if reply.is_new:
            path = Numbers(request.out, 1).save(picture)
        for handle in reply.accepted:
            references.append(Numbers(request.out / "references" / handle.strip("<>"), 1).save(picture))
    record = plain_data(conversation)
    yield TurnDone(
        turn=conversation.current,
        is_new=reply.is_new,
        answer=reply.answer,
        state=plain_data(conversation.state),
        conversation=record,
        choices=tuple(choice.text for choice in conversation.question.choices) if conversation.question else (),
        picture=path,
        concepts=tuple(concepts),
        references=tuple(references),
    )
    result = {"answer": reply.answer, "picture": str(path) if path else None, "conversation": record}
    yield RunDone(result, "\n".join([reply.answer, *([str(path)] if path else [])]))


def _free(folder: Path, concept: Concept) -> Path:
    """A file for a new state of a concept: its name and the number of its preference steps, and a number where that is
    taken."""
    stem = f"{concept.handle.strip('<>')}-{concept.cost.get('preference_steps', 0):g}"
    path, number = folder / f"{stem}.safetensors", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.safetensors", number + 1
    return path
