"""Judges of single questions: several things, landmarks, who a person is, and the hand that painted a picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from limner.errors import InputError
from limner.pocket import judges
from limner.pocket.networks import Landmarks, Manner, Reader
from limner.pocket.world import WHOLE, draw, sample
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.faces import LANDMARKS
from limner.pocket.world.vocabulary import CLASSES
from training.pocket import readers
from training.pocket.data import NUM_VIEWS, graphs_of, pictures
from training.pocket.judges import by_looks
from training.pocket.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), pictures=16, size=64, scale=0.0001, precision="float32")


def test_answers_and_things_are_matched_whatever_their_order() -> None:
    """Slots that are right in another order are matched to the things they are right about."""
    wanted = torch.tensor([[3, 5, readers.NOTHING], [7, 7, 2]])
    box = torch.tensor(
        [
            [[0.2, 0.5, 0.3, 0.6], [0.7, 0.5, 0.3, 0.6], [0.0] * 4],
            [[0.2, 0.5, 0.2, 0.4], [0.8, 0.5, 0.2, 0.4], [0.5, 0.5, 0.2, 0.4]],
        ]
    )
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])  # which slot holds each thing
    classes, found = torch.zeros(2, 3, len(CLASSES) + 1), torch.zeros(2, 3, 4)
    for row in range(2):
        for thing in range(3):
            classes[row, order[row, thing], wanted[row, thing]] = 6.0
            found[row, order[row, thing]] = box[row, thing]
    assert torch.equal(readers.matched(classes, found, wanted, box), order)


def test_boxes_of_masks_are_those_of_the_renderer() -> None:
    graphs = [sample(seed, world=WHOLE) for seed in range(200)]
    drawn = draw([graph for graph in graphs if len(graph.toys) > 1][:6], size=64)
    masks = torch.nn.functional.one_hot(drawn.toy.long() + 1, 4).movedim(-1, 1)[:, 1:].float()
    middle, extent = readers.framed(masks).split(2, -1)
    corners = torch.cat([middle - extent / 2, middle + extent / 2], -1) * 64
    torch.testing.assert_close(corners, drawn.boxes.float(), atol=1e-4, rtol=0)


def test_things_are_the_toys_of_a_graph(run: Run) -> None:
    graphs = graphs_of(run, "several")
    found = readers.things_of(tuple(graphs))
    for row, graph in enumerate(graphs):
        kinds = [CLASSES.index(toy.individual.kind) for toy in graph.toys]
        assert found["class"][row].tolist() == kinds + [readers.NOTHING] * (3 - len(kinds))


@pytest.mark.parametrize("stage", ["reader", "landmarks", "manner"])
def test_stages_train_and_finish(run: Run, stage: str) -> None:
    network = getattr(readers, stage)(run)
    assert run.finished(stage)
    again = getattr(readers, stage)(run)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_pictures_of_one_hand_show_different_things(run: Run) -> None:
    graphs = graphs_of(run, "manners")[:NUM_VIEWS]
    assert len({(graph.style, graph.style_seed) for graph in graphs}) == 1
    assert len({(graph.scene, graph.seed) for graph in graphs}) == NUM_VIEWS


def test_a_landmark_falls_where_its_map_is() -> None:
    network = Landmarks(2)
    pixels = torch.zeros(1, 3, 64, 64)
    assert network(pixels).shape == (1, 2, 2)
    with torch.no_grad():
        network.out.weight.zero_()
        assert network.out.bias is not None
        network.out.bias.zero_()
    torch.testing.assert_close(network(pixels), torch.full((1, 2, 2), 0.5))


def test_the_style_network_reads_how_and_not_where() -> None:
    """Shuffling a picture's quarters leaves nearly the same vector; another look does not."""
    torch.manual_seed(0)
    network, picture = Manner().eval(), torch.rand(1, 3, 64, 64)
    moved = torch.cat([picture[..., 32:], picture[..., :32]], -1)
    near = (network(picture) * network(moved)).sum()
    far = (network(picture) * network(torch.nn.functional.avg_pool2d(picture, 9, 1, 4))).sum()
    assert near > 0.85
    assert near > far


def test_landmarks_of_people_lie_on_them(run: Run) -> None:
    data = pictures(run, "people")
    points = landmarks_of(data.graphs[0], run.size)[0]
    nose = points[LANDMARKS.index("nose tip")].round().astype(int).clip(0, run.size - 1)
    assert data.masks[0, nose[1], nose[0]]
    assert 0.05 < float(readers.face_width(torch.from_numpy(points)[None].float() / run.size)[0]) < 0.8


def test_a_judge_that_does_not_ship_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(judges, "WEIGHTS", tmp_path)
    judges.network.cache_clear()
    with pytest.raises(InputError, match="ships no judge named 'reader'"):
        judges.things(torch.zeros(1, 3, 128, 128))
    judges.network.cache_clear()


def test_the_reader_answers_for_every_slot() -> None:
    logits, box = Reader({"class": 4, "colour": 3})(torch.rand(2, 3, 64, 64))
    assert logits["class"].shape == (2, 3, 4)
    assert box.shape == (2, 3, 4)
    assert (box > 0).all()
    assert (box < 1).all()


def dots(points: Tensor) -> Tensor:
    """[B, 2] (x, y) as fractions -> [B, 3, 64, 64] with a soft dot at each point."""
    at = (torch.arange(64) + 0.5) / 64
    far = (at[None, None, :] - points[:, 0, None, None]) ** 2 + (at[None, :, None] - points[:, 1, None, None]) ** 2
    return torch.exp(-far / 0.003)[:, None].expand(-1, 3, -1, -1).contiguous()


def middle_of(pixels: Tensor) -> Tensor:
    """[B, 3, S, S] -> [B, 2]: the mean position (x, y) of the light, as fractions."""
    light, at = pixels[:, 0], (torch.arange(pixels.shape[-1]) + 0.5) / pixels.shape[-1]
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * at).sum(1), (light.sum(2) * at).sum(1)], 1) / total[:, None]


def test_a_square_enlarges_and_a_negative_side_mirrors() -> None:
    points = torch.tensor([[0.5, 0.5], [0.45, 0.55], [0.45, 0.55]])
    side = torch.tensor([0.5, 0.5, -0.5])
    seen = middle_of(judges.squares(dots(points), torch.full((3, 2), 0.5), side))
    assert torch.allclose(seen, torch.tensor([[0.5, 0.5], [0.4, 0.6], [0.6, 0.6]]), atol=5e-3)


def test_landmarks_follow_the_square_and_change_sides_in_a_mirror() -> None:
    left, right = LANDMARKS.index("left eye"), LANDMARKS.index("right eye")
    points = torch.full((32, len(LANDMARKS), 2), 0.5)
    points[:, left] = torch.tensor([0.42, 0.48])
    points[:, right] = torch.tensor([0.60, 0.52])
    pictures = dots(points[:, left])
    pictures[:, 1:] = dots(points[:, right])[:, 1:]
    seen, moved = readers.seen_nearer(pictures, points, torch.Generator().manual_seed(0))
    flipped = moved[:, left, 0] < 0  # neither is ever outside
    assert not flipped.any()
    sides = [middle_of(seen[:, :1]), middle_of(seen[:, 1:2])]
    mirrored = sides[0][:, 0] > sides[1][:, 0]
    assert 8 < mirrored.sum() < 24
    for k, (one, other) in enumerate(((left, right), (right, left))):
        wanted = torch.where(mirrored[:, None], moved[:, other], moved[:, one])
        inside = ((wanted > 0.12) & (wanted < 0.88)).all(1)  # a dot that is cut has its middle elsewhere
        assert inside.sum() > 12
        assert torch.allclose(sides[k][inside], wanted[inside], atol=0.02)
    assert readers.SIDES[readers.SIDES].tolist() == list(range(len(LANDMARKS)))


def test_landmarks_are_read_again_near_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def network(pixels: Tensor) -> Tensor:
        asked.append(pixels)
        spread = torch.tensor([[-0.1, -0.1], [0.1, 0.1], [0.0, 0.0]])
        return middle_of(pixels)[:, None] + spread

    monkeypatch.setattr(judges, "network", lambda name: network)
    points = torch.tensor([[0.35, 0.6], [0.5, 0.5]])
    read = judges.landmarks(dots(points))
    assert torch.allclose(read[:, 2], points * 64, atol=0.5)
    assert len(asked) == 2
    assert asked[1].sum() > 2 * asked[0].sum()  # the dots are larger there


def test_people_in_a_group_of_a_batch_are_alike(tmp_path: Path) -> None:
    graphs = graphs_of(Run(tmp_path, pictures=64), "people")[::NUM_VIEWS]
    order = by_looks(graphs)
    assert sorted(order) == list(range(64))

    def same(order: list[int]) -> int:
        people = [graphs[k].people[0].person for k in order]
        looks = [(who.hairstyle, who.hair_colour) for who in people]
        return sum(first == second for first, second in itertools.pairwise(looks))

    assert same(order) > 3 * same(list(range(64)))


def test_a_square_around_one_thing_says_which_others_it_still_shows() -> None:
    masks = torch.zeros(40, 3, 64, 64)
    masks[:, 0, 20:32, 4:16] = 1
    masks[:, 1, 20:32, 48:60] = 1
    pixels = masks.clone()
    near, there, shown = readers.one_nearer(pixels, masks, torch.Generator().manual_seed(0))
    assert not shown[:, 2].any()
    assert shown[:, :2].any(1).all()
    alone = shown[:, :2].sum(1) == 1
    assert 8 < alone.sum() < 38
    torch.testing.assert_close(near, there)  # pictures and masks move together
    size = readers.framed(there)[..., 2].amax(1)
    assert (size[alone] > 1.5 * 12 / 64).all()
    assert (size[~alone] < 1.5 * 12 / 64).any()


def test_a_thing_is_found_in_the_picture_and_read_in_a_square_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a small blob for a class and a large one for another: the second look counts."""
    small, large, nothing = 0, 1, len(CLASSES)

    def reader(pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        area = pixels.mean((2, 3))  # [B, 3]: a slot for each channel
        classes = torch.zeros(len(pixels), 3, nothing + 1)
        kind = torch.where(area < 1e-4, nothing, torch.where(area < 0.008, small, large))
        classes.scatter_(-1, kind[..., None], 9.0)
        points = torch.stack([middle_of(pixels[:, k : k + 1] + 1e-9) for k in range(3)], 1)
        looks = {"colour": torch.zeros(len(pixels), 3, 4), "pattern": torch.zeros(len(pixels), 3, 2)}
        return {"class": classes, **looks}, torch.cat([points, torch.full((len(pixels), 3, 2), 0.3)], -1)

    monkeypatch.setattr(judges, "network", lambda name: reader)
    pictures = dots(torch.tensor([[0.3, 0.3], [0.6, 0.6]])) ** 3  # a blob of each channel in the same place
    pictures[0, 2] = 0
    pictures[1] = 0
    found = judges.things(pictures)
    assert [[thing["class"] for thing in each] for each in found] == [[CLASSES[large]] * 2, []]
