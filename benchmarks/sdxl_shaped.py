"""A small random base of Stable Diffusion XL's shape, for timing: `sdxl_shaped.py FOLDER`. Two text encoders, three
levels, transformer layers one to four deep, 128 px."""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from limner.bases.common.loading import POCKET

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(POCKET / "tokenizer")

    def tower(width: int, layers: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=8, max_position_embeddings=tokenizer.model_max_length, projection_dim=256,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip

    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=(96, 192, 384), layers_per_block=2, cross_attention_dim=448, norm_num_groups=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2, 4),
        attention_head_dim=(3, 6, 12), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=64, projection_class_embeddings_input_dim=64 * 6 + 256,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64, 64, 64), latent_channels=4, norm_num_groups=16, sample_size=128,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.13025,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    StableDiffusionXLPipeline(
        vae=vae, unet=unet, scheduler=scheduler, tokenizer=tokenizer, tokenizer_2=tokenizer,
        text_encoder=CLIPTextModel(tower(192, 6)), text_encoder_2=CLIPTextModelWithProjection(tower(256, 8)),
    ).save_pretrained(folder)  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
