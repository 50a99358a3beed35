"""Judges of single questions: several things, landmarks, and the hand that painted a picture."""

from __future__ import annotations

import pytest
import torch

from limner.errors import InputError
from limner.pocket import judges
from limner.pocket.networks import Landmarks, Manner, Reader
from limner.pocket.world import WHOLE, draw, sample
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.faces import LANDMARKS
from limner.pocket.world.vocabulary import CLASSES
from training.pocket import readers
from training.pocket.data import NUM_VIEWS, graphs_of, pictures
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
