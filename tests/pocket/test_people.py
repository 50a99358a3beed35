"""Properties of the people of the pocket world: each its own, framed, truthful, and said in short captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limner.pocket.world import SPLITS, WHOLE, Face, SceneGraph, draw, portrait
from limner.pocket.world.drawing import job
from limner.pocket.world.faces import LANDMARKS, PARTS, person
from limner.pocket.world.garments import garment
from limner.pocket.world.grammar import PLACES, TIMED, _Saying
from limner.pocket.world.people_accessories import TOGETHER
from limner.pocket.world.people_words import say_people, words
from limner.pocket.world.portraits import person_showing, sample_people
from limner.pocket.world.prompts_people import KINDS, PEOPLE, PROMPTS, answer
from limner.pocket.world.vocabulary import (  # fmt: skip
    AGES,
    COLOURS,
    EXPRESSIONS,
    GARMENTS,
    GAZES,
    GESTURES,
    HAIR_COLOURS,
    HAIRSTYLES,
    HEAD_TURNS,
    SCENES,
    WORN_BY_PEOPLE,
    shown,
)

HEAD_PARTS = torch.tensor([PARTS.index(name) for name in ("head", "hair", "eye", "brow", "nose", "mouth")])


def sampled(count: int, *, split: str = "train", start: int = 0) -> list[SceneGraph]:
    return [
        sample_people(seed, np.random.default_rng((seed, 7)), world=WHOLE, split=split)
        for seed in range(start, start + count)
    ]


def mark(drawn_row: torch.Tensor, name: str) -> tuple[float, float]:
    x, y = drawn_row[LANDMARKS.index(name)].tolist()
    return x, y


def garment_of(kind: str) -> int:
    """The first seed whose garment is of the kind."""
    return next(seed for seed in range(200) if garment(seed).kind == kind)


def test_a_person_is_itself_for_ever_and_unlike_another() -> None:
    first, again, other = person(5), person(5), person(6)
    assert np.array_equal(first.code, again.code)
    assert first.code.dtype == np.float32
    assert not np.allclose(first.code, other.code)
    assert (person(3).hairstyle, person(3).age) == ("curly", "child")  # as before identities were widened


def test_twins_in_words_differ_visibly() -> None:
    """Same hair, age and skin: only the identity vector differs, and more so than a change of light-hearted pose."""
    one = person(8)
    faces = [replace(one, identity=person(seed).identity) for seed in (8, 21, 34, 55)]
    drawn = draw([portrait(Face(who), seed=3) for who in faces]).pixels.float()
    apart = [(drawn[a] - drawn[b]).abs().mean() for a in range(4) for b in range(a)]
    assert min(apart) > 3


def test_pictures_of_people_vary_and_keep_to_their_split() -> None:
    graphs = sampled(300, split="dev")
    people = [face for graph in graphs for face in graph.people]
    assert {face.person.seed for face in people} <= set(SPLITS["dev"])
    assert 0.12 < sum(len(graph.people) == 2 for graph in graphs) / 300 < 0.28
    assert 0.4 < sum(graph.distance == "close" for graph in graphs) / 300 < 0.6
    assert {graph.scene for graph in graphs} == set(SCENES)
    for name, options in (("expression", EXPRESSIONS), ("gaze", GAZES), ("head", HEAD_TURNS), ("action", GESTURES)):
        assert {getattr(face, name) for face in people} == set(options)
    assert {face.garment.kind for face in people if face.garment} == set(GARMENTS)
    assert {name for face in people for name in face.accessories} == set(WORN_BY_PEOPLE)
    for face in people:
        assert len(face.accessories) <= 2
        assert all(len(set(group) & set(face.accessories)) <= 1 for group in TOGETHER)


def test_the_camera_frames_faces() -> None:
    """Skull and chin span a third of a portrait and a fifth of a half-length picture; all landmarks are in the
    picture."""
    graphs = sampled(120)
    for graph, drawn in zip(graphs, draw(graphs, size=32).landmarks, strict=True):
        least = 1 / 3 if graph.distance == "close" else 1 / 5
        for face, points in zip(graph.people, drawn, strict=False):
            assert ((points > 0) & (points < 32)).all(), graph
            if face.head in ("ahead", "left", "right"):
                chin, forehead = mark(points, "chin"), mark(points, "forehead")
                # the forehead's point is at 0.6 of the skull's half height, about 0.82 of the way from chin to crown
                assert (chin[1] - forehead[1]) / 0.80 / 32 > least * 0.97, (graph.distance, len(graph.people))
        assert torch.isnan(drawn[len(graph.people) :]).all()


def test_both_people_are_seen_side_by_side() -> None:
    graphs = [graph for graph in sampled(120) if len(graph.people) == 2]
    assert graphs
    drawn = draw(graphs, size=64)
    for row in range(len(graphs)):
        for k in (0, 1):
            face = (drawn.toy[row] == k) & torch.isin(drawn.part[row].long(), HEAD_PARTS)
            assert face.sum() > 60
        left, right = drawn.landmarks[row, 0], drawn.landmarks[row, 1]
        assert mark(left, "nose tip")[0] < mark(right, "nose tip")[0]


def test_landmarks_fall_on_their_parts() -> None:
    drawn = draw([person_showing(person(k), seed=k, scene="meadow") for k in range(12)], size=128)
    for name, part in (("left eye", "eye"), ("right eye", "eye"), ("nose tip", "nose")):
        hits = 0
        for row in range(12):
            x, y = mark(drawn.landmarks[row, 0], name)
            hits += int(drawn.part[row, int(y), int(x)] == PARTS.index(part))
        assert hits >= 11, (name, hits)


@pytest.mark.parametrize("name", WORN_BY_PEOPLE)
def test_an_accessory_has_its_part_and_its_colour(name: str) -> None:
    for distance in ("close", "medium"):
        graphs = [
            person_showing(person(9), seed=3, scene="studio", accessories=[(name, colour)], distance=distance)
            for colour in ("red", "blue")
        ]
        bare = person_showing(person(9), seed=3, scene="studio", distance=distance)
        drawn = draw([*graphs, bare], size=128)
        adapted = drawn.part == PARTS.index(name)
        assert adapted[:2].flatten(1).sum(1).min() > 60
        assert not adapted[2].any()
        difference = (drawn.pixels[0].float() - drawn.pixels[1].float())[:, adapted[0] & adapted[1]]
        assert difference[0].mean() > 5
        assert difference[2].mean() < -5


@pytest.mark.parametrize("kind", GARMENTS)
def test_a_garment_has_its_cut_and_pattern(kind: str) -> None:
    seed = garment_of(kind)
    adapted = replace(garment(seed), pattern="checkered")
    pictures = [
        person_showing(person(9), seed=3, scene="studio", garment=cloth, distance="medium")
        for cloth in (adapted, replace(adapted, pattern="plain"))
    ]
    drawn = draw(pictures, size=64)
    cloth = drawn.part[0] == PARTS.index("garment")
    assert cloth.float().mean() > 0.08
    changed = (drawn.pixels[0].int() - drawn.pixels[1].int()).abs().amax(0) > 8
    assert changed.sum() > 60
    assert (changed & cloth).sum() > 0.9 * changed.sum()
    assert garment(seed).tints.shape == (2, 3)
    assert np.array_equal(garment(seed).tints, garment(seed).tints)


def test_patterns_stay_with_the_body() -> None:
    adapted = replace(garment(3), pattern="striped", kind="sweater")
    graph = person_showing(person(4), seed=1, scene="studio", garment=adapted, distance="medium")
    shift = (0.5, 0.0, -0.3)
    x, y, z = graph.camera.target
    camera = replace(graph.camera, target=(x + shift[0], y + shift[1], z + shift[2]))
    moved = replace(graph, people=(replace(graph.people[0], place=shift),), camera=camera)
    first, second = draw([graph], size=64), draw([moved], size=64)
    both = first.masks & second.masks
    apart = (first.pixels.int() - second.pixels.int()).abs().amax(1)[both]
    assert (apart <= 2).float().mean() > 0.97


def test_gaze_moves_the_iris_and_the_head_the_nose() -> None:
    def iris(gaze: str) -> np.ndarray:
        """Where the blue of the left eye's iris is from the eye's middle, in pixels."""
        drawn = draw([person_showing(person(20), seed=2, scene="studio", gaze=gaze)], size=192)
        eye = np.array(mark(drawn.landmarks[0, 0], "left eye"))
        red, _, blue = drawn.pixels[0].int()
        mask = (drawn.part[0] == PARTS.index("eye")) & (blue > red + 40)
        ys, xs = torch.nonzero(mask, as_tuple=True)
        near = (xs - eye[0]).abs() < 12
        return np.array([xs[near].float().mean() - eye[0], ys[near].float().mean() - eye[1]])

    assert iris("left")[0] < iris("ahead")[0] - 1 < iris("right")[0] - 2
    assert iris("up")[1] < iris("down")[1] - 1
    nose = {}
    for head in HEAD_TURNS:
        points = draw([person_showing(person(20), seed=2, scene="studio", head=head)], size=128).landmarks[0, 0]
        nose[head] = np.array(mark(points, "nose tip"))
    assert nose["left"][0] < nose["ahead"][0] - 5 < nose["right"][0] - 10
    assert nose["up"][1] < nose["ahead"][1] - 2 < nose["down"][1] - 4


def test_every_expression_and_gesture_is_another_picture() -> None:
    looks = [person_showing(person(12), seed=2, scene="studio", expression=name) for name in EXPRESSIONS]
    doing = [person_showing(person(12), seed=2, scene="studio", action=name, distance="medium") for name in GESTURES]
    for graphs, least in ((looks, 0.2), (doing, 1.0)):
        pixels = draw(graphs, size=64).pixels.float()
        apart = [(pixels[a] - pixels[b]).abs().mean() for a in range(len(graphs)) for b in range(a)]
        assert min(apart) > least


def test_gestures_move_over_time_and_come_back() -> None:
    graph = person_showing(person(12), seed=2, scene="studio", action="waving", time=0.0)
    frames = draw([graph, replace(graph, time=0.25), replace(graph, time=1.0)], size=64).pixels.int()
    assert (frames[0] - frames[2]).abs().max() <= 1
    assert (frames[0] - frames[1]).abs().float().mean() > 0.2


def test_people_are_cheap_to_draw() -> None:
    alone = [len(job(graph).solids) for graph in sampled(100) if len(graph.people) == 1]
    assert np.mean(alone) < 90


def test_plain_captions_say_everything_in_few_words() -> None:
    long = []
    for graph in sampled(200):
        said = say_people(graph, _Saying(None))
        for face in graph.people:
            assert face.person.hairstyle in said
            assert face.garment is not None
            assert face.garment.kind in said
            for name in (*face.accessories, *(face.garment.colours[:1])):
                assert name in said
            if face.expression != "neutral":
                assert face.expression in said
            for text in (face.gaze, face.head):
                if text != "ahead":
                    assert text in said
            if face.action != "standing":
                assert face.action.split()[0] in said
        long.append(len(said.split()) / len(graph.people))
    assert max(long) <= 30
    assert np.mean(long) < 20


def test_captions_vary_with_known_words_and_say_nothing_false() -> None:
    known = set(words())
    for graph in sampled(100):
        texts = {say_people(graph, _Saying(seed)) for seed in range(6)}
        assert len(texts) > 1
        said = {word for text in texts for word in text.replace(",", " ").split()}
        assert said <= known, said - known
        adapted = {name for face in graph.people for name in face.accessories}
        for name in ("hat", "crown", "scarf", "cape", "necklace", "headphones", "sunglasses", "glasses"):
            assert name in adapted or name not in said
        turned = {face.gaze for face in graph.people} | {face.head for face in graph.people}
        assert said & {"left", "right", "up", "down", "closed"} <= turned | {"up"}
        colours = {colour for face in graph.people for colour in face.accessory_colours}
        colours |= {colour for face in graph.people if face.garment for colour in face.garment.colours}
        assert said & set(COLOURS) <= colours | {face.person.hair_colour for face in graph.people}


def test_the_face_set_is_varied_and_its_prompts_are_true() -> None:
    people = [person(seed) for seed in PEOPLE]
    assert len(set(PEOPLE)) == 15
    assert set(PEOPLE) <= set(SPLITS["held-out"])
    assert {who.age for who in people} == set(AGES)
    assert {who.hairstyle for who in people} == set(HAIRSTYLES)
    assert {who.hair_colour for who in people} == set(HAIR_COLOURS)
    tones = [who.skin.mean() for who in people]
    assert max(tones) > 0.75
    assert min(tones) < 0.3
    assert len({prompt.text for prompt in PROMPTS}) == 40
    known = set(words()) | {word for texts in PLACES.values() for text in texts for word in text.split()}
    known |= {word for text in TIMED.values() for word in text.split()}
    for kind in KINDS:
        assert sum(prompt.kind == kind for prompt in PROMPTS) == 10
    for prompt in PROMPTS:
        graph = answer(prompt, people[0], seed=1)
        assert prompt.text.count("{}") == 1
        assert prompt.asked
        if prompt.kind == "style":
            assert prompt.style in shown("styles")
        else:
            assert set(prompt.text.replace("{}", " ").replace(",", " ").split()) <= known
        if prompt.kind == "context":
            assert any(place in prompt.text for place in PLACES[str(prompt.scene)])
        elif prompt.kind != "style":
            said = say_people(graph, _Saying(None))
            assert prompt.text.replace("{}", "").replace("wearing", "").strip(", ").split(" and ")[0] in said
