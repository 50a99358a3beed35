"""Networks of faces: the pocket's, those of two libraries by their folders, and a user's own by its file."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.bases.common.faces import open_faces, with_faces
from limner.core.capabilities import NONE
from limner.core.faces import FIVE
from limner.core.pixels import to_images, to_tensor
from limner.errors import FileError, InputError, MissingExtra
from limner.parts.encoders import face_embedding, face_landmarks, face_points, landmark_names
from limner.pocket import face_networks, judges
from limner.pocket.networks import Landmarks
from limner.pocket.world import WHOLE, draw
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.faces import LANDMARKS
from limner.pocket.world.portraits import sample_people
from tests.painted_faces import PaintedFaces, photograph

SEAM = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"


def test_the_pocket_recogniser_gives_unit_vectors_and_gradients(base: Any) -> None:
    pixels = torch.rand(2, 3, 128, 128, requires_grad=True)
    found = face_embedding(base, pixels)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    (grad,) = torch.autograd.grad(found[0, 0], pixels)
    assert float(grad[0].abs().sum()) > 0
    assert float(grad[1].abs().sum()) == 0


def test_heads_of_the_world_are_found_by_the_segmenter(
    base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(face_networks.PocketFaces, "landmarks", None)
    graphs = [sample_people(s, np.random.default_rng(s), world=WHOLE, split="held-out") for s in range(24)]
    alone = [graph for graph in graphs if len(graph.people) == 1]
    inside = 0
    for graph, image in zip(alone, to_images(draw(alone).pixels.float() / 255), strict=True):
        points, found = landmarks_of(graph, 128)[0], base.capabilities.faces.find(image)
        middle = np.array(found[0].middle) if found else np.zeros(2)
        inside += bool((points.min(0) < middle).all() and (middle < points.max(0)).all())
    assert inside >= 0.6 * len(alone)


def test_figures_are_cut_between_two_heads() -> None:
    inside = np.zeros((128, 128), dtype=bool)
    inside[20:60, 20:50] = inside[20:60, 70:100] = inside[60:] = True
    left, right = face_networks.figures(inside)
    assert face_networks.head(left) is not None
    assert not left[:, 60:].any()
    assert not right[:, :60].any()
    assert face_networks.figures(np.zeros((128, 128), dtype=bool)) == []
    assert face_networks.head(np.zeros((128, 128), dtype=bool)) is None


def test_landmarks_mark_faces_where_the_detector_ships(
    base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With weights of a detector that always marks the same shares, a found face has their box in its own portrait."""
    marks = torch.rand(len(LANDMARKS), 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    networks = face_networks.PocketFaces(lambda name, pixels: marks.expand(len(pixels), -1, -1))
    (tmp_path / "landmarks.safetensors").touch()
    monkeypatch.setattr(judges, "WEIGHTS", tmp_path)
    face = networks._marked(photograph((0, 100, 90)), (100.0, 100.0, 190.0, 190.0))
    left, top, side = 46, 46, 198  # the square of 2.2 heights
    assert face.box[0] == pytest.approx(left + float(marks[:, 0].min()) * side, abs=0.1)
    assert face.points[2] == pytest.approx(
        tuple((left, top) + marks[LANDMARKS.index("nose tip")].numpy() * side), abs=0.1
    )
    assert Landmarks(len(LANDMARKS))(torch.rand(1, 3, 64, 64)).shape == (1, *marks.shape)


def test_a_file_of_the_users_own(base: Any) -> None:
    capable = SimpleNamespace(name="x", capabilities=with_faces(NONE, open_faces(SEAM)))
    capable.encoders = capable.capabilities.encoders
    pixels = to_tensor([photograph((0, 100, 90), size=(300, 300)), photograph(size=(300, 300))], 300)
    assert landmark_names(capable) == FIVE
    assert bool(face_landmarks(capable, pixels)[1].isnan().all())
    torch.testing.assert_close(face_points(capable, pixels), face_landmarks(capable, pixels), equal_nan=True)
    assert float(face_points(capable, pixels)[0, 2, 0]) == pytest.approx(145 / 300, abs=0.01)


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ("nowhere", "no folder of face networks; expected a folder with facenet-pytorch"),
        ("{tmp}", "has no weights of face networks"),
        ("{tmp}/none.py:networks", "there is no file"),
        (SEAM.replace(":networks", ":nothing"), "has no function 'nothing'"),
        (SEAM.replace(":networks", ":photograph"), "returned a Image without name, find, embed"),
    ],
)
def test_what_are_no_networks_is_said(where: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=word):
        open_faces(where.format(tmp=tmp_path))


def test_a_base_without_a_role_says_what_to_open() -> None:
    plain: Any = SimpleNamespace(name="a folder", capabilities=NONE, encoders={})
    with pytest.raises(InputError, match="comes with no recogniser of faces: open it with faces=FOLDER"):
        face_embedding(plain, torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="comes with no landmark detector"):
        face_points(plain, torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(("file", "extra"), [("x.onnx", "insightface"), ("x.safetensors", "facenet")])
def test_a_library_that_is_missing_is_said_with_its_extra(
    file: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("facenet_pytorch", "insightface", "insightface.model_zoo"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / file).touch()
    with pytest.raises(MissingExtra, match=rf"pip install limner\[{extra}\]"):
        open_faces(tmp_path)


class _Resnet(nn.Module):
    """As facenet-pytorch's, small: unit vectors of crops of 160 pixels in [-1, 1]."""

    def __init__(self, pretrained: str | None = None, classify: bool = False) -> None:
        super().__init__()
        assert pretrained is None  # which would fetch weights
        assert not classify
        self.last_linear = nn.Linear(3, 8, bias=False)

    def forward(self, crops: Tensor) -> Tensor:
        assert crops.shape[1:] == (3, 160, 160)
        assert float(crops.detach().abs().max()) <= 1
        return nn.functional.normalize(self.last_linear(crops.mean((2, 3))), dim=1)


class _MTCNN:
    def __init__(self, keep_all: bool, device: str) -> None:
        assert keep_all

    def detect(self, image: Any, landmarks: bool) -> tuple[Any, Any, Any]:
        faces = PaintedFaces().find(image)[::-1]
        if not faces:
            return None, [None], None
        return (*(np.array([getattr(face, name) for face in faces]) for name in ("box", "certainty", "points")),)  # type: ignore[return-value]


@pytest.fixture
def facenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", SimpleNamespace(MTCNN=_MTCNN, InceptionResnetV1=_Resnet))  # type: ignore[arg-type]
    weights = {"last_linear.weight": torch.randn(8, 3), "logits.weight": torch.zeros(10, 8)}
    save_file(weights, tmp_path / "vggface2.safetensors")
    return tmp_path


def test_facenet_embeds_the_largest_face_with_gradients(facenet: Path) -> None:
    networks = open_faces(facenet)
    both = to_tensor([photograph((0, 20, 60), (1, 150, 120), size=(300, 300)), photograph(size=(300, 300))], 300)
    pixels = both.requires_grad_()
    found = networks.embed(pixels)
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 0.0]))
    (grad,) = torch.autograd.grad(found.sum(), pixels)
    assert float(grad[0, :, 110:210, 160:260].abs().sum()) > 0  # the larger face
    assert float(grad[0, :, :, :140].abs().sum()) == 0
    assert float(grad[1].abs().sum()) == 0
    (left, right) = networks.find(photograph((0, 20, 60), (1, 150, 120)))
    assert left.box[0] < right.box[0]
    assert networks.landmarks is not None
    assert networks.landmarks(both).shape == (2, 5, 2)


def test_weights_that_are_no_recogniser_are_said(facenet: Path) -> None:
    save_file({"something.else": torch.zeros(2)}, facenet / "vggface2.safetensors")
    with pytest.raises(FileError, match="is no InceptionResnetV1 of facenet-pytorch"):
        open_faces(facenet)


class _Detector:
    taskname = "detection"

    def prepare(self, where: int, input_size: tuple[int, int], det_thresh: float) -> None:
        assert where == -1

    def detect(self, image: np.ndarray, max_num: int) -> tuple[np.ndarray, np.ndarray]:
        from PIL import Image

        faces = PaintedFaces().find(Image.fromarray(image[:, :, ::-1]))
        boxes = np.array([[*face.box, 0.9] for face in faces]).reshape(-1, 5)
        return boxes, np.array([face.points for face in faces])


class _Recogniser:
    taskname = "recognition"

    def get_feat(self, crop: np.ndarray) -> np.ndarray:
        return crop.reshape(-1, 3).mean(0, keepdims=True).repeat(2, 0).reshape(1, -1)


class _Ages:
    taskname = "genderage"

    def get(self, image: np.ndarray, face: Any) -> tuple[int, float]:
        return 1, 9.0 if face.bbox[3] - face.bbox[1] < 60 else 70.0


@pytest.fixture
def insight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made: dict[str, Any] = {"det_10g": _Detector(), "w600k_r50": _Recogniser(), "genderage": _Ages()}
    zoo = SimpleNamespace(get_model=lambda path, providers: made[Path(path).stem])
    cut = SimpleNamespace(norm_crop=lambda image, landmark: image[100:112, 160:172])
    monkeypatch.setitem(sys.modules, "insightface", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", zoo)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "insightface.utils.face_align", cut)  # type: ignore[arg-type]
    for name in made:
        (tmp_path / f"{name}.onnx").touch()
    return tmp_path


def test_insightface_reads_its_folder_and_has_no_gradients(insight: Path) -> None:
    networks = open_faces(insight)
    pixels = to_tensor([photograph((0, 150, 90), size=(300, 300)), photograph(size=(300, 300))], 300)
    found = networks.embed(pixels)
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 0.0]))
    assert networks.landmarks is not None
    assert float(networks.landmarks(pixels)[0, 2, 0]) == pytest.approx(195 / 300, abs=0.01)
    assert [networks.age(photograph((0, 150, side))) for side in (40, 90)] == ["child", "old"]
    assert networks.age(photograph()) == ""
    with pytest.raises(InputError, match="has no gradients, which this objective needs"):
        networks.embed(pixels.requires_grad_())
    (insight / "w600k_r50.onnx").unlink()
    with pytest.raises(FileError, match="no ONNX model for recognition"):
        open_faces(insight)
