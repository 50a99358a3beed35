"""Properties of the pocket world: seeded, itself from all sides, and truthful."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from limner.pocket.labels import FIELDS, codes, labels
from limner.pocket.world import (  # fmt: skip
    CORE,
    PROMPTS,
    SPLITS,
    WHOLE,
    Face,
    Toy,
    caption,
    clip,
    describe,
    draw,
    draw_many,
    individual,
    panorama,
    portrait,
    references,
    sample,
    showing,
    turntable,
)
from limner.pocket.world.faces import LANDMARKS, person
from limner.pocket.world.grammar import NONCE, NOUNS, PLACES, words
from limner.pocket.world.graph import NUM_FACE
from limner.pocket.world.prompts import TASKS, answer, prompts
from limner.pocket.world.solids import MISS, ball, cone, cube
from limner.pocket.world.vocabulary import (  # fmt: skip
    ACCESSORIES,
    ACTIONS,
    ANIMALS,
    CAMERA_MOVES,
    CHARACTERS,
    CLASSES,
    DAYTIMES,
    HELD_OUT,
    JOINTED,
    MATERIALS,
    MOTIONS,
    RELATIONS,
    SCENES,
    STATES,
    STYLES,
    VIEWS,
    shown,
)

GRAPHS = [sample(seed, world=WHOLE) for seed in range(24)]


def test_the_world_is_as_rich_as_it_says() -> None:
    assert len(CLASSES) >= 16
    assert len(ANIMALS) >= 5
    assert len(CHARACTERS) >= 2
    assert len(SCENES) >= 12
    assert len(shown("styles")) >= 15
    assert len(ACCESSORIES) >= 6
    assert NUM_FACE >= 20
    assert len(set(VIEWS) - {"side", "top"}) == 8
    assert all(len(HELD_OUT[name]) >= 2 for name in ("relations", "motions"))
    assert all(len(HELD_OUT[name]) >= 3 for name in ("actions", "states"))
    assert len(HELD_OUT["styles"]) >= 4


def test_the_same_seed_draws_the_same_picture_alone_or_in_company() -> None:
    together = draw(GRAPHS, size=48).pixels
    again = draw(GRAPHS, size=48).pixels
    assert torch.equal(together, again)
    alone = draw(GRAPHS[5:6], size=48).pixels
    assert (together[5].int() - alone[0].int()).abs().max() <= 1
    assert sample(7, world=WHOLE).seed == 7
    first, second = (draw([sample(9)], size=32).pixels for _ in range(2))
    assert torch.equal(first, second)


def test_drawing_over_processes_is_drawing() -> None:
    apart = torch.cat([d.pixels for d in draw_many(GRAPHS[:6], size=32, chunk=3, workers=1)])
    assert (apart.int() - draw(GRAPHS[:6], size=32).pixels.int()).abs().max() <= 1


def test_masks_agree_with_depth_boxes_normals_and_parts() -> None:
    drawn = draw(GRAPHS, size=48)
    mask = drawn.masks
    assert mask.flatten(1).any(1).all()
    assert torch.isfinite(drawn.depth[mask]).all()
    assert (drawn.part[mask] >= 0).all()
    assert (drawn.part[~mask] == -1).all()
    lengths = drawn.normal.norm(dim=1)
    assert torch.allclose(lengths[mask], torch.ones(()), atol=1e-3)
    for row in range(len(GRAPHS)):
        ys, xs = torch.nonzero(drawn.toy[row] == 0, as_tuple=True)
        if len(xs):
            assert drawn.boxes[row, 0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_toys_stand_before_what_is_behind_them() -> None:
    """Where a toy is seen, an empty picture of the same place is farther away."""
    toys = [graph for graph in GRAPHS if graph.toys and graph.style == "render"]
    full, empty = draw(toys, size=48), draw([replace(graph, toys=()) for graph in toys], size=48)
    assert (full.depth[full.masks] <= empty.depth[full.masks] + 1e-3).all()
    assert torch.equal(full.depth[~full.masks], empty.depth[~full.masks])


def test_splits_share_no_individual() -> None:
    ranges = [set(ids) for ids in SPLITS.values()]
    assert not ranges[0] & ranges[1]
    assert not ranges[0] & ranges[2]
    assert not ranges[1] & ranges[2]
    for split in SPLITS:
        assert all(sample(k, split=split).toys[0].individual.seed in SPLITS[split] for k in range(20))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_individual_is_itself_and_differs_from_another(kind: str) -> None:
    first, again, other = individual(kind, 5), individual(kind, 5), individual(kind, 6)
    assert np.array_equal(first.code, again.code)
    assert not np.allclose(first.code, other.code)
    fixed = {"seed": 3, "scene": "studio"}
    pixels = draw([showing(who, **fixed) for who in (first, again, other)], size=48).pixels.int()  # type: ignore[arg-type]
    assert torch.equal(pixels[0], pixels[1])
    assert (pixels[0] - pixels[2]).abs().sum() > 2000


@pytest.mark.parametrize("kind", CLASSES)
def test_it_can_wear_everything(kind: str) -> None:
    who = individual(kind, 4)
    worn = [showing(who, seed=3, scene="studio", accessories=[(name, "red")]) for name in ACCESSORIES]
    drawn = draw([showing(who, seed=3, scene="studio"), *worn], size=64)
    for row in range(1, len(worn) + 1):
        if ACCESSORIES[row - 1] not in ("cape", "backpack straps"):  # mostly behind, from the front
            assert (drawn.part[row] == 8).sum() > 3, (kind, ACCESSORIES[row - 1])
    assert not (drawn.part[0] == 8).any()


def test_identity_does_not_depend_on_the_view() -> None:
    """The colours painted on a toy are those of its own surface: turning the camera and the toy alike changes
    nothing."""
    graph = showing(individual("dog", 8), seed=2, scene="studio")
    sunless = graph.toys[0]
    turned = replace(
        graph,
        toys=(replace(sunless, turn=sunless.turn + 0.7),),
        camera=replace(graph.camera, azimuth=graph.camera.azimuth + 0.7),
    )
    first, second = draw([graph], size=64), draw([turned], size=64)
    assert (first.toy == second.toy).float().mean() > 0.995
    assert (first.part == second.part).float().mean() > 0.98


def test_marks_and_patterns_travel_with_the_toy() -> None:
    """Moving toy and camera together leaves every albedo where it was: only light and scenery may differ."""
    graph = showing(individual("teapot", 3), seed=2, scene="studio")
    toy = graph.toys[0]
    shift = (0.6, 0.0, -0.4)
    x, y, z = (a + b for a, b in zip(graph.camera.target, shift, strict=True))
    camera = replace(graph.camera, target=(x, y, z))
    moved = replace(graph, toys=(replace(toy, place=shift),), camera=camera)
    first, second = draw([graph], size=64), draw([moved], size=64)
    both = first.masks & second.masks
    assert both.sum() > 0.98 * first.masks.sum()
    apart = (first.pixels.int() - second.pixels.int()).abs().amax(1)[both]
    assert (apart <= 2).float().mean() > 0.97


def test_captions_say_only_what_is_true() -> None:
    places = {text: scene for scene, texts in PLACES.items() for text in texts}
    for graph in (sample(seed, world=WHOLE) for seed in range(300)):
        for way in range(3):
            said = caption(graph, seed=way)
            found = {scene for text, scene in places.items() if text in said}
            assert found <= {graph.scene}, said
            if graph.toys:
                nouns = {noun for toy in graph.toys for noun in NOUNS[toy.individual.kind]}
                assert any(noun in said for noun in nouns), said
                tokens = set(said.replace(",", " ").split())
                others = {
                    n
                    for kind, texts in NOUNS.items()
                    for n in texts
                    if kind not in {t.individual.kind for t in graph.toys}
                }
                worn = {name for toy in graph.toys for name in toy.accessories}
                stray = {n for n in others if n in tokens and not (n == "backpack" and "backpack straps" in worn)}
                assert not stray, (said, stray)
                for name in ("hat", "sunglasses", "scarf", "crown", "cape"):
                    assert name in worn or name not in tokens, said


def test_the_plain_caption_says_everything() -> None:
    graph = showing(
        individual("dog", 1), seed=0, scene="beach", accessories=[("hat", "red")], view="side", daytime="sunset"
    )
    said = caption(graph)
    for word in ("dog", "red hat", "on the beach", "at sunset", "from the side", individual("dog", 1).colours[0]):
        assert word in said


def test_captions_vary_and_use_known_words_alone() -> None:
    graph, known = sample(3), set(words())
    said = {caption(graph, seed=k) for k in range(40)}
    assert len(said) > 10
    assert {w for text in said for w in text.replace(",", " ").split()} <= known
    assert any(
        name in text.split() for seed in range(200) for text in [caption(sample(seed), seed=seed)] for name in NONCE
    )
    assert "<rex>" in caption(graph, seed=1, name="<rex>")
    assert describe(individual("dog", 1)).split()[-1] == "dog"


def test_labels_are_the_graph() -> None:
    for graph in GRAPHS:
        found = labels(graph)
        assert found["style"] == graph.style
        if graph.toys:
            assert found["class"] == graph.toys[0].individual.kind
            assert found["colour"] == graph.toys[0].individual.colours[0]
            assert {a for a in ACCESSORIES if found[a] == "yes"} == set(graph.toys[0].accessories)
    table = codes(GRAPHS)
    assert table.shape == (len(GRAPHS), len(FIELDS))
    assert table.max() < max(map(len, FIELDS.values()))


def test_the_core_is_a_subset_by_argument() -> None:
    for seed in range(60):
        graph = sample(seed, world=CORE)
        assert graph.scene in CORE.scenes
        assert graph.toys[0].individual.kind in CORE.classes
        assert graph.toys[0].individual.pattern in CORE.patterns
        assert set(graph.toys[0].accessories) <= set(CORE.accessories)
        assert len(graph.toys) == 1
    for prompt in PROMPTS:
        assert prompt.scene in CORE.scenes
        assert {name for name, _ in prompt.accessories} <= set(CORE.accessories)


def test_references_show_the_toy_alone_in_different_places() -> None:
    graphs = references(individual("car", 2_000_001), 4)
    assert len({graph.scene for graph in graphs}) == 4
    assert all(not graph.toys[0].accessories for graph in graphs)


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_are_where_they_say(relation: str) -> None:
    toys = (Toy(individual("cat", 1)), Toy(individual("house", 2)))
    graph = sample(4, world=WHOLE, toys=toys, relation=relation, view="front", style="render", distance="medium")
    drawn = draw([graph], size=96)
    middle = [torch.nonzero(drawn.toy[0] == k).float().mean(0) for k in (0, 1)]  # (y, x), y downwards
    seen = [(drawn.toy[0] == k).sum().item() for k in (0, 1)]
    assert min(seen) > 10
    y, x = (middle[0] - middle[1]).tolist()
    match relation:
        case "on" | "inside":
            assert y < -3
        case "under":
            assert y > 3
        case "behind":
            assert drawn.depth[0][drawn.toy[0] == 0].mean() > drawn.depth[0][drawn.toy[0] == 1].mean()
        case "in front of":
            assert drawn.depth[0][drawn.toy[0] == 0].mean() < drawn.depth[0][drawn.toy[0] == 1].mean()
        case "upside down on":
            assert y < -3
            assert abs(graph.toys[0].tilt - np.pi) < 1e-9
        case "holding":
            assert seen[1] < seen[0]
        case _:
            assert x < -8


def test_several_toys_are_each_large_enough_to_read() -> None:
    """Most toys of pairs and triples are a third of the picture's height; the rest lie flat or are wide."""
    world = replace(WHOLE, pairs=0.7, triples=0.3, faces=0.0, styles=("render",))
    drawn = draw([sample(seed, world=world) for seed in range(40)], size=64)
    heights = [
        float(drawn.boxes[row, k, 3] - drawn.boxes[row, k, 1]) / 64
        for row, graph in enumerate(drawn.graphs)
        for k in range(len(graph.toys))
    ]
    assert np.mean(np.array(heights) >= 0.3) > 0.8
    assert min(heights) > 0.12
    assert {len(graph.toys) for graph in drawn.graphs} == {2, 3}


def test_toys_face_where_their_relation_turns_them() -> None:
    toys = (Toy(individual("dog", 1)), Toy(individual("cat", 2)))
    ways = {r: [np.sin(t.turn) > 0 for t in sample(4, world=WHOLE, toys=toys, relation=r).toys] for r in RELATIONS}
    assert ways["facing"] == [True, False]
    assert ways["back to back with"] == [False, True]
    assert ways["chasing"] == [True, True]


def test_what_is_held_out_is_never_drawn_or_said() -> None:
    unseen = {word for name, held in HELD_OUT.items() if name != "motions" for word in held}
    for graph in (sample(seed, world=WHOLE) for seed in range(300)):
        shown_here = {graph.style, graph.relation, *(t.action for t in graph.toys), *(t.state for t in graph.toys)}
        assert not unseen & shown_here
    known = set(words())
    for word in ("embroidery", "neon", "cracked", "rusty", "handstand", "towering", "somersaulting"):
        assert word not in known


@pytest.mark.parametrize("state", STATES[1:])
def test_a_state_changes_the_toy_and_not_its_place(state: str) -> None:
    plain, changed = (showing(individual("teapot", 5), seed=3, scene="studio", state=s) for s in ("plain", state))
    first, second = draw([plain], size=64), draw([replace(changed, camera=plain.camera)], size=64)
    both = first.masks & second.masks
    assert both.sum() > 0.6 * first.masks.sum()
    apart = (first.pixels.int() - second.pixels.int()).abs().amax(1)
    assert (apart[both] > 12).float().mean() > 0.15
    assert state in caption(changed)
    assert labels(changed)["state"] == state


@pytest.mark.parametrize("motion", MOTIONS[1:])
def test_motions_move_and_come_back(motion: str) -> None:
    graph = replace(showing(individual("mug", 3), seed=1, scene="studio", motion=motion), time=0.0)
    frames = draw([*clip(graph, 7), replace(graph, time=1.0)], size=48)
    assert (frames.pixels[0].int() - frames.pixels[7].int()).abs().max() <= 2
    assert (frames.toy[1] != frames.toy[0]).float().mean() + (frames.part[1] != frames.part[0]).float().mean() > 0.004


@pytest.mark.parametrize("move", CAMERA_MOVES[1:])
def test_camera_moves_go_one_way(move: str) -> None:
    graph = replace(showing(individual("mug", 3), seed=1, scene="studio"), camera_move=move)
    frames = draw(clip(graph, 3), size=48).pixels.int()
    near, far = ((frames[k] - frames[0]).abs().float().mean() for k in (1, 2))
    assert far > near > 0


def test_views_in_eighths_show_the_side_they_name() -> None:
    """From the left the toy looks to the right of the picture, and its azimuth is read off its turn."""
    for view in ("front", "front left", "left", "back left", "back", "back right", "right", "front right"):
        graph = showing(individual("car", 3), seed=2, scene="studio", view=view)
        assert labels(graph)["azimuth"] == view
    assert np.sin(showing(individual("car", 3), seed=2, scene="studio", view="left").toys[0].turn) > 0.9


@pytest.mark.parametrize("task", TASKS)
def test_prompts_of_a_task_have_their_truth(task: str) -> None:
    """Every answer shows what its prompt asks for, and no prompt is in both splits."""
    answers: dict[str, Any] = {
        "pairs": [individual("dog", 3), individual("car", 4)],
        "relations": ["back to back with"],
        "actions": ["handstand"],
        "states": ["rusty"],
        "styles": [("neon", 3)],
        "pets": [individual("dog", 3)],
    }
    subjects = answers.get(task, [individual("car", 3)])
    first, second = (prompts(task, split) for split in ("dev", "held-out"))
    assert len(first) == len(second) == 20
    assert not {p.text for p in first} & {p.text for p in second}
    for prompt in second[:6]:
        graph = answer(prompt, subjects, seed=1)
        read = labels(graph)
        assert {name: read[name] for name in prompt.truth} == dict(prompt.truth), prompt.text
        assert "{" in prompt.text


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_move_over_time_and_come_back(action: str) -> None:
    assert "bear" in JOINTED
    graph = replace(showing(individual("bear", 3), seed=1, scene="studio", action=action), time=0.0)
    frames = draw([*clip(graph, 4), replace(graph, time=1.0)], size=64)
    assert (frames.pixels[0].int() - frames.pixels[4].int()).abs().max() <= 1
    standing = draw([replace(showing(individual("bear", 3), seed=1, scene="studio"), camera=graph.camera)], size=64)
    if action != "standing":
        assert (frames.part[1] != standing.part[0]).float().mean() > 0.01


@pytest.mark.parametrize("field", ["materials", "daytimes", "styles"])
def test_every_look_is_another_picture(field: str) -> None:
    options = {"materials": MATERIALS, "daytimes": DAYTIMES, "styles": STYLES}[field]
    name = field[:-1]
    graphs = [showing(individual("car", 3), seed=1, scene="meadow", **{name: option}) for option in options]  # type: ignore[arg-type]
    pixels = draw(graphs, size=48).pixels.float()
    for a in range(len(options)):
        for b in range(a):
            assert (pixels[a] - pixels[b]).abs().mean() > 0.5, (options[a], options[b])


def test_a_turntable_goes_around_and_truth_follows() -> None:
    graph = showing(individual("robot", 3), seed=1, scene="studio")
    drawn = draw(turntable(graph, 4), size=48)
    assert drawn.masks.flatten(1).any(1).all()
    assert (drawn.pixels[0].int() - drawn.pixels[2].int()).abs().float().mean() > 1


def test_a_panorama_goes_around_and_its_edges_meet() -> None:
    graph = replace(showing(individual("robot", 3), seed=1, scene="beach"), toys=())
    pixels = draw(panorama(graph, 6), size=48).pixels.float()
    for k in range(6):
        seam = (pixels[k, :, :, -1] - pixels[(k + 1) % 6, :, :, 0]).abs().mean()
        other = (pixels[k, :, :, -1] - pixels[(k + 3) % 6, :, :, 0]).abs().mean()
        assert seam < 20
        assert seam < other + 10


def test_faces_have_identity_expression_and_landmarks() -> None:
    ann, bob = person(1), person(2)
    graphs = [portrait(Face(who, look), seed=3) for who in (ann, bob) for look in ("neutral", "surprised")]
    drawn = draw(graphs, size=64)
    assert drawn.landmarks.shape == (4, 2, len(LANDMARKS), 2)
    assert torch.isnan(drawn.landmarks[:, 1]).all()
    landmarks = drawn.landmarks[:, 0]
    inside = (landmarks > 0) & (landmarks < 64)
    assert inside.all()
    left, right = LANDMARKS.index("left eye"), LANDMARKS.index("right eye")
    assert (landmarks[:, left, 0] < landmarks[:, right, 0]).all()
    assert (landmarks[:, LANDMARKS.index("chin"), 1] > landmarks[:, left, 1]).all()
    apart = [(drawn.pixels[a].int() - drawn.pixels[b].int()).abs().sum() for a, b in ((0, 1), (0, 2))]
    assert apart[1] > apart[0] > 0
    assert torch.isnan(draw(GRAPHS[:1], size=32).landmarks).all() or GRAPHS[0].face


@pytest.mark.parametrize("size", [32, 96])
def test_a_picture_is_the_same_scene_at_any_size(size: int) -> None:
    small = draw(GRAPHS[:4], size=size).pixels.float()
    large = draw(GRAPHS[:4], size=2 * size).pixels.float()
    halved = torch.nn.functional.avg_pool2d(large, 2)
    plain = [k for k in range(4) if GRAPHS[k].style == "render"]
    assert (halved - small)[plain].abs().mean() < 6


def test_closed_forms_hit_where_marching_does() -> None:
    """Each closed form against a dense walk along the ray."""
    generator = torch.Generator().manual_seed(0)
    origin = torch.randn(400, 3, generator=generator)
    origin = origin / origin.norm(dim=-1, keepdim=True) * 4
    direction = (torch.rand(400, 3, generator=generator) * 2.4 - 1.2) - origin
    direction = direction / direction.norm(dim=-1, keepdim=True)
    taper = torch.rand(400, generator=generator)
    t = torch.linspace(0, 8, 8001)
    points = origin[:, None] + t[None, :, None] * direction[:, None]
    x, y, z = points.unbind(-1)
    radius = (1 + taper[:, None]) / 2 - (1 - taper[:, None]) / 2 * y
    inside = {
        "ball": points.norm(dim=-1) < 1,
        "cube": points.abs().amax(-1) < 1,
        "cone": (y.abs() < 1) & (x**2 + z**2 < radius**2),
    }
    found = {"ball": ball(origin, direction), "cube": cube(origin, direction), "cone": cone(origin, direction, taper)}
    for name, within in inside.items():
        hit = within.any(1)
        first = torch.where(hit, t[within.float().argmax(1)], MISS)
        agree = (first - found[name]).abs() < 2e-3
        both_miss = ~hit & (found[name] == MISS)
        grazing = ~agree & ~both_miss
        assert grazing.float().mean() < 0.02, name
