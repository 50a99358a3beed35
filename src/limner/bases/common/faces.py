"""Face networks for a base: those that ship with limner, or networks for photographs from the user's folder or file.

- "pocket": limner's own networks.
- A folder with facenet-pytorch's InceptionResnetV1 (.safetensors or .pt), with `pip install limner[facenet]`. Its code
  is under MIT; its weights were learned from VGGFace2 or CASIA-WebFace, collected for research.
- A folder with insightface's models (.onnx), such as buffalo_l, with `pip install limner[insightface]`. Its code is
  under MIT; its models are for non-commercial research only.
- "FILE.py:FUNCTION": the user's own function that returns `limner.core.faces.FaceNetworks`.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.faces import FIVE, FoundFace
from limner.errors import FileError, InputError, MissingExtra

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.capabilities import Capabilities
    from limner.core.faces import FaceNetworks

WHAT_TO_GIVE = (
    "a folder with facenet-pytorch's InceptionResnetV1 (.safetensors or .pt; weights learned from research data), a "
    "folder with insightface's models (.onnx, such as buffalo_l; for non-commercial research only), or FILE.py:FUNCTION"
)

GROWN, OLD = 18, 65
"""Age in years at which a face counts as adult, and as old."""


def with_faces(capabilities: Capabilities, networks: FaceNetworks) -> Capabilities:
    """The capabilities with these face networks: role "face" embeds faces, role "landmarks" detects their points where
    the networks can."""
    roles = {"face": networks.embed} | ({"landmarks": networks.landmarks} if networks.landmarks else {})
    others = {role: encoder for role, encoder in capabilities.encoders.items() if role not in ("face", "landmarks")}
    return replace(capabilities, encoders={**others, **roles}, faces=networks)


def open_faces(where: str | Path, *, device: str = "cpu") -> FaceNetworks:
    """Open face networks.

    where: "pocket", a folder, or "FILE.py:FUNCTION"
    device: "cpu", or the name of a CUDA device

    Raises `FileError` where there are none, and `MissingExtra` where their library is not installed.
    """
    if str(where) == "pocket":
        from limner.pocket.capabilities import CAPABILITIES

        assert CAPABILITIES.faces is not None
        return CAPABILITIES.faces
    path, _, function = str(where).partition(".py:")
    if function:
        return _from_file(Path(path + ".py").expanduser(), function)
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise FileError(f"{where} is no folder of face networks; expected {WHAT_TO_GIVE}")
    if sorted(folder.glob("*.onnx")):
        return InsightFaces(folder, device)
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.pt")])
    if not weights:
        raise FileError(f"{folder} has no weights of face networks; expected {WHAT_TO_GIVE}")
    return FacenetFaces(weights[0], device)


def _from_file(path: Path, function: str) -> FaceNetworks:
    if not path.is_file():
        raise FileError(f"there is no file {path}")
    made = runpy.run_path(str(path)).get(function)
    if not callable(made):
        raise FileError(f"{path} has no function {function!r} that returns face networks")
    networks: FaceNetworks = made()
    lacking = [name for name in ("name", "find", "embed", "landmarks", "age") if not hasattr(networks, name)]
    if lacking:
        raise FileError(
            f"{path}:{function} returned a {type(networks).__name__} without {', '.join(lacking)}; expected "
            "limner.core.faces.FaceNetworks"
        )
    return networks


def largest(faces: Sequence[FoundFace]) -> FoundFace | None:
    """The face with the largest box (the protocol of Persona and FastComposer); None for an empty list."""
    return max(faces, key=lambda face: face.height * (face.box[2] - face.box[0]), default=None)


def cut_boxes(pixels: Tensor, boxes: Sequence[tuple[float, float, float, float] | None], size: int) -> Tensor:
    """Crop each picture to its box and resize it: [n, 3, H, W] -> [n, 3, size, size]. Gradients pass.

    pixels: [n, 3, H, W]
    boxes: (left, top, right, bottom) in pixels for each picture; None takes the whole picture
    size: height and width of a crop, in pixels
    """
    import torch
    import torch.nn.functional as F

    high, wide = pixels.shape[-2:]
    maps = []
    for box in boxes:
        left, top, right, bottom = box or (0.0, 0.0, float(wide), float(high))
        maps.append(
            [
                [(right - left) / wide, 0, (left + right) / wide - 1],
                [0, (bottom - top) / high, (top + bottom) / high - 1],
            ]
        )
    grid = F.affine_grid(torch.tensor(maps).to(pixels), [len(pixels), 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def marked(faces: Sequence[FoundFace | None], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """[n, 5, 2]: the five points (x, y) of each face as fractions of the picture's width and height; NaN where there is
    no face.

    faces: one face, or None, for each picture
    sizes: (width, height) of each picture, in pixels
    """
    import torch

    rows = [
        [[x / wide, y / high] for x, y in face.points]
        if face is not None and face.points
        else [[float("nan")] * 2] * len(FIVE)
        for face, (wide, high) in zip(faces, sizes, strict=True)
    ]
    return torch.tensor(rows)


class _OfPhotographs:
    """Common behaviour of both libraries: the largest face of a picture counts; detection passes no gradients."""

    name: str

    def find(self, image: Image.Image) -> list[FoundFace]:
        raise AssertionError("each library implements this")

    def find_largest(self, pixels: Tensor) -> list[FoundFace | None]:
        """The largest face of each picture [n, 3, H, W]."""
        return [largest(self.find(_image(picture))) for picture in pixels.detach()]

    @property
    def landmarks(self) -> FivePoints:
        return FivePoints(self.find_largest)

    def age(self, image: Image.Image) -> str:
        return ""


class FivePoints:
    """The five points of a face detector. No gradients pass."""

    names = FIVE

    def __init__(self, find: Callable[[Tensor], list[FoundFace | None]]) -> None:
        self._find = find

    def __call__(self, pixels: Tensor) -> Tensor:
        high, wide = pixels.shape[-2:]
        return marked(self._find(pixels), [(wide, high)] * len(pixels)).to(pixels)


class FacenetFaces(_OfPhotographs):
    """facenet-pytorch: MTCNN (arXiv:1604.02878) detects faces, an InceptionResnetV1 (FaceNet, arXiv:1503.03832) embeds
    them. Gradients pass through the crop and the network."""

    SIZE = 160
    """Height and width of the network's input, in pixels."""

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        library = _library("facenet_pytorch", "facenet")
        self.name = f"facenet-pytorch ({weights.name})"
        self._finder = library.MTCNN(keep_all=True, device=device)
        self._network = library.InceptionResnetV1(pretrained=None, classify=False).eval().requires_grad_(False)
        state = {name: value for name, value in _state(weights).items() if not name.startswith("logits.")}
        try:
            self._network.load_state_dict(state)
        except RuntimeError as error:
            raise FileError(
                f"{weights} is no InceptionResnetV1 of facenet-pytorch: {str(error).splitlines()[1].strip()}"
            ) from error
        self._network.to(device)

    def find(self, image: Image.Image) -> list[FoundFace]:
        boxes, certainties, points = self._finder.detect(image.convert("RGB"), landmarks=True)
        if boxes is None:
            return []
        return _from_left(
            FoundFace(_four(box), tuple((float(x), float(y)) for x, y in five), float(sure))
            for box, sure, five in zip(boxes, certainties, points, strict=True)
        )

    def embed(self, pixels: Tensor) -> Tensor:
        import torch.nn.functional as F

        faces = self.find_largest(pixels)
        crops = cut_boxes(pixels.float(), [face.box if face else None for face in faces], self.SIZE)
        near = self._network((crops * 255 - 127.5) / 128)  # the library's own standardisation
        return F.normalize(near.float(), dim=-1) * _there(faces, pixels)


class InsightFaces(_OfPhotographs):
    """insightface's ONNX models of one folder: a detector (SCRFD, arXiv:2105.04714) and a recogniser (ArcFace,
    arXiv:1801.07698). No gradients pass: an objective that needs gradients needs facenet-pytorch."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        zoo = _library("insightface.model_zoo", "insightface")
        self.name = f"insightface ({folder.name})"
        models = [zoo.get_model(str(path), providers=_providers(device)) for path in sorted(folder.glob("*.onnx"))]
        self._finder = _of_task(models, "detection", folder)
        self._finder.prepare(-1 if device == "cpu" else 0, input_size=(640, 640), det_thresh=0.5)
        self._recogniser = _of_task(models, "recognition", folder)
        self._ages = next((model for model in models if getattr(model, "taskname", "") == "genderage"), None)

    def find(self, image: Image.Image) -> list[FoundFace]:
        boxes, points = self._finder.detect(_bgr(image), max_num=0)
        return _from_left(
            FoundFace(_four(box), tuple((float(x), float(y)) for x, y in five), float(box[4]))
            for box, five in zip(boxes, points, strict=True)
        )

    def embed(self, pixels: Tensor) -> Tensor:
        import numpy as np
        import torch
        import torch.nn.functional as F

        if pixels.requires_grad:
            raise InputError(
                f"{self.name} has no gradients, which this objective needs: ONNX models cannot be differentiated here. "
                "Give a folder with facenet-pytorch's InceptionResnetV1"
            )
        cut = _library("insightface.utils.face_align", "insightface").norm_crop
        images, faces = [_image(picture) for picture in pixels], self.find_largest(pixels)
        rows = [
            self._recogniser.get_feat(cut(_bgr(image), landmark=np.array(face.points, dtype=np.float32))).reshape(-1)
            if face
            else None
            for image, face in zip(images, faces, strict=True)
        ]
        wide = next((len(row) for row in rows if row is not None), 512)
        near = torch.stack(
            [torch.zeros(wide) if row is None else torch.from_numpy(np.asarray(row)).float() for row in rows]
        )
        return F.normalize(near, dim=-1).to(pixels.device)

    def age(self, image: Image.Image) -> str:
        """ "child", "adult" or "old", by the folder's model for ages (buffalo_l has one); empty where it has none."""
        face = largest(self.find(image))
        if self._ages is None or face is None:
            return ""
        years = float(self._ages.get(_bgr(image), _Boxed(face.box))[1])
        return "child" if years < GROWN else "old" if years >= OLD else "adult"


class _Boxed(dict[str, Any]):
    """A face in the form that insightface's models take: a dictionary whose values are attributes too."""

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        import numpy as np

        super().__init__()
        self.bbox = np.array(box, dtype=np.float32)


def _of_task(models: Sequence[Any], task: str, folder: Path) -> Any:
    model = next((model for model in models if getattr(model, "taskname", "") == task), None)
    if model is None:
        raise FileError(f"{folder} has no ONNX model for {task}; expected a folder such as insightface's buffalo_l")
    return model


def _library(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"faces of photographs need {module.partition('.')[0].replace('_', '-')}: "
            f"`pip install limner[{extra}]` ({error})"
        ) from error


def _state(weights: Path) -> Mapping[str, Tensor]:
    from limner.core.tensor_files import read_pickle, read_tensors

    return read_pickle(weights) if weights.suffix == ".pt" else read_tensors(weights, what="recogniser of faces")[1]


def _providers(device: str) -> list[str]:
    return ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _there(faces: Sequence[FoundFace | None], pixels: Tensor) -> Tensor:
    """[n, 1]: 1 for pictures with a face, 0 for others."""
    import torch

    return torch.tensor([[float(face is not None)] for face in faces], device=pixels.device)


def _four(box: Any) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _from_left(faces: Any) -> list[FoundFace]:
    return sorted(faces, key=lambda face: face.middle[0])


def _image(picture: Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] as a PIL picture."""
    from PIL import Image

    array = (picture.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array)


def _bgr(image: Image.Image) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
