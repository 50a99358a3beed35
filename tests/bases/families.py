"""A tiny random pipeline of every family, in diffusers' layout, with tokenizers made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from limner.bases.common.loading import POCKET

WORDS = ["a", "photo", "of", "the", "red", "dog", "sits", "on", "beach", "at", "night", "with", "hat", "sks", "ktn"]


def clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(POCKET / "tokenizer")


def clip_text(tokenizer: Any, *, projected: int = 0, width: int = 32) -> Any:
    """A CLIP text encoder; with `projected`, one whose end is projected to that width."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, projection_dim=projected or 16,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def clip_pictures(*, projected: int) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=projected,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config)


def t5() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in WORDS] + [(c, -9.0) for c in "▁abcdefghijklmnopqrstuvwxyz,.'"]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0)
    model = T5EncoderModel(T5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4))
    return tokenizer, model


def qwen_tokenizer() -> Any:
    from transformers import Qwen2TokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    known = {c: k for k, c in enumerate(bytes_to_unicode().values())}
    merges = []
    for word in WORDS:
        so_far = word[0]
        for letter in word[1:]:
            merges.append((so_far, letter))
            so_far += letter
            known.setdefault(so_far, len(known))
        merges.append(("\u0120", word))
        known.setdefault(f"\u0120{word}", len(known))
    for special in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        known[special] = len(known)
    tokenizer = Qwen2TokenizerFast(vocab=known, merges=list(dict.fromkeys(merges)))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )
    return tokenizer


def kl(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    about: dict[str, Any] = {
        "block_out_channels": (8, 16), "latent_channels": 4, "norm_num_groups": 4, "sample_size": 16,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    return AutoencoderKL(**(about | more))


def diffusion(**more: Any) -> Any:
    from diffusers import DDIMScheduler

    about = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    return DDIMScheduler(**about, set_alpha_to_one=False, steps_offset=1, **more)


def stable_diffusion(folder: Path, kind: str = "1.5") -> Path:
    """Shaped like Stable Diffusion 1.5 or 2.1."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from limner.bases.common.loading import POCKET

    torch.manual_seed(0)
    two = kind == "2.1"
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(POCKET / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, hidden_act="gelu" if two else "quick_gelu",
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), norm_num_groups=8, layers_per_block=1, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(2, 4) if two else 2, use_linear_projection=two,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.18215,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="v_prediction" if two else "epsilon",
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def sdxl(folder: Path) -> None:
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), norm_num_groups=8, layers_per_block=1, cross_attention_dim=64,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=80, transformer_layers_per_block=(1, 2),
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=kl(), text_encoder=clip_text(tokenizer), text_encoder_2=clip_text(tokenizer, projected=32), tokenizer=tokenizer,
        tokenizer_2=tokenizer, unet=unet, scheduler=diffusion(), force_zeros_for_empty_prompt=True,
    ).save_pretrained(folder)  # fmt: skip


def sd3(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    tokenizer, (t5_tokenizer, t5_model) = clip_tokenizer(), t5()
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=kl(shift_factor=0.06),
        text_encoder=clip_text(tokenizer, projected=32, width=16), tokenizer=tokenizer, tokenizer_2=tokenizer,
        text_encoder_2=clip_text(tokenizer, projected=32, width=16), text_encoder_3=t5_model, tokenizer_3=t5_tokenizer,
    ).save_pretrained(folder)  # fmt: skip


def flux(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer, (t5_tokenizer, t5_model) = clip_tokenizer(), t5()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    transformer.register_to_config(sample_size=8)
    FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=kl(shift_factor=0.06),
        text_encoder=clip_text(tokenizer), tokenizer=tokenizer, text_encoder_2=t5_model, tokenizer_2=t5_tokenizer,
    ).save_pretrained(folder)  # fmt: skip


def flux2(folder: Path) -> None:
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = qwen_tokenizer()
    text = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    transformer.register_to_config(sample_size=8)
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, sample_size=16,
    )  # fmt: skip
    with torch.no_grad():
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
    Flux2KleinPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae,
        text_encoder=Qwen3ForCausalLM(text), tokenizer=tokenizer,
    ).save_pretrained(folder)  # fmt: skip


def qwen_image(folder: Path) -> None:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = qwen_tokenizer()
    text = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16, "patch_size": 4,
        },
        vision_start_token_id=1, vision_end_token_id=2, image_token_id=3, video_token_id=4,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    transformer.register_to_config(sample_size=8)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False], latents_mean=[0.1] * 4,
        latents_std=[1.5] * 4,
    )  # fmt: skip
    QwenImagePipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(text), tokenizer=tokenizer,
    ).save_pretrained(folder)  # fmt: skip


def pixart(folder: Path) -> None:
    from diffusers import PixArtSigmaPipeline, PixArtTransformer2DModel

    t5_tokenizer, t5_model = t5()
    transformer = PixArtTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        in_channels=4, cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        use_additional_conditions=False,
    )  # fmt: skip
    PixArtSigmaPipeline(
        transformer=transformer, scheduler=diffusion(), vae=kl(), text_encoder=t5_model, tokenizer=t5_tokenizer
    ).save_pretrained(folder)


def sana(folder: Path) -> None:
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=16, sample_size=16,
    )  # fmt: skip
    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    tokenizer = gemma_tokenizer(PreTrainedTokenizerFast)
    text = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, algorithm_type="dpmsolver++",
    )  # fmt: skip
    SanaPipeline(
        transformer=transformer, scheduler=scheduler, vae=vae, text_encoder=Gemma2Model(text), tokenizer=tokenizer
    ).save_pretrained(folder)


def gemma_tokenizer(kind: Any) -> Any:
    """Words and letters after spaces, a begin token before: what matters of Gemma's."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    pieces = [("<pad>", 0.0), ("<eos>", 0.0), ("<bos>", 0.0), ("<unk>", 0.0)]
    letters = {chr(k) for k in range(33, 127)} | {"▁", "\n"}
    pieces += [(f"▁{word}", -1.0) for word in WORDS] + [(c, -9.0) for c in sorted(letters)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Replace("▁", " ")
    inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    about = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return kind(tokenizer_object=inner, **about)


def kandinsky(folder: Path) -> None:
    from diffusers import KandinskyV22CombinedPipeline, PriorTransformer, UnCLIPScheduler, UNet2DConditionModel, VQModel
    from transformers import CLIPImageProcessor

    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=8, addition_embed_type="image", sample_size=8, norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(16, 32), layers_per_block=1, encoder_hid_dim=16, encoder_hid_dim_type="image_proj",
        cross_attention_dim=16, attention_head_dim=4, resnet_time_scale_shift="scale_shift", class_embed_type=None,
    )  # fmt: skip
    movq = VQModel(
        block_out_channels=[32, 32], down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], in_channels=3,
        latent_channels=4, layers_per_block=1, norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12, out_channels=3,
        up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"], vq_embed_dim=4,
    )  # fmt: skip
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=16, num_layers=1, num_embeddings=tokenizer.model_max_length,
        additional_embeddings=4,
    )  # fmt: skip
    with torch.no_grad():
        prior.clip_std.fill_(1)
    KandinskyV22CombinedPipeline(
        unet=unet, scheduler=diffusion(), movq=movq, prior_prior=prior, prior_image_encoder=clip_pictures(projected=16),
        prior_text_encoder=clip_text(tokenizer, projected=16, width=16), prior_tokenizer=tokenizer,
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000, clip_sample_range=10.0
        ),
        prior_image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    ).save_pretrained(folder)  # fmt: skip


def if_unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8, out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=32, encoder_hid_dim=32, attention_head_dim=8, addition_embed_type="text",
        addition_embed_type_num_heads=2, cross_attention_norm="group_norm", resnet_time_scale_shift="scale_shift",
        act_fn="gelu", **more,
    )  # fmt: skip


def deepfloyd(folder: Path) -> None:
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline

    t5_tokenizer, t5_model = t5()
    about: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "watermarker": None}
    about |= {"requires_safety_checker": False, "tokenizer": t5_tokenizer, "text_encoder": t5_model}
    schedule: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_small"}
    scheduler = DDPMScheduler(**schedule, thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.5)
    IFPipeline(unet=if_unet(sample_size=16, in_channels=3), scheduler=scheduler, **about).save_pretrained(folder)
    second = if_unet(sample_size=32, in_channels=6, class_embed_type="timestep", time_embedding_act_fn="gelu")
    IFSuperResolutionPipeline(
        unet=second, scheduler=DDPMScheduler(**schedule), image_noising_scheduler=DDPMScheduler(**schedule), **about
    ).save_pretrained(folder / "stage_2")


def amused(folder: Path) -> None:
    from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel

    tokenizer = clip_tokenizer()
    transformer = UVit2DModel(
        hidden_size=32, cond_embed_dim=16, micro_cond_encode_dim=2, micro_cond_embed_dim=10, encoder_hidden_size=32,
        vocab_size=24, codebook_size=16, in_channels=32, block_out_channels=32, num_res_blocks=1, downsample=True,
        upsample=True, block_num_heads=2, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, sample_size=8,
    )  # fmt: skip
    vqvae = VQModel(
        act_fn="silu", block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2, in_channels=3,
        latent_channels=8, layers_per_block=1, norm_num_groups=8, num_vq_embeddings=16, out_channels=3, sample_size=16,
        up_block_types=["UpDecoderBlock2D"] * 2, mid_block_add_attention=False, lookup_from_codebook=True,
    )  # fmt: skip
    AmusedPipeline(
        transformer=transformer, vqvae=vqvae, tokenizer=tokenizer, text_encoder=clip_text(tokenizer, projected=16),
        scheduler=AmusedScheduler(mask_token_id=23),
    ).save_pretrained(folder)  # fmt: skip


BUILDERS: dict[str, Callable[[Path], object]] = {
    "stable_diffusion": stable_diffusion,
    "sdxl": sdxl, "sd3": sd3, "flux": flux, "flux2": flux2, "qwen_image": qwen_image, "pixart": pixart, "sana": sana,
    "kandinsky": kandinsky, "deepfloyd": deepfloyd, "amused": amused,
}  # fmt: skip


def save_tiny(family: str, folder: Path) -> Path:
    """A random pipeline of this family, the same one each time."""
    torch.manual_seed(0)
    BUILDERS[family](folder)
    clip_pictures(projected=16).save_pretrained(folder / "image_encoder")
    about = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "image_encoder" / "preprocessor_config.json").write_text(json.dumps(about))
    return folder
