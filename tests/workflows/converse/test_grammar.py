"""The grammar: sentences to edits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from limner.errors import InputError
from limner.workflows.converse.edits import NEEDS, Edit, apply, part_of, read_edits
from limner.workflows.converse.grammar import read_sentence
from limner.workflows.converse.moves import read_moves
from limner.workflows.converse.naming import resolve
from limner.workflows.converse.states import Accessory, State, Thing, plural, singular
from limner.workflows.converse.tree import Conversation
from limner.workflows.converse.vocabulary import Vocabulary

REX = Thing(name="rex", noun="dog", handle="<rex>", concept="c")
BO = Thing(name="bo", noun="cat", handle="<bo>", concept="d")
DRESSED = replace(REX, accessories=(Accessory(noun="hat", colour="red"),))
ONE = State(things=(DRESSED,), scene="on the beach")
TWO = State(things=(DRESSED, BO), scene="on the beach")
TALK = (
    Conversation(cast=(REX, BO))
    .add(State(things=(REX,), scene="in the jungle"), words="a")
    .add(State(things=(REX,), scene="in the snow"), words="b")
    .add(ONE, words="c")
)

FIRST = (
    ("rex on the beach", "add value=rex; scene value=on the beach"),
    (
        "paint rex on the beach wearing a red hat and sunglasses",
        "add value=rex; dress target=rex value=hat colour=red; scene value=on the beach; dress target=rex value=sunglasses",
    ),
    (
        "a watercolour of <rex> in the snow at night",
        "add value=rex; scene value=in the snow; time value=at night; style value=a watercolour of",
    ),
    ("a red dog and a cat in the snow", "add value=dog colour=red; add value=cat; scene value=in the snow"),
    ("the dog in the jungle", "add value=rex; scene value=in the jungle"),
    ("two dogs on the beach", "add value=dog; count target=dog number=2; scene value=on the beach"),
    ("rex next to a cat on the road", "add value=rex; add target=next to value=cat; scene value=on the road"),
    (
        "a striped cat sitting on the beach, from the side",
        "add value=cat; looks target=cat value=striped; action target=cat value=sitting; scene value=on the beach; view value=from the side",
    ),
)
"""Sentence of an empty conversation -> its edits: the operation and its fields."""
LATER = (
    ("put him in the snow", "scene value=in the snow"),
    ("move it to the city", "scene value=in the city"),
    ("now in the jungle, please", "scene value=in the jungle"),
    ("change the background to a desert", "scene value=in a desert"),
    ("at the beach", "scene value=at the beach"),
    ("give him a blue scarf", "dress target=him value=scarf colour=blue"),
    ("add sunglasses", "dress value=sunglasses"),
    ("with a blue scarf", "dress value=scarf colour=blue"),
    ("put a crown on rex", "dress target=rex value=crown"),
    ("he should wear a cape", "dress target=he value=cape"),
    (
        "give rex a green scarf and sunglasses",
        "dress target=rex value=scarf colour=green; dress target=rex value=sunglasses",
    ),
    ("remove the hat", "undress target=rex value=hat"),
    ("take off the hat", "undress target=rex value=hat"),
    ("take the hat off", "undress target=rex value=hat"),
    ("no hat", "undress target=rex value=hat"),
    ("without the hat", "undress target=rex value=hat"),
    ("lose the hat", "undress target=rex value=hat"),
    ("make the hat blue", "colour target=rex value=blue part=hat"),
    ("a green hat instead", "dress value=hat colour=green"),
    ("change the hat to a crown", "undress target=rex value=hat; dress target=rex value=crown"),
    ("swap the hat for a crown", "undress target=rex value=hat; dress target=rex value=crown"),
    ("replace the hat with a blue crown", "undress target=rex value=hat; dress target=rex value=crown colour=blue"),
    ("make it red", "colour target=it value=red"),
    ("make the dog red", "colour target=the dog value=red"),
    ("the dog should be green", "colour target=the dog value=green"),
    ("colour the hat blue", "colour target=rex value=blue part=hat"),
    ("a striped dog", "looks target=the dog value=striped"),
    ("make him sit", "action target=him value=sitting"),
    ("rex is jumping", "action target=rex value=jumping"),
    ("let him wave", "action target=him value=waving"),
    ("he should be standing", "action target=he value=standing"),
    ("stop jumping", "action"),
    ("as a watercolour", "style value=a watercolour of"),
    ("in the style of an old map", "style value=in the style of an old map"),
    ("make it a line drawing", "style value=a line drawing of"),
    ("as a photo again", "style value=a photo of"),
    ("in watercolour", "style value=a watercolour of"),
    ("turn it into pixel art", "style value=pixel art of"),
    ("add a cat", "add value=cat"),
    ("put a cat next to him", "add target=next to value=cat"),
    ("add two cats", "add value=cat; count target=cat number=2"),
    ("remove the dog", "remove target=the dog"),
    ("two dogs", "count target=the dog number=2"),
    ("make it three", "count number=3"),
    ("another one", "seed"),
    ("try again", "seed"),
    ("different seed", "seed"),
    ("seed 7", "seed number=7"),
    ("stronger", "strength number=1.25"),
    ("less rex", "strength target=rex number=0.8"),
    ("rex at 0.8", "strength target=rex number=0.8"),
    ("more of rex", "strength target=rex number=1.25"),
    ("from the side", "view value=from the side"),
    ("at night", "time value=at night"),
    ("make it night", "time value=at night"),
    ("close-up", "style value=a close-up of"),
    ("no people", "avoid value=people"),
    ("avoid blue", "avoid value=blue"),
    ("don't show trees", "avoid value=trees"),
    ("nothing blue", "avoid value=blue"),
    ("move rex to the left", "region target=rex value=left"),
    ("put rex on the right", "region target=rex value=right"),
    ("put him on the beach and give him a red hat", "scene value=on the beach; dress target=him value=hat colour=red"),
    ("put him on the beach, keep everything else", "scene value=on the beach"),
    ("paint bo in the kitchen", "new; add value=bo; scene value=in the kitchen"),
    ("paint a car on the road", "new; add value=car; scene value=on the road"),
    ("the same but at night", "time value=at night"),
    ("make the whole picture a woodcut", "style value=a woodcut of"),
    ("only change the hat to green", "colour target=rex value=green part=hat"),
    ("and a scarf", "dress value=scarf"),
    ("blue", "colour value=blue"),
    ("sitting", "action value=sitting"),
    ("a crown", "dress value=crown"),
)
"""The same for a picture of <rex> on the beach, with a red hat."""
BESIDE = (
    ("make it red", "colour target=it value=red"),
    ("the cat should be green", "colour target=the cat value=green"),
    ("make both of them red", "colour target=both value=red"),
    ("rex behind bo", "relation value=behind"),
    ("make the cat sit", "action target=the cat value=sitting"),
    ("remove the cat", "remove target=the cat"),
    ("give the cat a hat", "dress target=the cat value=hat"),
    ("give both a scarf", "dress target=both value=scarf"),
)
"""The same for a picture of <rex>, a dog, and <bo>, a cat."""
MOVES = (
    ("undo", "undo number=1", ""),
    ("go back", "undo number=1", ""),
    ("back two", "undo number=2", ""),
    ("go back to the second one", "return number=2", ""),
    ("back to the jungle", "return number=1", ""),
    ("as in the second one", "return number=2", ""),
    ("like the first but with a hat", "return number=1", "with a hat"),
    ("the hat as in the third one", "recall target=rex value=hat number=3", ""),
    ("the scene as in the first", "recall value=scene number=1", ""),
    ("redo", "redo", ""),
    ("start over", "return number=1", ""),
    ("branch from the second one", "return number=2", ""),
    ("more like this", "prefer number=3", ""),
    ("less like this", "reject number=3", ""),
    ("more like the second, less like the third", "prefer number=2; reject number=3", ""),
    ("i like this one", "prefer number=3", ""),
    ("keep this one", "accept target=rex", ""),
    ("yes, that is rex", "accept target=rex", ""),
)
"""Sentence -> moves through the turns, and the words that are left."""
STRANGE = ("make it snow", "wibble the frobnitz", "give it back", "make him bigger", "what is this?", "<script>", "💥")


def text(edits: tuple[Edit, ...] | list[Edit]) -> str:
    rows = [[e.op, *(f"{k}={v}" for k, v in e.record.items() if k != "op")] for e in edits]
    return "; ".join(" ".join(row) for row in rows)


@pytest.mark.parametrize(("words", "wanted"), FIRST)
def test_a_first_sentence_describes_a_picture(words: str, wanted: str) -> None:
    sentence = read_sentence(words, State(), (REX, BO))
    assert (text(sentence.edits), sentence.strange) == (wanted, [])


@pytest.mark.parametrize(("words", "wanted"), LATER)
def test_a_later_sentence_changes_what_it_names(words: str, wanted: str) -> None:
    sentence = read_sentence(words, ONE, (REX, BO))
    assert (text(sentence.edits), sentence.strange) == (wanted, [])


@pytest.mark.parametrize(("words", "wanted"), BESIDE)
def test_things_are_told_apart(words: str, wanted: str) -> None:
    sentence = read_sentence(words, TWO, (REX, BO))
    assert (text(sentence.edits), sentence.strange) == (wanted, [])


@pytest.mark.parametrize(("words", "wanted", "rest"), MOVES)
def test_sentences_about_turns(words: str, wanted: str, rest: str) -> None:
    moves = read_moves(words, TALK)
    assert moves is not None
    assert (text(moves.edits), moves.rest) == (wanted, rest)


@pytest.mark.parametrize("words", STRANGE)
def test_other_sentences_are_not_guessed_at(words: str) -> None:
    assert read_moves(words, TALK) is None
    sentence = read_sentence(words, ONE, (REX, BO))
    assert sentence.strange or not sentence.edits


def test_every_edit_goes_to_json_and_back() -> None:
    for words, _ in (*FIRST, *LATER, *BESIDE):
        edits = tuple(read_sentence(words, TWO, (REX, BO)).edits)
        whole = tuple(edit for edit in edits if edit.target or edit.op not in NEED_TARGETS)
        assert read_edits([edit.record for edit in whole]) == whole


NEED_TARGETS = tuple(op for op, names in NEEDS.items() if "target" in names)


def test_the_dog_is_rex() -> None:
    edits = resolve(read_sentence("make the dog green", TWO).edits, TWO).edits
    assert edits == (Edit(op="colour", target="rex", value="green"),)


def test_a_pronoun_of_two_things_is_asked_back() -> None:
    resolved = resolve(read_sentence("make it green", TWO).edits, TWO)
    assert resolved.question is not None
    assert [choice.text for choice in resolved.question.choices] == ["rex", "bo"]
    assert resolved.question.choices[1].edits == (Edit(op="colour", target="bo", value="green"),)


def test_a_pronoun_is_the_thing_named_last() -> None:
    resolved = resolve(read_sentence("make it green", TWO).edits, TWO, named=("bo",))
    assert resolved.edits == (Edit(op="colour", target="bo", value="green"),)
    resolved = resolve(read_sentence("make it green", ONE).edits, ONE, named=("hat", "rex"))
    assert resolved.edits == (Edit(op="colour", target="rex", value="green", part="hat"),)


def test_both_are_changed() -> None:
    resolved = resolve(read_sentence("make both of them red", TWO).edits, TWO)
    assert [edit.target for edit in resolved.edits] == ["rex", "bo"]


def test_a_thing_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="there is no elephant"):
        resolve(read_sentence("remove the elephant", TWO, (Thing(name="elephant", noun="elephant"),)).edits, TWO)


def test_a_state_becomes_a_prompt() -> None:
    edits = resolve(
        read_sentence("rex sitting on the beach wearing a red hat, from the side", State(), (REX,)).edits,
        State(),
        subjects=(REX,),
    ).edits
    state = apply(State(), edits, cast=(REX,))
    assert state.prompt == "<rex> sitting wearing a red hat on the beach, from the side"
    assert apply(state, read_sentence("no people", state).edits).negative == "people"
    two = apply(state, read_sentence("add two cats", state).edits)
    assert two.prompt == "<rex> sitting wearing a red hat next to two cats on the beach, from the side"


def test_the_part_that_changes() -> None:
    assert part_of((Edit(op="scene", value="in the snow"),)) == "background"
    assert part_of((Edit(op="dress", target="rex", value="hat"),)) == "accessory"
    assert part_of((Edit(op="colour", target="rex", value="blue", part="hat"),)) == "accessory"
    assert part_of((Edit(op="colour", target="rex", value="blue"),)) == "thing"
    scene, hat = Edit(op="scene", value="in the snow"), Edit(op="dress", target="rex", value="hat")
    assert part_of((scene, hat)) == "background and accessory"
    assert part_of((scene, Edit(op="colour", target="rex", value="blue"))) == "all"
    assert part_of((scene, Edit(op="seed"))) == "all"


@pytest.mark.parametrize(
    "bad",
    [
        "no list",
        [{"op": "explode"}],
        [{"op": "scene"}],
        [{"op": "scene", "value": "a" * 200}],
        [{"op": "scene", "value": "<bo> on the beach"}],
        [{"op": "scene", "value": "x", "path": "/etc/passwd"}],
        [{"op": "seed", "number": "7"}],
        [{"op": "seed", "number": 1e300}],
        [{}],
        ["scene"],
        [{"op": "seed"}] * 100,
    ],
)
def test_bad_edits_are_refused(bad: object) -> None:
    with pytest.raises(InputError):
        read_edits(bad)


def test_words_that_the_base_does_not_know() -> None:
    vocabulary = Vocabulary(
        frozenset(["on", "in", "the", "a", "beach", "gray", "hat", "sunglasses", "red", "blue", "kitchen", "snow"])
    )
    fitted, notes, question = vocabulary.fit([Edit(op="scene", value="on the seaside")], "")
    assert fitted == (Edit(op="scene", value="on the beach"),)
    assert notes == ["'seaside' is read as 'beach', which the base knows"]
    assert question is None
    fitted, notes, _ = vocabulary.fit([Edit(op="dress", target="rex", value="hat", colour="grey")], "")
    assert fitted[0].colour == "gray"
    fitted, _, _ = vocabulary.fit([Edit(op="scene", value="in the kitchn")], "")
    assert fitted[0].value == "in the kitchen"
    _, _, question = vocabulary.fit([Edit(op="scene", value="in the volcano")], "in the volcano")
    assert question is not None
    assert "'volcano'" in question.text
    assert {choice.text for choice in question.choices} <= {"beach", "kitchen", "snow"}
    _, _, question = vocabulary.fit([Edit(op="looks", target="rex", value="wooden")], "wooden")
    assert question is not None
    assert question.text == "the base does not know the word 'wooden'; say it in other words"
    assert Vocabulary(None).fit([Edit(op="scene", value="in the volcano")], "")[0][0].value == "in the volcano"


def test_plurals() -> None:
    for noun in ("dog", "puppy", "box", "bush"):
        assert singular(plural(noun)) == noun


def test_long_sentences_are_read_in_a_short_time() -> None:
    import time

    began = time.process_time()
    for words in ("a " * 900, "the red " * 200, "put " + "on the beach and " * 100, "x" * 1900, "make it " * 200):
        read_sentence(words, TWO, (REX, BO))
        read_moves(words, TALK)
    assert time.process_time() - began < 5
