"""Every family behind the seam: what it paints, what it learns from, and what methods may do to it, on tiny random
pipelines."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import limner
from limner.bases.common.loading import FAMILIES, load
from limner.core.recipe import Recipe, Source, Stage
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.core.weights import save_weights
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.errors import InputError, LimnerError
from limner.methods import methods
from limner.parts.fusion.decoupled_cross_attention import FEATURES
from tests import test_methods as contracts
from tests.helpers import learn_noting, same, state, untouched

from .families import BUILDERS, save_tiny

PROMPT = "a photo of a red dog on the beach"


@pytest.fixture(scope="module", params=list(BUILDERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("families") / request.param)


@pytest.fixture(scope="module")
def family(folder: Path) -> str:
    return folder.name


@pytest.fixture(scope="module")
def tiny(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The pipeline opened, with weights of its own for the pre-trained method."""
    base = load(folder, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        recipe = methods()["ip_adapter"](Subject("<nobody>", "toy"))
        with torch.no_grad(), attach(base, (Adapter(recipe, "<nobody>"),)) as adapted:
            fresh = {name: tensor for name, tensor in adapted.tensors.items() if name != FEATURES}
            save_weights("ip_adapter", base, fresh, about={})
        yield base


def test_place_and_kind_are_what_diffusers_says(tiny: Any) -> None:
    assert (tiny.device, tiny.dtype) == (tiny.denoiser.device, tiny.denoiser.dtype)


# ------------------------------------------------------------------------------------------------ (a) the same pictures


def pipeline_of(folder: Path) -> Any:
    import diffusers

    name = next(known.pipelines[0] for known in FAMILIES if known.module == folder.name)
    more = (
        {"safety_checker": None, "requires_safety_checker": False}
        if folder.name in ("deepfloyd", "stable_diffusion")
        else {}
    )
    pipeline = getattr(diffusers, name).from_pretrained(folder, **more)
    pipeline.set_progress_bar_config(disable=True)
    if folder.name == "qwen_image":  # a fixed number in the pipeline, true of the real tokenizer
        from limner.bases.diffusion.qwen_image import BEFORE

        pipeline.prompt_template_encode_start_idx = len(pipeline.tokenizer(BEFORE).input_ids)
    return pipeline


def theirs(folder: Path, pipeline: Any, noise: Tensor, *, steps: int, guidance: float) -> Any:
    """The picture that the family's own pipeline paints from this noise [1, C, h, w]."""
    about: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance, "latents": noise}
    match folder.name:
        case "stable_diffusion" | "sdxl" | "sd3":
            about |= {"height": 16, "width": 16}
        case "flux":
            about |= {"height": 16, "width": 16, "latents": pipeline._pack_latents(noise, 1, 4, 8, 8)}
        case "flux2":
            about |= {"height": 16, "width": 16, "text_encoder_out_layers": (1, 2, 3)}
        case "qwen_image":
            about |= {"height": 16, "width": 16, "true_cfg_scale": guidance, "negative_prompt": ""}
            about |= {"latents": pipeline._pack_latents(noise, 1, 4, 8, 8), "guidance_scale": None}
        case "pixart" | "sana":
            side = 16 if folder.name == "pixart" else 32
            about |= {"height": side, "width": side, "use_resolution_binning": False}
        case "amused":
            about |= {"generator": stream(4, "sampler")}
            del about["latents"]
    return pipeline(prompt=PROMPT, **about).images[0]


DRAW_NOISE = ("kandinsky", "deepfloyd")
"""Their pipelines draw noise of their own, and are compared part by part in the three tests below the next."""


@pytest.mark.parametrize("folder", [name for name in BUILDERS if name not in DRAW_NOISE], indirect=True)
def test_it_paints_what_its_own_pipeline_paints(folder: Path, tiny: Any, proves: Any) -> None:
    """The same weights, noise and sampler through diffusers' pipeline give the same picture, to one step of 255."""
    proves("bases", folder.name, "paints", "as its own pipeline")
    ours = limner.paint(tiny, PROMPT, seed=4, settings=limner.PaintSettings(steps=4, guidance=3.0))[0]
    noise = torch.randn(tiny.latent_shape, generator=stream(4, "latents"))[None]
    other = theirs(folder, pipeline_of(folder), noise, steps=4, guidance=3.0)
    assert ours.image.size == other.size
    assert np.abs(np.asarray(ours.image, dtype=int) - np.asarray(other, dtype=int)).max() <= 1


def test_kandinskys_decoder_paints_what_its_pipeline_paints(tmp_path: Path, proves: Any) -> None:
    proves("bases", "kandinsky", "paints", "as its own pipeline")
    folder = save_tiny("kandinsky", tmp_path / "kandinsky")
    base, pipeline = load(folder, device="cpu"), pipeline_of(folder)
    states, empty = base.text_states([PROMPT], words={})[:, 0], base.text_states([""], words={})[:, 0]
    noise = torch.randn(base.latent_shape, generator=stream(4, "latents"))[None]
    about = {"num_inference_steps": 4, "guidance_scale": 3.0, "latents": noise, "height": 16, "width": 16}
    pipeline.decoder_pipe.set_progress_bar_config(disable=True)
    other = pipeline.decoder_pipe(image_embeds=states, negative_image_embeds=empty, **about).images[0]
    ours = limner.paint(base, PROMPT, seed=4, settings=limner.PaintSettings(steps=4, guidance=3.0))[0]
    assert np.abs(np.asarray(ours.image, dtype=int) - np.asarray(other, dtype=int)).max() <= 1


def test_kandinskys_prior_makes_what_its_pipeline_makes(tmp_path: Path, proves: Any) -> None:
    import zlib

    proves("bases", "kandinsky", "paints", "as its own pipeline")
    folder = save_tiny("kandinsky", tmp_path / "kandinsky")
    base, pipeline = load(folder, device="cpu"), pipeline_of(folder)
    pipeline.prior_pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(zlib.crc32(PROMPT.encode()))
    other = pipeline.prior_pipe(PROMPT, num_inference_steps=25, guidance_scale=4.0, generator=noise)
    assert torch.allclose(base.text_states([PROMPT], words={})[:, 0], other.image_embeds, atol=1e-4)
    assert torch.allclose(base.text_states([""], words={})[:, 0], other.negative_image_embeds, atol=1e-5)


def test_deepfloyds_stages_paint_what_their_pipelines_paint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proves: Any
) -> None:
    from diffusers import IFPipeline, IFSuperResolutionPipeline

    proves("bases", "deepfloyd", "paints", "as its own pipeline")
    folder = save_tiny("deepfloyd", tmp_path / "deepfloyd")
    base = load(folder, device="cpu")
    none: dict[str, Any] = {"safety_checker": None, "watermarker": None, "feature_extractor": None}
    first = IFPipeline.from_pretrained(folder, **none, requires_safety_checker=False)
    second = IFSuperResolutionPipeline.from_pretrained(folder / "stage_2", **none, requires_safety_checker=False)
    for pipeline in (first, second):
        pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(base.latent_shape, generator=stream(4, "latents"))[None]
    monkeypatch.setattr(first, "prepare_intermediate_images", lambda *_: noise)
    about: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "pt"}
    small = first(PROMPT, generator=[stream(4, "sampler")], **about).images
    how = limner.PaintSettings(steps=4, guidance=3.0, sampler="ddpm")
    with torch.no_grad(), limner.engine.attach.attach(base, ()) as adapted:
        painted = list(limner.engine.sample.sample(adapted, [PROMPT], seeds=[4], settings=how))[-1].latents
    assert torch.allclose(painted, small, atol=1e-4)
    large = second(PROMPT, image=small, noise_level=250, generator=stream(4, "enlarging"), **about).images
    states, empty = (base.text_states([text], words={}) for text in (PROMPT, ""))
    streams = [stream(4, "enlarging")]
    ours = base.enlarged(small, states, empty, steps=4, guidance=3.0, generators=streams)
    assert ours.shape[-1] == 32
    assert torch.allclose(ours, large, atol=1e-3)


# ---------------------------------------------------------------------------------------------------- (b) the same loss


def loss_of_the_script(family: str, folder: Path, base: Any, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """The loss of diffusers' training script for the family on one batch, computed in the script's own steps with the
    hidden states of its own pipeline. The scripts: train_dreambooth, train_dreambooth_lora_sdxl, _sd3
    (precondition_outputs 0), _flux, _flux2_klein, _qwen_image, _sana; train_dreambooth (IF, without learned variance);
    train_text_to_image_lora_decoder (Kandinsky); train_amused; PixArt-Sigma's own research script."""
    pipeline = pipeline_of(folder)
    count = len(latents)
    with torch.no_grad():
        if family in ("stable_diffusion", "sdxl", "pixart", "deepfloyd", "kandinsky"):
            from diffusers import DDPMScheduler

            noising = DDPMScheduler.from_config(pipeline.scheduler.config)
            noised = noising.add_noise(latents, noise, time)
        elif family != "amused":
            sigma = (time / 1000).view(-1, 1, 1, 1)
            noised, goal = (1 - sigma) * latents + sigma * noise, noise - latents
        match family:
            case "stable_diffusion":
                states, _ = pipeline.encode_prompt(PROMPT, "cpu", 1, False)
                out, goal = pipeline.unet(noised, time, states.repeat(count, 1, 1)).sample, noise
            case "sdxl":
                states, _, pooled, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
                ids = torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]]).repeat(count, 1)
                added = {"text_embeds": pooled.repeat(count, 1), "time_ids": ids}
                out = pipeline.unet(noised, time, states.repeat(count, 1, 1), added_cond_kwargs=added).sample
                goal = noise
            case "pixart":
                states, mask, _, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
                out = pipeline.transformer(
                    noised, encoder_hidden_states=states.repeat(count, 1, 1), encoder_attention_mask=mask.repeat(count, 1),
                    timestep=time, added_cond_kwargs={"resolution": None, "aspect_ratio": None},
                ).sample.chunk(2, 1)[0]  # fmt: skip
                goal = noise
            case "deepfloyd":
                states, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
                out = pipeline.unet(noised, time, states.repeat(count, 1, 1)).sample.chunk(2, 1)[0]
                goal = noise
            case "kandinsky":
                embeds = base.text_states([PROMPT], words={})[:, 0].repeat(count, 1)
                added = {"image_embeds": embeds}
                out = pipeline.unet(noised, time, None, added_cond_kwargs=added).sample[:, :4]
                goal = noise
            case "sd3":
                states, _, pooled, _ = pipeline.encode_prompt(PROMPT, None, None, do_classifier_free_guidance=False)
                about = {"pooled_projections": pooled.repeat(count, 1), "timestep": time}
                out = pipeline.transformer(noised, encoder_hidden_states=states.repeat(count, 1, 1), **about).sample
            case "flux":
                states, pooled, ids = pipeline.encode_prompt(PROMPT, None)
                places = pipeline._prepare_latent_image_ids(count, 4, 4, "cpu", torch.float32)
                out = pipeline.transformer(
                    hidden_states=pipeline._pack_latents(noised, count, 4, 8, 8), timestep=time / 1000,
                    guidance=torch.full((count,), 3.5), pooled_projections=pooled.repeat(count, 1),
                    encoder_hidden_states=states.repeat(count, 1, 1), txt_ids=ids, img_ids=places,
                ).sample  # fmt: skip
                out = pipeline._unpack_latents(out, 16, 16, pipeline.vae_scale_factor)
            case "flux2":
                states, ids = pipeline.encode_prompt(PROMPT, text_encoder_out_layers=(1, 2, 3))
                places = pipeline._prepare_latent_ids(noised)
                out = pipeline.transformer(
                    hidden_states=pipeline._pack_latents(noised), timestep=time / 1000, guidance=None,
                    encoder_hidden_states=states.repeat(count, 1, 1), txt_ids=ids, img_ids=places,
                ).sample  # fmt: skip
                out = pipeline._unpack_latents_with_ids(out, places)
            case "qwen_image":
                states, mask = pipeline.encode_prompt(PROMPT)
                out = pipeline.transformer(
                    hidden_states=pipeline._pack_latents(noised, count, 4, 8, 8), timestep=time / 1000,
                    encoder_hidden_states=states.repeat(count, 1, 1), encoder_hidden_states_mask=mask,
                    img_shapes=[[(1, 4, 4)]] * count,
                ).sample  # fmt: skip
                out = pipeline._unpack_latents(out, 16, 16, pipeline.vae_scale_factor)[:, :, 0]
            case "sana":
                from limner.bases.diffusion.sana import instruction

                about = {"complex_human_instruction": instruction().split("\n"), "do_classifier_free_guidance": False}
                states, mask, _, _ = pipeline.encode_prompt(PROMPT, **about)
                out = pipeline.transformer(
                    noised, encoder_hidden_states=states.repeat(count, 1, 1), encoder_attention_mask=mask.repeat(count, 1),
                    timestep=time,
                ).sample  # fmt: skip
            case "amused":
                return _masked_loss(pipeline, latents, noise, time)
        return ((out.float() - goal.float()) ** 2).mean()


def _masked_loss(pipeline: Any, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """train_amused: a share cos(t pi / 2) of the tokens masked, cross-entropy over them."""
    ids = latents.flatten(1).long()
    mask_count = (ids.shape[1] * torch.cos(time / 1000 * torch.pi / 2)).round().clamp(min=1)
    masked = noise.flatten(1).argsort(dim=-1) < mask_count[:, None]
    inputs = torch.where(masked, pipeline.scheduler.config.mask_token_id, ids).view(len(ids), 8, 8)
    labels = torch.where(masked, ids, -100)
    length = pipeline.tokenizer.model_max_length
    tokens = pipeline.tokenizer(
        [PROMPT] * len(ids), return_tensors="pt", padding="max_length", max_length=length
    ).input_ids
    text = pipeline.text_encoder(tokens, return_dict=True, output_hidden_states=True)
    conditions = torch.tensor([[16.0, 16.0, 0.0, 0.0, 6.0]]).repeat(len(ids), 1)
    logits = pipeline.transformer(
        inputs, encoder_hidden_states=text.hidden_states[-2], micro_conds=conditions, pooled_text_emb=text.text_embeds
    )
    flat = logits.reshape(len(ids), 16, -1).permute(0, 2, 1).reshape(-1, 16)
    return torch.nn.functional.cross_entropy(flat, labels.view(-1), ignore_index=-100, reduction="mean")


def test_it_learns_from_the_loss_of_the_training_script(folder: Path, family: str, tiny: Any, proves: Any) -> None:
    proves("bases", family, "learns", "by the script's loss")
    from limner.core.types import Batch
    from limner.parts.objectives import denoising

    torch.manual_seed(1)
    shape = (2, *tiny.latent_shape)
    latents = torch.randint(0, 16, shape).float() if family == "amused" else torch.randn(shape)
    batch = Batch(latents, (PROMPT,) * 2)
    source = Source("given", "subject", lambda _: lambda *_: batch)
    seen: dict[str, Tensor] = {}

    def watching(step: Any) -> Tensor:
        seen.update(noise=step.noise, time=step.time)
        return denoising(source).value(step)

    from dataclasses import replace

    objective = replace(denoising(source), value=watching)
    recipe = Recipe(says="dog", stages=(Stage((limner.parts.parameters.cross_attention_kv(),), (objective,), 1, 1e-9),))
    loss = next(train(tiny, Adapter(recipe, "<rex>"), stages=recipe.stages)).loss
    expected = loss_of_the_script(family, folder, tiny, latents, seen["noise"], seen["time"])
    assert loss == pytest.approx(float(expected), rel=2e-5)


# ------------------------------------------------------------------------------------------ (c) one method of each kind


METHODS = {
    "tuned": "lora_dreambooth",
    "word": "textual_inversion",
    "pre-trained": "ip_adapter",
    "training-free": "stylealigned",
}
REFUSED = {
    ("kandinsky", "textual_inversion"): "cannot learn words",
    ("sana", "stylealigned"): "cross attention only",
    ("amused", "stylealigned"): "masked tokens",
}
"""(family, method) that do not work together -> a part of the error's message."""


CONTRACTS: dict[str, tuple[Callable[..., None], ...]] = {
    "tuned": (
        contracts.test_the_base_comes_back_bit_for_bit,
        contracts.test_the_base_comes_back_after_an_exception,
        contracts.test_losses_are_finite_and_every_learning_tensor_moves,
        contracts.test_another_seed_teaches_another_concept_and_abandoned_it_leaves_the_base_alone,
        contracts.test_resumed_equals_uninterrupted,
        contracts.test_saved_and_loaded_it_paints_the_same,
        contracts.test_at_scale_zero_it_is_the_base_reading_the_same_words,
    ),
    "pre-trained": (
        contracts.test_the_base_comes_back_bit_for_bit,
        contracts.test_the_base_comes_back_after_an_exception,
        contracts.test_the_same_reference_images_make_the_same_concept,
        contracts.test_saved_and_loaded_it_paints_the_same,
        contracts.test_at_scale_zero_it_is_the_base_reading_the_same_words,
    ),
}
"""Contracts that every method keeps on the pocket base (tests/test_methods.py), by the kind of its training."""


@pytest.mark.parametrize("kind", METHODS)
def test_the_contracts_hold_for_a_method_of_every_kind(
    tiny: Any, family: str, rex: Subject, kind: str, tmp_path: Path, proves: Any
) -> None:
    name = METHODS[kind]
    proves("bases", family, kind, f"refused: {REFUSED[family, name]}" if (family, name) in REFUSED else name)
    learned_once = functools.cache(functools.partial(learn_noting, tiny, subject=rex))
    if (family, name) in REFUSED:
        before = state(tiny)
        with pytest.raises(LimnerError, match=REFUSED[family, name]):
            learned_once(name)
        assert same(state(tiny), before)
        assert untouched(tiny)
        return
    given = {"base": tiny, "rex": rex, "name": name, "learned_once": learned_once, "tmp_path": tmp_path}
    for contract in CONTRACTS["tuned" if kind in ("tuned", "word") else "pre-trained"]:
        contract(**{argument: given[argument] for argument in inspect.signature(contract).parameters})


# --------------------------------------------------------------------------------------------------------- (d) the seam


STOCK = {
    "stable_diffusion": "attention_processor.AttnProcessor2_0",
    "sdxl": "attention_processor.AttnProcessor2_0",
    "sd3": "attention_processor.JointAttnProcessor2_0",
    "pixart": "attention_processor.AttnProcessor2_0",
    "amused": "attention_processor.AttnProcessor2_0",
    "kandinsky": "attention_processor.AttnAddedKVProcessor2_0",
    "deepfloyd": "attention_processor.AttnAddedKVProcessor2_0",
    "flux": "transformers.transformer_flux.FluxAttnProcessor",
    "qwen_image": "transformers.transformer_qwenimage.QwenDoubleStreamAttnProcessor2_0",
}


def test_latents_lie_in_memory_as_they_do_when_read_from_a_file(tiny: Any, rex: Subject) -> None:
    """Another order in memory runs other kernels: a concept that was saved and loaded painted other bits."""
    assert all(part.is_contiguous() for part in tiny.encode(rex.tensor(tiny.picture_size)[:2]))


def test_with_no_operation_the_host_is_the_stock_processor_to_the_bit(tiny: Any, family: str) -> None:
    import importlib

    torch.manual_seed(2)
    if family == "amused":
        noised, time = torch.randint(0, 16, (2, *tiny.latent_shape)).float(), torch.tensor([100.0, 700.0])
    else:
        noised, time = torch.randn(2, *tiny.latent_shape), torch.tensor([100, 700])
    states = tiny.text_states([PROMPT, "a dog"], words={})
    hosts = dict(tiny.denoiser.attn_processors)
    with torch.no_grad():
        ours = tiny.predict(noised, time, states, context=Pass())
        if family in STOCK:
            module, _, name = STOCK[family].rpartition(".")
            kind = getattr(importlib.import_module(f"diffusers.models.{module}"), name)
            stock = {place: kind() for place in hosts}
        elif family == "flux2":
            from diffusers.models.transformers.transformer_flux2 import (
                Flux2AttnProcessor,
                Flux2ParallelSelfAttnProcessor,
            )

            stock = {
                p: Flux2ParallelSelfAttnProcessor() if p.startswith("single") else Flux2AttnProcessor() for p in hosts
            }
        else:
            from diffusers.models.attention_processor import SanaLinearAttnProcessor2_0
            from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0

            stock = {p: SanaAttnProcessor2_0() if "attn2" in p else SanaLinearAttnProcessor2_0() for p in hosts}
        tiny.denoiser.set_attn_processor(stock)
        theirs = tiny.predict(noised, time, states, context=Pass())
        tiny.denoiser.set_attn_processor(hosts)
    assert torch.equal(ours, theirs)


def test_a_target_and_what_is_made_of_it_agree(tiny: Any, family: str) -> None:
    if family == "amused":
        with pytest.raises(InputError, match="masked tokens"):
            tiny.x0(torch.zeros(1), torch.zeros(1), torch.zeros(1))
        return
    latents, noise = torch.randn(3, *tiny.latent_shape), torch.randn(3, *tiny.latent_shape)
    time = tiny.draw_times(3, stream(0, "times")).clamp(5, 950)
    noised, target = tiny.noised(latents, noise, time), tiny.target(latents, noise, time)
    assert torch.allclose(tiny.x0(noised, target, time), latents, atol=2e-3)
    assert torch.allclose(tiny.noise_of(noised, target, time), noise, atol=2e-3)


def test_a_word_is_written_into_every_tower(tiny: Any, family: str) -> None:
    """The vectors of each tower change what is read, and a gradient comes back to all of them."""
    if family == "kandinsky":
        with pytest.raises(InputError, match="cannot learn words"):
            tiny.text_states(["a <rex>"], words={"<rex>": torch.zeros(1, 4)})
        return
    start = tiny.word_vectors("dog")
    assert start.shape[1] == sum(tiny.word_widths)
    vectors = torch.nn.Parameter(torch.cat([start, start]) + 0.1)
    states = tiny.text_states(["a photo of <rex> on the beach"], words={"<rex>": vectors})
    states.square().sum().backward()
    assert vectors.grad is not None
    for part in vectors.grad.split(tiny.word_widths, 1):
        assert bool(part.any(1).all())
    places = tiny.word_places("a photo of <rex> on the beach", "<rex>", words={"<rex>": vectors})
    plain = tiny.text_states(["a photo of <rex> on the beach"], words={"<rex>": vectors.detach() * 0})
    assert all(bool((states[0, place] != plain[0, place]).any()) for place in places)


def test_a_word_equal_to_a_known_one_is_read_as_it(tiny: Any, family: str) -> None:
    if family == "kandinsky":
        pytest.skip("it cannot learn words: see above")
    with torch.no_grad():
        written = tiny.text_states(["a photo of <rex> on the beach"], words={"<rex>": tiny.word_vectors("dog")})
        plain = tiny.text_states(["a photo of dog on the beach"], words={})
    assert torch.allclose(written, plain, atol=1e-5)


def test_selections_mean_the_right_thing(tiny: Any, family: str) -> None:
    """Where text and picture attend jointly, the text's own keys and values stand for those of cross-attention."""
    chosen = tiny.select("cross_attention_kv")
    ends = {name.split(".")[-2] for name in chosen}
    joint = any(site.kind == "joint" for site in tiny.sites)
    assert ends == ({"add_k_proj", "add_v_proj"} if joint else {"to_k", "to_v"})
    assert set(chosen) < set(tiny.select("attention")) < set(tiny.select("everything"))
    assert tiny.projections("attention")
    assert all(name.startswith("text_encoder") for name in tiny.select("text_encoder"))


def test_a_prompt_that_is_too_long_is_refused(tiny: Any) -> None:
    from limner.errors import PromptError

    with pytest.raises(PromptError, match="at most"):
        tiny.text_states(["a dog " * 600], words={})


def test_a_prompt_is_read_once_whatever_reads_it(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept states are those that are read anew, whoever else was read with them."""
    from limner.engine import text_cache

    text_cache._texts.clear()
    first = text_cache.read_texts(tiny, ["a red dog", PROMPT], words={})
    monkeypatch.setattr(tiny, "text_states", None)
    again = text_cache.read_texts(tiny, [PROMPT], words={})
    monkeypatch.undo()
    text_cache._texts.clear()
    alone = text_cache.read_texts(tiny, [PROMPT], words={})
    assert torch.equal(first[PROMPT], again[PROMPT])
    assert torch.equal(first[PROMPT], alone[PROMPT])
