"""Networks that look at photographs: random ones of the right kind, so what is tested is that pictures and words go in
and out as they should."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from limner.core.subject import Subject
from limner.data.caption import captions, named
from limner.data.prepare import prepared
from limner.data.segment import masks
from limner.errors import FileError, InputError, MissingExtra

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "dog", "on", "sofa", "the")


@pytest.fixture
def fido() -> Subject:
    generator = torch.Generator().manual_seed(0)
    shown = [torch.rand(3, 40, 40, generator=generator) for _ in range(2)]
    return Subject.of(shown, noun="dog", handle="fido")


def image_processor(folder: Path, kind: str, side: int, **more: Any) -> None:
    import json

    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    size = {"height": side, "width": side}
    told = {"image_processor_type": kind, "do_resize": True, "size": size, "resample": 3, **mean}
    (folder / "preprocessor_config.json").write_text(json.dumps(told | more))


@pytest.fixture
def clipseg(tmp_path: Path) -> Path:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

    from limner.bases.common.loading import POCKET

    tokenizer = CLIPTokenizer.from_pretrained(str(POCKET / "tokenizer"))
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": tokenizer.model_max_length, "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    vision = {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    torch.manual_seed(0)
    config = CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=16, reduce_dim=8, extract_layers=[0, 1, 2],
                           decoder_num_attention_heads=2, decoder_intermediate_size=8)  # fmt: skip
    model = CLIPSegForImageSegmentation(config)
    model.save_pretrained(tmp_path / "clipseg")
    tokenizer.save_pretrained(tmp_path / "clipseg")
    image_processor(tmp_path / "clipseg", "ViTImageProcessor", 32)
    return tmp_path / "clipseg"


@pytest.fixture
def sam(tmp_path: Path) -> Path:
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    torch.manual_seed(0)
    vision = SamVisionConfig(hidden_size=16, output_channels=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
                             mlp_dim=16, num_pos_feats=8, global_attn_indexes=[0], window_size=2)  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=16
    )
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    model.save_pretrained(tmp_path / "sam")
    image_processor(tmp_path / "sam", "SamImageProcessor", 64, size={"longest_edge": 64}, pad_size={"height": 64, "width": 64},
                    mask_size={"longest_edge": 16}, mask_pad_size={"height": 16, "width": 16})  # fmt: skip
    return tmp_path / "sam"


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    folder = tmp_path / "blip"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16, "projection_dim": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32, "bos_token_id": 5, "eos_token_id": 3,
            "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(
        folder
    )
    image_processor(folder, "BlipImageProcessor", 32)
    return folder


@pytest.mark.parametrize("kind", ["clipseg", "sam"])
def test_segmenters_give_a_mask_in_each_pictures_size(
    kind: str, fido: Subject, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limner.data.segment._checked", lambda mask, place: mask)  # a random network may see nothing
    images: Any = [picture.image for picture in fido.pictures]
    found = masks(images, "dog", str(request.getfixturevalue(kind)))
    assert [mask.size for mask in found] == [(40, 40)] * 2
    assert all(sum(mask.histogram()[1:255]) == 0 for mask in found)


def test_blip_says_something_that_names_the_subject(blip: Path, fido: Subject) -> None:
    images: Any = [picture.image for picture in fido.pictures]
    said = captions(images, fido, str(blip))
    assert len(said) == 2
    assert all("<fido>" in text for text in said)
    told = prepared(fido, caption=str(blip))
    assert [picture.caption for picture in told.pictures] == said


def test_rembg_is_asked_for_masks_alone_and_only_where_there_are_none(
    fido: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def remove(image: Image.Image, *, only_mask: bool) -> Image.Image:
        asked.append(only_mask)
        return Image.new("L", image.size, 255)

    monkeypatch.setitem(sys.modules, "rembg", SimpleNamespace(remove=remove))
    found = prepared(fido, segment="rembg")
    assert found.masks(8) is not None
    assert asked == [True, True]
    assert prepared(found, segment="rembg") == found
    assert len(asked) == 2


def test_a_mask_with_nothing_on_it_is_refused(fido: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = SimpleNamespace(remove=lambda image, only_mask: Image.new("L", image.size, 0))
    monkeypatch.setitem(sys.modules, "rembg", blank)
    with pytest.raises(InputError, match="no subject was found on picture 1"):
        prepared(fido, segment="rembg")


def test_what_is_missing_is_said(fido: Subject, blip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(MissingExtra, match="pip install rembg"):
        prepared(fido, segment="rembg")
    with pytest.raises(FileError, match="cannot be opened"):
        prepared(fido, segment=str(blip / "nowhere"))
    with pytest.raises(FileError, match="is a blip"):
        prepared(fido, segment=str(blip))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a dog on a sofa", "<fido> on a sofa"),
        ("The Dog sleeping.", "<fido> sleeping"),
        ("two cats", "a photo of <fido>, two cats"),
        ("hotdogs on a table", "a photo of <fido>, hotdogs on a table"),
        ("", "a photo of <fido>"),
    ],
)
def test_captions_name_the_subject(text: str, said: str, fido: Subject) -> None:
    assert named(text, fido) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog on a sofa.", "a dog on a sofa in <sty>"),
        ("a watercolour painting of a dog", "a dog in <sty>"),
        ("", "a picture in <sty>"),
    ],
)
def test_captions_of_a_style_name_the_content_first(text: str, expected: str) -> None:
    style = Subject.of([Image.new("RGB", (8, 8))], noun="watercolour", handle="sty", kind="style")
    assert named(text, style) == expected
