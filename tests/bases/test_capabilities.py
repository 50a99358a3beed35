"""Capabilities: networks and facts that come with a base, asked for in the place of its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from limner.bases.common.loading import POCKET, sketch
from limner.bases.common.paths import Diffusion
from limner.core.base import Base
from limner.core.capabilities import NONE, Capabilities
from limner.core.subject import Subject
from limner.core.types import Batch, Condition, Pass
from limner.core.weights import check_import, weights_path
from limner.core.wording import words_not_in
from limner.errors import FileError, InputError
from limner.parts.encoders import masks
from limner.parts.encoders.captions import structured_captions
from limner.parts.encoders.multimodal import multimodal
from limner.parts.sources.corpus import corpus_of
from limner.pocket import judges
from limner.pocket.corpus import toys


def test_encoders_are_the_judges_with_gradients(base: Base) -> None:
    pixels = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    faces = base.encoders["face"](pixels)
    assert torch.equal(faces, judges.identities(pixels.detach(), faces=True))
    assert torch.equal(base.encoders["object"](pixels), judges.identities(pixels.detach()))
    assert torch.allclose(faces.norm(dim=1), torch.ones(2))
    (faces[0] @ faces[1]).backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_encoders_read_pictures_of_any_size(base: Base) -> None:
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small, large = (torch.nn.functional.interpolate(pixels, n, mode="bicubic").clamp(0, 1) for n in (128, 256))
    one, other = base.encoders["object"](small), base.encoders["object"](large)
    assert one.shape == other.shape
    assert float((one * other).sum()) > 0.95


def test_a_base_by_folder_has_none_of_the_pocket_ones(base: Base) -> None:
    assert base.encoders
    assert sketch(POCKET).encoders == {}


def test_parts_use_the_networks_that_a_base_brings(base: Base, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = masks.subject_masks(base, rex)
    assert 0 < float(found.mean()) < 0.9
    everywhere = Capabilities(segmenter=lambda pixels: torch.ones_like(pixels[:, 0]))
    monkeypatch.setattr(base, "capabilities", everywhere)
    assert bool((masks.subject_masks(base, rex) == 1).all())
    said = Capabilities(captioner=lambda pixels: ["{} alone"] * len(pixels))
    monkeypatch.setattr(base, "capabilities", said)
    assert structured_captions(base, rex) == ["{} alone"] * len(rex.pictures)


def test_a_base_without_them_says_what_to_give(base: Base, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "capabilities", NONE)
    assert all(caption.startswith("a photo of {} ") for caption in structured_captions(base, rex))
    assert masks.unseen(base, rex) == []
    for match, ask in (
        (r"NAME\.mask\.png", lambda: masks.subject_masks(base, rex)),
        ("--model FOLDER", lambda: multimodal(base)),
        ("--corpus FOLDER", lambda: corpus_of(base, None)),
    ):
        with pytest.raises(InputError, match=match):
            ask()
    assert corpus_of(base, toys(2)) == toys(2)


def test_weights_lie_beside_a_base_that_ships_some(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "capabilities", Capabilities(weights=tmp_path))
    assert weights_path("ip_adapter", base) == tmp_path / "ip_adapter.safetensors"
    with pytest.raises(FileError, match="part of limner"):
        check_import("ip_adapter", base, overwrite=True)
    monkeypatch.setattr(base, "capabilities", NONE)
    assert weights_path("ip_adapter", base).name == f"ip_adapter-{base.fingerprint}.safetensors"
    check_import("ip_adapter", base, overwrite=False)


def test_known_words_are_the_words_of_captions(base: Base) -> None:
    assert base.capabilities.known_words is not None
    known = base.capabilities.known_words()
    assert words_not_in(known, "a close-up of a red dog on the beach, <rex>") == []
    assert words_not_in(known, "a bo dog in the opera") == ["bo", "opera"]  # "bo" is a syllable of its tokenizer


# ------------------------------------------------------------------------------------------------------ reconstruction


def test_reconstruction_is_a_prediction_of_noised_latents(base: Base) -> None:
    draw = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, *base.latent_shape, generator=draw) for _ in range(2))
    time, states = torch.tensor([100, 700]), base.text_states(["a dog", ""], words={})
    with torch.no_grad():
        found = base.reconstruct(Batch(latents, ("a dog", "")), Condition(states, time, noise, Pass(time=time)))
        noised = base.noised(latents, noise, time)
        assert torch.equal(found.output, base.predict(noised, time, states, context=Pass(time=time)))
    assert base.predicts == "velocity"


def test_a_scheduler_that_predicts_neither_noise_nor_velocity_is_refused() -> None:
    path = Diffusion()
    for kind, plain in (("epsilon", "noise"), ("v_prediction", "velocity")):
        path.scheduler_config = {"prediction_type": kind}
        path.__dict__.pop("_schedule", None)
        assert path.predicts == plain
    path.scheduler_config = {"prediction_type": "sample"}
    path.__dict__.pop("_schedule", None)
    with pytest.raises(InputError, match="noise.*'sample'|epsilon.*'sample'"):
        _ = path.predicts


def test_patch_tokens_are_those_of_the_self_supervised_network(base: Base) -> None:
    pixels = torch.rand(2, 3, 128, 128)
    tokens = base.patch_states(pixels)
    assert tokens.shape == (2, 1 + 8 * 8, 160)
    assert torch.allclose(torch.nn.functional.normalize(tokens[:, 0], dim=-1), judges.appearances(pixels), atol=1e-5)
    changed = pixels.clone()
    changed[:, :, :16, :16] = 0  # the first patch
    far = (base.patch_states(changed) - tokens)[:, 1:].norm(dim=-1)
    assert bool((far.argmax(1) == 0).all())


def test_a_base_without_patch_tokens_says_where_to_put_the_network(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(base.__dict__, "_patches", raising=False)
    monkeypatch.setattr(base, "patch_encoder", None)
    with pytest.raises(InputError, match="into the base's folder as patch_encoder/"):
        base.patch_states(torch.rand(1, 3, 128, 128))
