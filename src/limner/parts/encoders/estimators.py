"""Conditions of photographs, estimated by networks of transformers that are opened from a folder or the hub."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.wording import listed
from limner.errors import FileError, InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

MARGIN = 1.25
"""Side of the crop that a pose network reads, relative to the person's box (as in transformers' image processor)."""
CERTAIN = 0.3
"""Least score of a keypoint that is drawn."""
STICK = 4 / 512
"""Half the width of a drawn limb and the radius of a keypoint, as shares of the picture's side (OpenPose's 4 pixels at
the 512 of Stable Diffusion)."""
BODY = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose's 18 keypoints (nose, neck, right arm, left arm, right leg, left leg, eyes, ears) -> numbers of COCO's 17;
the neck is the middle of both shoulders."""
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
"""Pairs of OpenPose's keypoints between which a limb is drawn."""
COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85)),
    *((0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255)),
    *((255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
"""Colour of each keypoint and, at 60 % of its brightness, of each limb."""
SURE = 0.5
"""Least score of a thing whose box is taken."""
GROUND = frozenset({"background", "unlabeled", "unlabelled", "unlabelled pixels", "bg", "void"})
"""Names of classes that are no things."""


def depth(pixels: Tensor, place: str, nouns: Sequence[str] = ()) -> Tensor:
    """[n, 1, H, W] in [0, 1]: inverse depth of each picture, 1 at its nearest point and 0 at its farthest.

    pixels: [n, 3, H, W] in [0, 1]
    place: folder or hub id of a model for depth estimation, such as Depth Anything or DPT
    nouns: not used

    Raises `FileError` for a model of another kind.
    """
    import torch
    import torch.nn.functional as F

    network, processor = opened(place, ("AutoModelForDepthEstimation",), "depth estimation, such as Depth Anything's")
    with torch.no_grad():
        inverse_depth = network(**processor(images=_bytes(pixels), return_tensors="pt")).predicted_depth[:, None]
    inverse_depth = F.interpolate(inverse_depth.float(), pixels.shape[2:], mode="bicubic", antialias=True)
    low, high = inverse_depth.amin((1, 2, 3), keepdim=True), inverse_depth.amax((1, 2, 3), keepdim=True)
    return (inverse_depth - low) / (high - low).clamp_min(1e-12)


def segmentation(pixels: Tensor, place: str, nouns: Sequence[str] = ()) -> Tensor:
    """[n, 1, H, W] of 0 and 1: where the subject is.

    The subject is the network's class of the noun; where it has none, everything but the background.

    pixels: [n, 3, H, W] in [0, 1]
    place: folder or hub id of a model for semantic or universal segmentation, such as SegFormer or Mask2Former
    nouns: class nouns of the subjects

    Raises `FileError` for a model of another kind, and `InputError` where its classes do not tell the subject, or a
    picture shows none.
    """
    import torch

    kinds = ("AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation")
    network, processor = opened(place, kinds, "segmentation, such as SegFormer's or Mask2Former's")
    if network.config.model_type == "oneformer":
        raise FileError(
            f"{place} is a OneFormer, which reads a task beside the picture: open a SegFormer or Mask2Former"
        )
    chosen = subject_classes(network.config.id2label, nouns, place)
    with torch.no_grad():
        output = network(**processor(images=_bytes(pixels), return_tensors="pt"))
    sizes = [tuple(pixels.shape[2:])] * len(pixels)
    maps = torch.stack(list(processor.post_process_semantic_segmentation(output, target_sizes=sizes)))
    masks = torch.isin(maps, torch.tensor(chosen))[:, None].float()
    if not bool(masks.amax((1, 2, 3)).all()):
        names = listed([str(network.config.id2label[k]) for k in chosen[:5]])
        raise InputError(
            f"the network in {place} finds nothing of the class {names} in the picture: give a mask of your own with "
            "--condition segmentation=FILE"
        )
    return masks


def subject_classes(labels: Mapping[int, str], nouns: Sequence[str], place: str) -> list[int]:
    """Numbers of the classes that the subject has: those of the nouns, else all but the background.

    labels: number of a class -> its name, or names with commas or semicolons between
    nouns: class nouns
    place: the network's place, for the error

    Raises `InputError` where no class has one of the nouns, and none is the background.
    """
    names, wanted = _names(labels), {_plain(noun) for noun in nouns}
    if own := [k for k, parts in names.items() if parts & wanted]:
        return own
    ground = [k for k, parts in names.items() if parts & GROUND] or ([0] if len(names) == 2 else [])
    if not ground or len(ground) == len(names):
        raise InputError(
            f"the network in {place} has no class {listed(sorted(wanted)) or 'of a subject'} and none for the "
            f"background; it knows {listed([str(label) for label in list(labels.values())[:8]])}, …: paint with a concept "
            "of such a class, open another network, or give a mask with --condition segmentation=FILE"
        )
    return [k for k in names if k not in ground]


def _names(labels: Mapping[int, str]) -> dict[int, set[str]]:
    """Number of a class -> its names."""
    return {int(k): {_plain(part) for part in re.split("[;,]", label)} for k, label in labels.items()}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def boxes(pixels: Tensor, place: str, nouns: Sequence[str]) -> list[tuple[float, float, float, float]]:
    """A box for each noun: left, top, right and bottom as shares of the picture. Equal nouns take different boxes, the
    surest first.

    pixels: [1, 3, H, W] in [0, 1]
    place: folder or hub id of a model for object detection, such as DETR or YOLOS
    nouns: class nouns of the subjects

    Raises `FileError` for a model of another kind, and `InputError` where a thing is not found.
    """
    import torch

    network, processor = opened(place, ("AutoModelForObjectDetection",), "object detection, such as DETR's or YOLOS's")
    with torch.no_grad():
        output = network(**processor(images=_bytes(pixels), return_tensors="pt"))
    (things,) = processor.post_process_object_detection(output, threshold=SURE, target_sizes=[(1, 1)])
    order, names = things["scores"].argsort(descending=True).tolist(), _names(network.config.id2label)
    seen = listed(sorted({str(network.config.id2label[int(things["labels"][k])]) for k in order})) or "nothing"
    taken: list[tuple[float, float, float, float]] = []
    for noun in nouns:
        own = next((k for k in order if _plain(noun) in names[int(things["labels"][k])]), None)
        if own is None:
            raise InputError(
                f"the network in {place} finds too few things of the class {noun} in the picture (it finds {seen}): give the "
                "places with --region NAME=BOX"
            )
        order.remove(own)
        left, top, right, bottom = things["boxes"][own].clamp(0, 1).tolist()
        taken.append((left, top, right, bottom))
    return taken


def pose(pixels: Tensor, place: str, nouns: Sequence[str] = ()) -> Tensor:
    """[n, 3, H, W] in [0, 1]: the skeleton of the person in each picture, on black, as OpenPose draws it.

    ControlNets of poses read such pictures (arXiv:2302.05543). The whole picture counts as the person's box: of several
    people, one is drawn.

    pixels: [n, 3, H, W] in [0, 1]
    place: folder or hub id of a ViTPose (arXiv:2204.12484) that knows COCO's 17 keypoints
    nouns: not used

    Raises `FileError` for a model of another kind, and `InputError` for a picture without a person.
    """
    import torch
    import torch.nn.functional as F

    network, processor = opened(place, ("VitPoseForPoseEstimation",), "pose estimation: a ViTPose")
    experts = getattr(network.config.backbone_config, "num_experts", 1) > 1
    size = int(processor.size["height"]), int(processor.size["width"])
    reach = _reach(pixels.shape[-1] / pixels.shape[-2], size[1] / size[0])
    theta = torch.tensor([[reach[0], 0.0, 0.0], [0.0, reach[1], 0.0]]).expand(len(pixels), -1, -1)
    grid = F.affine_grid(theta, [len(pixels), 3, *size], align_corners=False)
    crops = F.grid_sample(pixels.float().cpu(), grid, align_corners=False)
    mean, deviation = (torch.tensor(list(x)).view(1, 3, 1, 1) for x in (processor.image_mean, processor.image_std))
    more = {"dataset_index": torch.zeros(len(pixels), dtype=torch.long)} if experts else {}  # COCO is ViTPose++'s first
    with torch.no_grad():
        maps = network((crops - mean) / deviation, **more).heatmaps.float()
    if maps.shape[1] < 17:
        raise FileError(f"{place} finds {maps.shape[1]} keypoints; expected COCO's 17, or more that begin with them")
    places, scores = keypoints_of(maps[:, :17], reach)
    drawn = [skeleton(p, s, pixels.shape[-1], pixels.shape[-2]) for p, s in zip(places, scores, strict=True)]
    if None in drawn:
        raise InputError(
            f"the network in {place} finds no person in the picture: the person should fill it; crop the photo, or give a "
            "skeleton with --condition pose=FILE"
        )
    return torch.stack([_tensor(image) for image in drawn if image is not None]).to(pixels)


def _reach(aspect: float, crop: float) -> tuple[float, float]:
    """Width and height of the crop relative to the picture's.

    aspect: the picture's width / height
    crop: the crop's width / height
    """
    return (MARGIN, MARGIN * aspect / crop) if aspect > crop else (MARGIN * crop / aspect, MARGIN)


def keypoints_of(maps: Tensor, reach: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Places [n, K, 2] of keypoints, x and y as shares of the picture, and their scores [n, K].

    Each is a quarter of a position from its heatmap's peak, towards the higher neighbour (arXiv:1603.06937).

    maps: [n, K, h, w]: heatmaps over the crop
    reach: width and height of the crop relative to the picture's
    """
    import torch
    import torch.nn.functional as F

    high, wide = maps.shape[2:]
    scores, peaks = maps.flatten(2).max(2)
    y, x = peaks // wide, peaks % wide
    padded, rows = F.pad(maps, (1, 1, 1, 1), mode="replicate").flatten(2), wide + 2

    def near(down: int, across: int) -> Tensor:
        return padded.gather(2, ((y + 1 + down) * rows + x + 1 + across)[..., None])[..., 0]

    x_at = x + 0.5 + 0.25 * (near(0, 1) - near(0, -1)).sign()
    y_at = y + 0.5 + 0.25 * (near(1, 0) - near(-1, 0)).sign()
    of_crop = torch.stack([x_at / wide, y_at / high], -1) - 0.5
    return of_crop * torch.tensor(reach) + 0.5, scores


def skeleton(places: Tensor, scores: Tensor, width: int, height: int) -> Image.Image | None:
    """A drawing of a person in OpenPose's colours; None without two keypoints.

    places: [17, 2]: COCO's keypoints, x and y as shares of the picture
    scores: [17] in [0, 1]; keypoints below CERTAIN or outside of the picture are left out
    width: the picture's, in pixels
    height: the picture's, in pixels
    """
    from PIL import Image, ImageDraw

    shoulders = (places[5] + places[6]) / 2, scores[5:7].min()
    keypoints = [shoulders if k is None else (places[k], scores[k]) for k in BODY]
    points = [
        (float(at[0]) * width, float(at[1]) * height)
        if float(score) >= CERTAIN and 0 <= float(at.min()) <= float(at.max()) <= 1
        else None
        for at, score in keypoints
    ]
    if sum(point is not None for point in points) < 2:
        return None
    image = Image.new("RGB", (width, height))
    draw, stick = ImageDraw.Draw(image), max(1.0, STICK * max(width, height))
    for (first, second), colour in zip(LIMBS, COLOURS, strict=False):
        a, b = points[first], points[second]
        if a is not None and b is not None:
            draw.polygon(_ellipse(a, b, stick), fill=tuple(round(0.6 * channel) for channel in colour))
    for point, colour in zip(points, COLOURS, strict=True):
        if point is not None:
            x, y = point
            draw.ellipse((x - stick, y - stick, x + stick, y + stick), fill=colour)
    return image


def _ellipse(a: tuple[float, float], b: tuple[float, float], stick: float) -> list[tuple[float, float]]:
    """Corners around the ellipse between two points."""
    x, y, long = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, math.dist(a, b) / 2
    angle = math.atan2(b[1] - a[1], b[0] - a[0])
    turns = [2 * math.pi * k / 32 for k in range(32)]
    flat = [(long * math.cos(turn), stick * math.sin(turn)) for turn in turns]
    return [
        (x + u * math.cos(angle) - v * math.sin(angle), y + u * math.sin(angle) + v * math.cos(angle)) for u, v in flat
    ]


def _tensor(image: Image.Image) -> Tensor:
    """[3, H, W] in [0, 1]"""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)


def _bytes(pixels: Tensor) -> list[Tensor]:
    return [(255 * picture).round().byte().cpu() for picture in pixels]


def opened(place: str, kinds: Sequence[str], what: str) -> tuple[Any, Any]:
    """A network and the processor of its pictures, on the CPU.

    place: folder or hub id
    kinds: classes of transformers that open it; the first that fits does
    what: the task in the error's words

    Raises `FileError` for a place without a model, and for a model of another task.
    """
    import transformers

    folder = Path(place).expanduser()
    if not folder.is_dir() and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(place)):
        raise FileError(f"there is no folder {place}: expected a model for {what}")
    where, reasons = str(folder) if folder.is_dir() else str(place), []
    try:
        made = transformers.AutoConfig.from_pretrained(where).architectures or []
    except (OSError, ValueError) as error:
        raise FileError(f"{place} is no model for {what}: {_first_line(error)}") from error
    for kind in kinds:
        if made and not kind.startswith("Auto") and kind not in made:
            continue
        try:
            network = getattr(transformers, kind).from_pretrained(where).float().eval()
            if not made or type(network).__name__ in made:
                return network, transformers.AutoImageProcessor.from_pretrained(where)
            reasons.append("its head would be random")
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            reasons.append(_first_line(error))
    holds = [f"it holds a {made[0]}"] if made else []
    raise FileError(f"{place} is no model for {what}: {'; '.join([*holds, *reasons[:1]])}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


ESTIMATORS = {"depth": depth, "segmentation": segmentation, "pose": pose}
"""Condition -> its estimator from (pixels, folder or hub id, class nouns)."""
LAYOUT = "layout"
"""The condition that is boxes, by `boxes`."""
EXAMPLES = {
    "depth": "a model of transformers for depth estimation, such as Depth Anything",
    "segmentation": "a model of transformers for segmentation, such as SegFormer or Mask2Former",
    "pose": "a ViTPose of transformers",
}
"""Condition -> the network that estimates it, in words."""
