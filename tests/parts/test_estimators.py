"""Conditions of photographs by networks opened from folders: small random ones, in transformers' layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.errors import FileError, InputError
from limner.parts.encoders.conditions import computed
from limner.parts.encoders.estimators import COLOURS, boxes, keypoints_of, skeleton, subject_classes

LABELS = {0: "background", 1: "dog", 2: "sofa;couch"}


def segformer(place: Path, labels: dict[int, str], *, always: int | None = None) -> str:
    """A random SegFormer; with `always`, one that finds this class everywhere."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[1, 1], hidden_sizes=[8, 8], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 1], mlp_ratios=[1, 1], decoder_hidden_size=8, id2label=labels,
        label2id={name: k for k, name in labels.items()},
    )  # fmt: skip
    network = SegformerForSemanticSegmentation(config)
    if always is not None:
        network.decode_head.classifier.bias.data[always] = 1e3
    network.save_pretrained(place)
    SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(place)
    return str(place)


def vitpose(place: Path, *, keypoints: int = 17, level: float = 1.0, experts: int = 1) -> str:
    """A random ViTPose whose scores are all near `level`."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessorPil

    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_experts=experts, part_features=8, out_indices=[1],
    )  # fmt: skip
    labels = {k: str(k) for k in range(keypoints)}
    network = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, use_simple_decoder=True, id2label=labels)
    )
    network.head.conv.bias.data.fill_(level)
    network.save_pretrained(place)
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def test_the_subject_is_the_class_of_its_noun_or_all_but_the_background(tmp_path: Path, photos: Tensor) -> None:
    """A network that finds a dog everywhere, and one that finds a sofa."""
    for always, noun, other in ((1, "Dog", "couch"), (2, "couch", "dog")):
        folders = {"segmentation": segformer(tmp_path / noun, LABELS, always=always)}
        for asked in (noun, "teapot"):
            mask = computed("segmentation", photos, folders, nouns=[asked])
            assert mask.shape == (2, 1, 40, 40)
            assert bool(mask.eq(1).all())
        with pytest.raises(InputError, match=r"finds nothing of the class .*--condition segmentation=FILE"):
            computed("segmentation", photos, folders, nouns=[other])


def test_a_universal_network_segments_too(tmp_path: Path, photos: Tensor) -> None:
    from transformers import (
        DetrConfig,
        MaskFormerConfig,
        MaskFormerForInstanceSegmentation,
        MaskFormerImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    detr = DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=8,
    )  # fmt: skip
    config = MaskFormerConfig(
        fpn_feature_size=32, mask_feature_size=32, backbone_config=swin, decoder_config=detr, id2label=LABELS,
    )  # fmt: skip
    network = MaskFormerForInstanceSegmentation(config)
    network.class_predictor.bias.data[1] = 10.0
    network.save_pretrained(tmp_path)
    MaskFormerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    mask = computed("segmentation", photos, {"segmentation": str(tmp_path)}, nouns=["dog"])
    assert mask.shape == (2, 1, 40, 40)
    assert bool(mask.eq(1).all())


def test_classes_that_do_not_tell_the_subject() -> None:
    assert subject_classes({0: "LABEL_0", 1: "LABEL_1"}, ["dog"], "here") == [1]
    assert subject_classes({0: "wall", 1: "person, individual", 2: "dog"}, ["Person"], "here") == [1]
    with pytest.raises(InputError, match=r"no class teapot and none for the background; it knows wall, dog, sky"):
        subject_classes({0: "wall", 1: "dog", 2: "sky"}, ["teapot"], "here")


@pytest.mark.parametrize("experts", [1, 6])
def test_a_pose_is_a_skeleton_on_black(tmp_path: Path, photos: Tensor, experts: int) -> None:
    place = vitpose(tmp_path, experts=experts)
    shown = computed("pose", photos, {"pose": place})
    assert shown.shape == photos.shape
    colours = {tuple(round(255 * c) for c in pixel) for pixel in shown.permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
    dim = {tuple(round(0.6 * channel) for channel in colour) for colour in COLOURS}
    assert (0, 0, 0) in colours
    assert colours & set(COLOURS)
    assert colours <= {(0, 0, 0), *COLOURS, *dim}


def test_a_picture_without_a_person_and_too_few_keypoints(tmp_path: Path, photos: Tensor) -> None:
    nobody, few = vitpose(tmp_path / "nobody", level=-1.0), vitpose(tmp_path / "few", keypoints=5)
    with pytest.raises(InputError, match="finds no person in the picture.*--condition pose=FILE"):
        computed("pose", photos, {"pose": nobody})
    with pytest.raises(FileError, match="finds 5 keypoints; expected COCO's 17"):
        computed("pose", photos, {"pose": few})


def test_keypoints_are_where_the_heatmaps_peak() -> None:
    """In shares of the picture, of which the crop shows more than all."""
    reach, wanted = (1.25, 1.5), torch.tensor([[0.3, 0.7], [0.62, 0.11]])
    x, y = (torch.arange(n).add(0.5) / n for n in (48, 64))
    maps = torch.stack(
        [
            torch.exp(-(((y - 0.5) * 1.5 + 0.5 - v)[:, None] ** 2 + ((x - 0.5) * 1.25 + 0.5 - u) ** 2) / 0.01)
            for u, v in wanted.tolist()
        ]
    )
    places, scores = keypoints_of(maps[None], reach)
    assert torch.allclose(places[0], wanted, atol=0.01)
    assert bool((scores > 0.9).all())


def test_a_skeleton_has_openposes_colours_at_its_keypoints() -> None:
    """COCO's order in, OpenPose's colours out: the neck between the shoulders, and right before left."""
    places = torch.stack([torch.linspace(0.05, 0.95, 17), torch.linspace(0.1, 0.9, 17) ** 2], 1)
    image = skeleton(places, torch.ones(17), 512, 512)
    assert image is not None
    at = {"nose": (0, (255, 0, 0)), "right wrist": (10, (170, 255, 0)), "left ankle": (15, (85, 0, 255))}
    for coco, colour in at.values():
        x, y = (512 * places[coco]).int().tolist()
        assert image.getpixel((x, y)) == colour
    neck = (places[5] + places[6]) / 2 * 512
    assert image.getpixel((int(neck[0]), int(neck[1]))) == COLOURS[1]
    scores = torch.ones(17)
    scores[10] = 0.1
    shown = skeleton(places, scores, 512, 512)
    assert shown is not None
    assert (170, 255, 0) not in {colour for _, colour in shown.getcolors(512 * 512) or ()}
    assert skeleton(places + 2, torch.ones(17), 512, 512) is None


def yolos(place: Path) -> str:
    """A random YOLOS that is sure of a dog in one box and less sure of another in the next."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=16, num_detection_tokens=2, use_mid_position_embeddings=False, id2label=LABELS,
    )  # fmt: skip
    network = YolosForObjectDetection(config)
    network.vit.embeddings.detection_tokens.data.normal_()  # else all are the same
    network.class_labels_classifier.layers[-1].bias.data[1] = 4.0
    network.save_pretrained(place)
    YolosImageProcessorPil(size={"height": 32, "width": 32}, pad_size={"height": 32, "width": 32}).save_pretrained(
        place
    )
    return str(place)


def test_each_noun_has_a_box_of_its_own(tmp_path: Path, photos: Tensor) -> None:
    place = yolos(tmp_path)
    both = boxes(photos[:1], place, ["dog", "dog"])
    assert both[0] != both[1]
    assert boxes(photos[:1], place, ["Dog"]) == both[:1]
    assert all(0 <= left < right <= 1 and 0 <= top < bottom <= 1 for left, top, right, bottom in both)
    with pytest.raises(InputError, match=r"too few things of the class dog .*it finds dog.*--region NAME=BOX"):
        boxes(photos[:1], place, ["dog"] * 3)
    with pytest.raises(InputError, match="too few things of the class sofa"):
        boxes(photos[:1], place, ["sofa"])


def test_a_layout_is_read_off_a_photo_for_each_concept(tmp_path: Path, base: Any, rex: Any) -> None:
    import limner
    from limner.workflows.paint_request import painting_arguments
    from limner.workflows.requests import PaintRequest

    concept = limner.learn(base, rex, method="textual_inversion", steps=1)
    rex.pictures[0].image.save(tmp_path / "photo.png")
    about: dict[str, Any] = {"prompts": ("<rex>",), "like": tmp_path / "photo.png", "computed": ("layout",)}
    request = PaintRequest(**about, estimators={"layout": yolos(tmp_path / "yolos")})
    shown = painting_arguments(request, base, [concept])[0]["conditions"]
    assert list(shown) == ["layout"]
    assert list(shown["layout"]) == ["<rex>"]
    assert limner.paint(base, "<rex>", concepts=[concept], conditions=shown, settings=limner.PaintSettings(steps=2))
    with pytest.raises(InputError, match="none is given: name one with --with"):
        painting_arguments(request, base, [])
    with pytest.raises(InputError, match="--estimator layout=FOLDER"):
        painting_arguments(PaintRequest(**about), base, [concept])


def test_folders_of_other_models_are_refused(tmp_path: Path, photos: Tensor) -> None:
    segments, poses = segformer(tmp_path / "segments", LABELS), vitpose(tmp_path / "poses")
    wrong: Any
    for name, wrong, reason in (
        ("segmentation", poses, "no model for segmentation, such as SegFormer's"),
        ("depth", segments, "no model for depth estimation"),
        ("pose", segments, "no model for pose estimation: a ViTPose"),
        ("pose", str(tmp_path / "none"), "there is no folder .*expected a model for pose"),
        ("segmentation", str(tmp_path), "no model for segmentation"),
    ):
        with pytest.raises(FileError, match=reason):
            computed(name, photos, {name: wrong})
    with pytest.raises(InputError, match=r"--estimator pose=FOLDER \(a ViTPose of transformers\)"):
        computed("pose", photos)
    with pytest.raises(
        InputError, match="opens no network for 'edges': --estimator takes depth, segmentation, pose, layout"
    ):
        computed("edges", photos, {"edges": segments})


def test_a_head_that_would_be_random_is_refused(tmp_path: Path, photos: Tensor) -> None:
    """A DPT for depth opens as one for segmentation, with a new head."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4, 4, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(tmp_path)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(FileError, match="no model for segmentation.*: it holds a DPTForDepthEstimation"):
        computed("segmentation", photos, {"segmentation": str(tmp_path)})


def test_none_of_it_needs_torchvision(tmp_path: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors as the hub has them, whose files name the class that would need it."""
    places = {"segmentation": segformer(tmp_path / "s", LABELS, always=1), "pose": vitpose(tmp_path / "p")}
    for place in places.values():
        file = Path(place) / "preprocessor_config.json"
        file.write_text(file.read_text().replace("ProcessorPil", "Processor"))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for name, place in places.items():
        assert computed(name, photos, {name: place}, nouns=["dog"]).any()
