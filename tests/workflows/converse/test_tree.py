"""The tree of turns: values that go to JSON and come back equal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from limner.errors import FileError, InputError, LimnerError
from limner.workflows.converse.edits import Edit
from limner.workflows.converse.states import Accessory, State, Thing
from limner.workflows.converse.tree import Choice, Conversation, Question

REX = Thing(name="rex", noun="dog", handle="<rex>", concept="c", strength=0.8, looks=("striped",), region="left")


def scene(place: str) -> State:
    return State(things=(REX,), scene=place, avoid=("people",), seed=7)


def three() -> Conversation:
    """Two turns, and a third that branches from the first."""
    talk = Conversation(cast=(REX,)).add(scene("on the beach"), words="one").add(scene("in the snow"), words="two")
    return talk.undo().add(scene("in the city"), words="three")


def test_a_conversation_goes_to_json_and_back() -> None:
    choice = Choice(text="rex", edits=(Edit(op="seed", number=7), Edit(op="dress", target="rex", value="hat")))
    state = State(things=(Thing(name="cat", noun="cat", accessories=(Accessory(noun="hat", colour="red"),)),))
    talk = three().add(state, words="four", named=("cat",)).changed("t4", sha256="ab", answer="done")
    talk = Conversation(
        **{**talk.__dict__, "question": Question(text="which?", choices=(choice,)), "accepted": {"<rex>": ("t1",)}}
    )
    assert Conversation.from_json(talk.to_json()) == talk


def test_undo_and_redo_walk_the_tree() -> None:
    talk = three()
    assert [turn.parent for turn in talk.turns] == ["", "t1", "t1"]
    assert talk.undo().state == scene("on the beach")
    assert talk.undo().redo() == talk
    assert talk.back_to("t2").undo().redo() == talk  # the newest branch
    with pytest.raises(InputError, match="no earlier turn"):
        talk.undo(2)
    with pytest.raises(InputError, match="nothing follows"):
        talk.redo()


def test_a_branch_leaves_the_other_one() -> None:
    talk = three()
    assert [turn.words for turn in talk.way] == ["one", "three"]
    assert [turn.words for turn in talk.back_to("t2").way] == ["one", "two"]
    assert talk.numbered(-1).words == "three"


def test_subjects_have_the_concept_of_the_way_here() -> None:
    talk = three()
    changed = talk.state.with_thing(Thing(name="rex", noun="dog", handle="<rex>", concept="new"))
    later = talk.add(changed, words="more like this")
    assert later.subjects[0].concept == "new"
    assert later.undo().subjects[0].concept == "c"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(current="t9"),
        lambda record: record["turns"][0].update(parent="t2"),
        lambda record: record["turns"][1].update(id="t1"),
        lambda record: record["turns"][1].update(id="../etc"),
        lambda record: record["turns"][1].update(number=7),
        lambda record: record["turns"][0]["state"].update(onto="t2"),
        lambda record: record["turns"][0]["state"].update(part="sky"),
        lambda record: record["turns"][0]["state"].update(path="/etc/passwd"),
        lambda record: record.update(turns="none"),
    ],
)
def test_what_is_no_tree_is_refused(change: Any) -> None:
    record = json.loads(three().to_json())
    change(record)
    with pytest.raises(LimnerError):
        Conversation.from_json(json.dumps(record))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(FileError):
        Conversation.from_json("{")
