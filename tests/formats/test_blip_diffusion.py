"""BLIP-Diffusion as diffusers saves it: what limner makes of its files is what the pipeline's own networks say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import attach
from limner.errors import FileError, InputError
from limner.formats import import_file
from limner.library.opening import adapter_of
from limner.parts.encoders.wordpieces import wordpieces
from tests.bases.families import stable_diffusion as save_sd

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    "dog",
    "cat",
    "teapot",
    "##s",
    "##pot",
    "tea",
]
QUERIES = 4


class _Attention(torch.nn.Module):
    """transformers 5 has another call of this layer than the pipeline, which was written for 4; the layer is its
    own."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, hidden: Any, mask: Any = None, _: Any = None, seen: Any = None, there: Any = None, *__: Any, **___: Any
    ) -> Any:
        return self.layer(hidden, mask, seen, there), None


def tiny(folder: Path) -> Any:
    """A pipeline of diffusers' own classes, saved; its forward passes made to run with transformers 5."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from diffusers.pipelines.deprecated.blip_diffusion import blip_image_processing as processing
    from diffusers.pipelines.deprecated.blip_diffusion import modeling_blip2 as blip2
    from diffusers.pipelines.deprecated.blip_diffusion import modeling_ctx_clip as clip
    from diffusers.pipelines.deprecated.blip_diffusion.pipeline_blip_diffusion import BlipDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTokenizer
    from transformers.models.blip_2.configuration_blip_2 import Blip2Config

    sd = save_sd(folder / "sd", "1.5")
    tokenizer = CLIPTokenizer.from_pretrained(sd / "tokenizer")
    words = folder / "words"
    words.mkdir()
    (words / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    torch.manual_seed(5)
    config = Blip2Config(
        vision_config={"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
                       "image_size": 16, "patch_size": 8, "hidden_act": "quick_gelu"},
        qformer_config={"vocab_size": len(VOCABULARY) + 1, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
                        "intermediate_size": 48, "max_position_embeddings": 40, "cross_attention_frequency": 2,
                        "encoder_hidden_size": 24},
        num_query_tokens=QUERIES,
    )  # fmt: skip
    config.tokenizer = str(words)
    former = blip2.Blip2QFormerModel(config).eval()
    text = clip.ContextCLIPTextModel(CLIPTextConfig.from_pretrained(sd / "text_encoder")).eval()
    for network in (former, text):
        for parameter in network.parameters():
            parameter.data = (0.3 * torch.randn_like(parameter)).half().float()
    painter = BlipDiffusionPipeline(
        tokenizer, text, AutoencoderKL.from_pretrained(sd / "vae"), UNet2DConditionModel.from_pretrained(sd / "unet"),
        PNDMScheduler.from_pretrained(sd / "scheduler", skip_prk_steps=True), former, processing.BlipImageProcessor(),
    )  # fmt: skip
    painter.save_pretrained(folder / "blip")
    for layer in former.encoder.layer:
        layer.attention = _Attention(layer.attention)
        if layer.has_cross_attention:
            layer.crossattention = _Attention(layer.crossattention)
    former.get_head_mask = lambda mask, count: [None] * count
    former.invert_attention_mask = lambda mask: torch.zeros(len(mask), 1, 1, mask.shape[1])  # all of a picture is there
    inner = text.text_model.encoder.forward
    text.text_model.encoder.forward = lambda *a, causal_attention_mask, attention_mask, **k: inner(
        *a, attention_mask=causal_attention_mask, **k
    )
    return painter


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("released")
    return folder / "blip", tiny(folder)


@pytest.fixture(scope="module")
def rex() -> Subject:
    noise = np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3), dtype=np.uint8)
    return Subject.of([Image.fromarray(picture) for picture in noise], noun="teapots", handle="rex")


def test_without_the_nouns_vocabulary_it_says_where_to_put_it(released: tuple[Path, Any]) -> None:
    folder, _ = released
    with pytest.raises(FileError, match=r"put vocab.txt of bert-base-uncased"):
        import_file(folder, load(folder, device="cpu"))


def test_it_is_for_the_base_it_was_released_with(released: tuple[Path, Any]) -> None:
    folder, _ = released
    (folder / "qformer" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    with pytest.raises(InputError, match="--base"):
        import_file(folder, load(folder.parent / "sd", device="cpu"))


@torch.no_grad()
def test_what_is_imported_says_what_diffusers_says(
    released: tuple[Path, Any], rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proves: Any
) -> None:
    proves(
        "formats",
        "BLIP-Diffusion, diffusers",
        "in",
        "queries and text states equal those of diffusers' own networks to 1e-4",
    )
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    folder, painter = released
    (folder / "qformer" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    found = import_file(folder, load(folder, device="cpu"))
    assert found.what == "blip_diffusion"
    assert found.report.whole
    base = load(folder, device="cpu")  # now with the image encoder beside it
    concept = limner.learn(base, rex, method="blip_diffusion", released=True, repeats=1)
    pixels = rex.tensor(16)
    mean, std = (torch.tensor(painter.image_processor.to_dict()[k]).view(3, 1, 1) for k in ("image_mean", "image_std"))
    theirs = painter.get_query_embeddings((pixels - mean) / std, ["teapots"])  # [1, queries, D]
    seen: dict[str, torch.Tensor] = {}

    def note(call: Any) -> Any:
        seen[call.site.name] = call.states
        return call

    with attach(base, (adapter_of(concept, base),)) as adapted:
        said, time = "a <rex> in the snow", torch.tensor([500])
        run = adapted.run(time=time, prompts=(adapted.expand_prompt(said),))
        base.predict(torch.zeros(1, *base.latent_shape), time, adapted.text_states([said]), context=run)
    ours = run.activations["picture words"]
    assert theirs.std() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-4)
    states = painter.encode_prompt(theirs, ["a teapots in the snow"], torch.device("cpu"))
    mine = base.text_states(["a <q> in the snow"], words={"<q>": torch.cat([ours[0], base.word_vectors("teapots")])})
    assert torch.allclose(mine, states, atol=1e-4)
    assert Pass().activations == {}


def test_words_in_pieces_are_those_of_berts_tokenizer(released: tuple[Path, Any]) -> None:
    _, painter = released
    for text in ("dog", "teapots", "Dogs", "a Teapot, a cát", "wyrm7"):
        assert wordpieces(text, VOCABULARY) == painter.qformer.tokenizer(text).input_ids
