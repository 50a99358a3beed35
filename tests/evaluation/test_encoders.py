"""Encoders: pinned preprocessing, the cache, real kinds of model at toy size, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import InputError
from limner.evaluation.encoders import CLIP, IMAGENET, Encoder, encoder, largest_face, pocket_encoders, prepared
from limner.evaluation.features import NAME, cached_features


def picture(wide: int, tall: int) -> Image.Image:
    y, x = np.mgrid[0:tall, 0:wide]
    array = np.stack([x * 255 // wide, y * 255 // tall, (x * y) % 256], -1).astype(np.uint8)
    return Image.fromarray(array)


@pytest.mark.parametrize("size", [(301, 227), (227, 301), (224, 224), (100, 90)])
def test_preprocessing_is_that_of_transformers_to_the_bit(size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=224)(
        picture(*size), return_tensors="pt"
    ).pixel_values[0]
    ours = prepared(picture(*size), 224, 224, *CLIP)
    assert torch.equal(ours, torch.as_tensor(theirs))


def test_golden_values_of_preprocessing() -> None:
    found = prepared(picture(300, 200), 256, 224, *IMAGENET)
    assert found.shape == (3, 224, 224)
    assert [round(v, 4) for v in found[:, 100, 50].tolist()] == GOLDEN


GOLDEN = [-0.6623, -0.0224, 1.3677]


def clip_folder(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    from limner.pocket.judges import clip

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = clip()[1]
    text = small | {"vocab_size": len(tokens), "max_position_embeddings": 16, "eos_token_id": tokens.eos_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def test_a_clip_from_a_folder(tmp_path: Path) -> None:
    found = encoder(clip_folder(tmp_path / "clip"))
    assert found.pictures([picture(40, 40), picture(64, 32)]).shape == (2, 8)
    assert found.texts(["a dog", "a cat"]).shape == (2, 8)
    assert len(found.weights) == 16
    assert "32 px" in found.preprocessing


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_a_vit_from_a_folder_gives_its_class_token(tmp_path: Path, kind: str) -> None:
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 224, "patch_size": 32}
    torch.manual_seed(0)
    model = (
        ViTModel(ViTConfig(**small, intermediate_size=32), add_pooling_layer=False)
        if kind == "vit"
        else Dinov2Model(Dinov2Config(**small))
    )
    model.save_pretrained(tmp_path)
    found = encoder(tmp_path)
    seen = found.pictures([picture(300, 200)])
    with torch.no_grad():
        plain = model.eval()(pixel_values=prepared(picture(300, 200), 256, 224, *IMAGENET)[None]).last_hidden_state[
            :, 0
        ]
    assert torch.allclose(seen, plain, atol=1e-5)
    with pytest.raises(InputError, match="reads no texts"):
        found.texts(["a dog"])


def test_other_kinds_and_no_folder_are_refused(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="'bert' model; expected a CLIP"):
        encoder(tmp_path)
    with pytest.raises(InputError, match="no model folder"):
        encoder(tmp_path / "nothing")


def test_a_picture_is_looked_at_once() -> None:
    asked: list[int] = []

    def see(images: object) -> torch.Tensor:
        asked.append(len(images))  # type: ignore[arg-type]
        return torch.tensor([[float(np.asarray(i).mean())] for i in images])  # type: ignore[attr-defined]

    eyes = Encoder("test/once", "0", "none", see)
    first, second = picture(20, 20), picture(21, 20)
    one = eyes.pictures([first, second, first.copy()])
    assert asked == [2]
    again = eyes.pictures([second, first])
    assert asked == [2]
    assert torch.equal(again[0], one[1])
    assert torch.equal(one[0], one[2])
    Encoder("test/once", "1", "none", see).pictures([first])  # other weights are another network
    assert asked == [2, 1]


def test_a_damaged_cache_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    (tmp_path / NAME).write_bytes(b"no database")
    found = cached_features(("x",), [picture(20, 20)], lambda images: torch.ones(len(images), 2))
    assert found.tolist() == [[1.0, 1.0]]


def test_the_pocket_encoders_say_what_they_are() -> None:
    found = pocket_encoders()
    assert {"clip", "dino", "identity", "face", "judge", "logits", "gram", "quality"} <= found.keys()
    for eyes in found.values():
        assert len(eyes.weights) == 16
        assert eyes.pictures([picture(64, 64)]).shape[0] == 1
    assert found["clip"].texts(["a dog"]).shape[0] == 1


def test_the_largest_face_counts_and_none_is_zero() -> None:
    def detect(image: Image.Image) -> list[tuple[int, int, int, int]]:
        return [(0, 0, 4, 4), (0, 0, 10, 12)] if image.width > 20 else []

    def embed(crops: object) -> torch.Tensor:
        return torch.tensor([[float(c.width), float(c.height)] for c in crops])  # type: ignore[attr-defined]

    eyes = largest_face(detect, embed, name="test/faces", weights="0")
    assert eyes.pictures([picture(30, 30), picture(16, 16)]).tolist() == [[10.0, 12.0], [0.0, 0.0]]
