"""Sentences to pictures on the pocket base: exact undo, branches, preferences, copies, questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import limner
from limner.core.subject import Subject
from limner.errors import InputError
from limner.library.after import hash_of
from limner.workflows.converse import Conversation, Means, PreferenceSettings, Reply, begin, picture_of, say
from limner.workflows.converse.masks import part_mask
from limner.workflows.converse.painting import hash_of_picture, paint_state, repaint
from tests.helpers import learn_fast

STEPS = 3


@pytest.fixture(scope="module")
def concept(base: Any, rex: Subject) -> limner.Concept:
    return learn_fast(base, "lora_dreambooth", rex)


@pytest.fixture
def means(base: Any, concept: limner.Concept) -> tuple[Means, Conversation]:
    return begin(base, [concept], seed=3, steps=STEPS)


def talk(means: Means, conversation: Conversation, *sentences: str) -> list[Reply]:
    replies = []
    for words in sentences:
        replies.append(say(means, conversation, words))
        conversation = replies[-1].conversation
    return replies


def pixels(reply: Reply) -> np.ndarray:
    assert reply.picture is not None
    return np.asarray(reply.picture)


def test_undo_is_exact_and_pictures_are_functions_of_their_states(means: tuple[Means, Conversation]) -> None:
    first, hat, snow, undone, redone = talk(
        *means, "rex on the beach", "give him a red hat", "put him in the snow", "undo", "redo"
    )
    assert np.array_equal(pixels(hat), pixels(undone))
    assert not undone.is_new
    assert undone.conversation.state == hat.conversation.state
    assert redone.conversation == snow.conversation
    conversation = snow.conversation
    for turn in conversation.turns:  # without any picture at hand: the whole chain is painted again
        again = repaint(means[0].base, conversation, turn, means[0].concepts)
        assert hash_of_picture(again) == turn.sha256
    assert len({turn.sha256 for turn in conversation.turns}) == 3
    assert first.conversation.turns == conversation.turns[:1]


def test_what_was_not_named_keeps_its_pixels(means: tuple[Means, Conversation]) -> None:
    first, hat = talk(*means, "rex on the beach", "give him a red hat")
    base, before, after = means[0].base, first.conversation.state, hat.conversation.state
    from limner.library.opening import adapter_of

    adapters = [adapter_of(next(iter(means[0].concepts.values())), base)]
    assert first.picture is not None
    mask = part_mask(base, adapters, first.picture, (before.prompt, after.prompt), "accessory")
    assert mask is not None
    outside = np.asarray(mask) == 0
    assert outside.any()
    assert np.array_equal(pixels(first)[outside], pixels(hat)[outside])
    assert not np.array_equal(pixels(first), pixels(hat))


def test_as_in_the_second_one_restores_it_and_a_branch_goes_on(means: tuple[Means, Conversation]) -> None:
    first, hat, _, back, branch = talk(
        *means, "rex on the beach", "give him a red hat", "as a watercolour", "as in the second one", "at night"
    )
    assert np.array_equal(pixels(hat), pixels(back))
    assert branch.conversation.turn is not None
    assert branch.conversation.turn.parent == hat.conversation.current
    assert branch.conversation.state.style == ""
    (part,) = talk(means[0], first.conversation.back_to("t1"), "at night")
    _, recalled = talk(means[0], hat.conversation, "without the hat", "the hat as in the second one")
    assert recalled.conversation.state.things == hat.conversation.state.things
    assert part.conversation.state.time == "at night"


def test_a_preference_changes_the_concept_and_undo_brings_it_back(means: tuple[Means, Conversation]) -> None:
    room, talking = means
    room.preference = PreferenceSettings(steps=2)
    key = talking.cast[0].concept
    before = {name: tensor.clone() for name, tensor in room.concepts[key].tensors.items()}
    first, liked, undone = talk(room, talking, "rex on the beach", "more like this", "undo")
    (changed,) = liked.concepts
    new = liked.conversation.state.things[0].concept
    assert new == hash_of(changed) != key
    assert changed.cost["preference_steps"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in changed.tensors.values())
    assert any(not torch.equal(before[name], changed.tensors[name]) for name in before)
    assert all(torch.equal(before[name], room.concepts[key].tensors[name]) for name in before)
    assert undone.conversation.state.things[0].concept == key
    assert np.array_equal(pixels(undone), pixels(first))
    again = paint_state(room.base, first.conversation.state, room.concepts)
    assert np.array_equal(np.asarray(again.image), pixels(first))
    repeated = say(room, first.conversation, "more like this")
    assert repeated.conversation.state == liked.conversation.state  # a function of the conversation


def test_pairs_are_the_liked_and_disliked_pictures(
    means: tuple[Means, Conversation], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def noted(base: Any, concept: Any, pairs: Any, **more: Any) -> Any:
        seen.extend(pairs)
        return concept

    monkeypatch.setattr("limner.workflows.converse.liking.prefer", noted)
    replies = talk(*means, "rex on the beach", "another one", "more like the first, less like the second")
    ((good, bad, prompt),) = seen
    assert (good, bad, prompt) == (replies[0].picture, replies[1].picture, "<rex> on the beach")
    seen.clear()
    say(means[0], replies[1].conversation, "less like this")
    ((good, bad, _),) = seen
    assert bad is replies[1].picture
    assert good is not replies[0].picture  # that one was not accepted: another seed stands for what is usual


def test_a_copy_does_not_join_the_references(means: tuple[Means, Conversation], rex: Subject) -> None:
    room, talking = means
    image = rex.pictures[0].image
    assert image is not None
    first, another = talk(room, talking, "rex on the beach", "another one")
    assert first.picture is not None
    room.references = {"<rex>": [first.picture.resize((200, 200))]}
    refused = say(room, first.conversation, "yes, that is rex")
    assert refused.accepted == ()
    assert "near copy of reference 1" in refused.answer
    room.references = {"<rex>": [image]}
    joined = say(room, another.conversation, "keep this one")
    assert joined.accepted == ("<rex>",)
    assert joined.conversation.accepted == {"<rex>": ("t2",)}
    twice = say(room, joined.conversation, "keep this one")
    assert "already" in twice.answer
    assert twice.conversation == joined.conversation
    # the same picture under another turn is a copy of the accepted one
    copied = joined.conversation.add(another.conversation.state, words="again")
    room.pictures["t3"] = room.pictures["t2"]
    assert "nearly picture 2" in say(room, copied, "keep this one").answer


def test_an_ambiguous_request_is_asked_back_and_the_answer_followed(means: tuple[Means, Conversation]) -> None:
    room, talking = means
    pair, asked, answered = talk(room, talking, "rex next to a cat on the beach", "at night", "make it red")[0:3]
    assert answered.question is not None
    assert [choice.text for choice in answered.question.choices] == ["rex", "cat"]
    assert answered.picture is None
    assert answered.conversation.turns == asked.conversation.turns
    done = say(room, answered.conversation, "the cat")
    assert done.question is None
    assert done.conversation.state.thing("cat").colour == "red"
    assert done.conversation.state.thing("rex").colour == ""
    assert done.conversation.turn is not None
    assert done.conversation.turn.words == "make it red (cat)"
    by_number = say(room, answered.conversation, "1")
    assert by_number.conversation.state.thing("rex").colour == "red"
    dropped = say(room, answered.conversation, "put them in the snow")  # other words drop the question
    assert dropped.question is None
    assert dropped.conversation.state.scene == "in the snow"
    assert pair.question is None


def test_unknown_words_get_a_question(means: tuple[Means, Conversation]) -> None:
    room, talking = means
    first = say(room, talking, "rex on the beech")
    assert first.conversation.state.scene == "on the beach"
    assert "'beech' is read as 'beach'" in first.answer
    asked = say(room, first.conversation, "in the volcano")
    assert asked.question is not None
    known = room.base.capabilities.known_words
    assert known is not None
    assert all(choice.text in known() for choice in asked.question.choices)
    chosen = say(room, asked.conversation, "1")
    assert chosen.conversation.state.scene == f"in the {asked.question.choices[0].text}"
    strange = say(room, first.conversation, "wibble the frobnitz")
    assert strange.question is not None
    assert "'wibble the frobnitz'" in strange.answer
    assert strange.conversation.turns == first.conversation.turns
    assert say(room, strange.conversation, "at night").is_new


def test_another_word_for_a_thing_means_it(means: tuple[Means, Conversation]) -> None:
    first, changed = talk(*means, "rex on the beach", "make the puppy green")
    assert changed.conversation.state.things[0].colour == "green"
    refused = say(means[0], first.conversation, "make the teapot green")
    assert "there is no teapot" in refused.answer
    assert not refused.is_new


def test_sentences_that_cannot_be_followed_change_nothing(means: tuple[Means, Conversation]) -> None:
    room, talking = means
    for words in ("undo", "more like this", "keep this one", "make it red", "", "x" * 3000, "back to the seventh one"):
        reply = say(room, talking, words)
        assert replace(reply.conversation, question=None) == talking
        assert reply.answer
        assert reply.picture is None
    first = say(room, talking, "rex on the beach")
    same = say(room, first.conversation, "on the beach")
    assert (same.is_new, same.conversation) == (False, first.conversation)


def test_a_method_without_training_has_no_preferences(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="stylealigned")
    room, talking = begin(base, [concept], steps=STEPS)
    first, refused = talk(room, talking, "rex on the beach", "more like this")
    assert "no preference can change" in refused.answer
    assert refused.conversation == first.conversation


def test_pictures_of_another_machine_are_noticed(means: tuple[Means, Conversation]) -> None:
    room, talking = means
    first = say(room, talking, "rex on the beach").conversation
    room.pictures.clear()
    with pytest.raises(InputError, match="came out differently"):
        picture_of(room, first.changed("t1", sha256="0" * 64))


def test_two_concepts_of_one_handle_are_refused(base: Any, concept: limner.Concept) -> None:
    with pytest.raises(InputError, match="two concepts answer to <rex>"):
        begin(base, [concept, concept])


def test_a_background_and_an_accessory_leave_the_rest_of_a_thing(means: tuple[Means, Conversation]) -> None:
    first, both = talk(*means, "rex on the beach", "put him in the snow and give him a red hat")
    assert both.conversation.state.part == "background and accessory"
    same = (pixels(first) == pixels(both)).all(-1).mean()
    assert 0 < same < 1


def test_a_word_for_another_kind_does_not_mean_the_thing(means: tuple[Means, Conversation]) -> None:
    first = say(*means, "rex on the beach")
    assert "there is no kitty" in say(means[0], first.conversation, "make the kitty green").answer
