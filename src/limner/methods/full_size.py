"""The authors' settings of each method for a full-size base. The signatures hold settings for the pocket base, which is
small, learns at higher rates and needs fewer updates; on any other base these take their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DREAMBOOTH = {"steps": 1000, "lr": 5e-6, "batch": 1, "num_class_pictures": 200}


class FullSize(NamedTuple):
    """Settings, and where they are from."""

    settings: Mapping[str, Any]
    source: str


FULL_SIZE: dict[str, FullSize] = {
    "blip_diffusion": FullSize(
        {"queries": 16, "layers": 12, "width": 768, "hidden": 3072, "projector": 3072, "repeats": 20,
         "steps": 500_000, "lr": 2e-6, "batch": 16}, "Sec. 5 of arXiv:2305.14720; shape and repeats of its pipeline in diffusers",
    ),
    "break_a_scene": FullSize(
        {"word_steps": 400, "word_lr": 5e-4, "steps": 400, "lr": 2e-6, "batch": 1}, "train.py of google/break-a-scene"
    ),
    "bootpig": FullSize(
        {"steps": 10_000, "batch": 128, "lr": 1e-4, "picture_guidance": 4.0},
        "SalesforceAIResearch/bootpig; theirs is 5e-6 for a whole copy, the rate for low rank is ours",
    ),
    "catversion": FullSize({"lr": 1e-2, "batch": 2, "steps": 1000}, "v1-finetune.yaml of RoyZhao926/CatVersion, 5e-3 times the batch"),
    "clic": FullSize({"lr": 1e-5, "steps": 500, "batch": 1}, "reproduce.sh of Mehdi0xC/clic"),
    "comcat": FullSize({"rank": 2, "lr": 2.5e-3, "steps": 500, "batch": 1}, "run.sh of jinqixiao/ComCAT"),
    "compositional_inversion": FullSize(
        {"vectors": 3, "lr": 4e-2, "steps": 5000, "batch": 8}, "zhangxulu1996/Compositional-Inversion, 5e-3 times the batch"
    ),
    "coti": FullSize({"cycles": 20, "queries": 10, "lr": 5e-3}, "test_0.sh of jnzju/COTI; its learning rate is searched"),
    "custom_diffusion": FullSize(
        {"lr": 2e-5, "steps": 250, "batch": 2, "num_class_pictures": 200}, "adobe-research/custom-diffusion, 1e-5 times the batch"
    ),
    "dci": FullSize({"lr": 1e-5, "steps": 900, "batch": 2, "num_class_pictures": 200}, "jinjianRick/DCI_ICO"),
    "diffnat": FullSize({**DREAMBOOTH}, "DreamBooth's, on which it is put"),
    "diptych_prompting": FullSize(
        {
            "adapter": False,
            "template": "A diptych with two side-by-side images of same {noun}. On the left, a photo of {noun}. On the right, "
            "replicate this {noun} exactly but as {prompt}",
        },
        "diptych_prompting_inference.py of chaehunshin/DiptychPrompting; no adapter, on a base that draws diptychs",
    ),
    "disenbooth": FullSize({"rank": 4, "lr": 1e-4, "batch": 1, "steps": 2000}, "train_disenbooth.py of forchchch/DisenBooth"),
    "disendreamer": FullSize({"rank": 4, "lr": 1e-4, "batch": 1, "steps": 2000}, "DisenBooth's, whose successor it is"),
    "dreamartist": FullSize(
        {"lr": 2.5e-3, "steps": 3000, "batch": 1}, "IrisRainbowNeko/DreamArtist-stable-diffusion: 1,000 to 15,000 steps"
    ),
    "dreambooth": FullSize({**DREAMBOOTH}, "Sec. 4 of arXiv:2208.12242"),
    "dreamdistribution": FullSize(
        {"prompts": 32, "vectors": 4, "lr": 1e-3, "batch": 4, "steps": 2000}, "train.sh of briannlongzhao/DreamDistribution"
    ),
    "dvar": FullSize({"window": 310, "ratio": 0.15, "steps": 6100, "lr": 5e-3}, "yandex-research/DVAR"),
    "e4t": FullSize(
        {"steps": 15, "lr": 5e-6, "pretrain_steps": 100_000, "pretrain_lr": 1.6e-5, "batch": 2},
        "README of mkshing/e4t-diffusion, which is not the authors'; there 16 pictures an update in tuning as well",
    ),
    "elite": FullSize(
        {"steps": 70_000, "local_steps": 200_000, "lr": 6.4e-5, "local_lr": 3.2e-4, "batch": 64},
        "train_global.sh and train_local.sh of csyxwei/ELITE: 1e-6 and 1e-5 times batches of 64 and 32 pictures",
    ),
    "gradient_free_ti": FullSize(
        {"dims": 256, "population": 20, "sigma": 1.0, "steps": 250}, "train_inversion.py of feizc/Gradient-Free-Textual-Inversion"
    ),
    "hiper": FullSize({"states": 5, "lr": 5e-3, "steps": 1000, "batch": 1}, "script.sh of HiPer0/HiPer"),
    "infusion": FullSize({"lr": 0.03, "batch": 16, "steps": 500}, "zwl666666/infusion, 4 accumulated 4 times"),
    "instructbooth": FullSize({**DREAMBOOTH}, "DreamBooth's for the first stage; the second's are not published"),
    "ip_adapter": FullSize({"lr": 1e-4, "steps": 1_000_000, "batch": 64}, "Sec. 4.1 of arXiv:2308.06721"),
    "kosmos_g": FullSize(
        {"align_steps": 300_000, "align_lr": 1e-3, "steps": 200_000, "lr": 1e-3, "batch": 16},
        "runalign.sh and runtrain.sh of xichenpan/Kosmos-G, whose batches are those of each of 64 GPUs",
    ),
    "lora_dreambooth": FullSize(
        {"rank": 4, "layers": "attention", "lr": 1e-4, "steps": 500, "batch": 1, "prior_weight": 0.0},
        "train_dreambooth_lora.py of diffusers",
    ),
    "lycoris_locon": FullSize({"lr": 2e-4, "batch": 8, "steps": 1000}, "lora_config.toml of KohakuBlueleaf/LyCORIS; steps are ours"),
    "lycoris_loha": FullSize({"lr": 2e-4, "batch": 8, "steps": 1000}, "loha_config.toml of KohakuBlueleaf/LyCORIS; steps are ours"),
    "lycoris_lokr": FullSize({"lr": 2e-4, "batch": 8, "steps": 1000}, "lokr_config.toml of KohakuBlueleaf/LyCORIS; steps are ours"),
    "neti": FullSize({"lr": 8e-3, "batch": 8, "steps": 1000}, "config.py of NeuralTextualInversion/NeTI, 1e-3 times the batch"),
    "oft": FullSize(
        {"blocks": 4, "radius": 6e-5, "lr": 6e-5, "batch": 1, "steps": 2000, "num_class_pictures": 200},
        "train_dreambooth_oft.sh of Zeju1997/oft, which runs to 10,005 and picks an earlier checkpoint",
    ),
    "p_plus": FullSize({"lr": 5e-3, "batch": 8, "steps": 500}, "Sec. 4 of arXiv:2303.09522"),
    "pair_customization": FullSize(
        {"rank": 64, "content_steps": 250, "steps": 500, "lr": 1e-5, "style_guidance": 4.0},
        "train_pair_customization_lora_sdxl.sh of PairCustomization/PairCustomization",
    ),
    "perfusion": FullSize({"lr": 0.03, "word_rate": 0.2, "batch": 16, "steps": 400}, "ChenDarYen's implementation of Perfusion"),
    "persam": FullSize({**DREAMBOOTH}, "DreamBooth's, on which it is put"),
    "prospect": FullSize({"stages": 10, "lr": 1e-4, "batch": 1, "steps": 600}, "v1-finetune.yaml of zyxElsa/ProSpect"),
    "svdiff": FullSize({"lr": 1e-3, "steps": 500, "batch": 1, "num_class_pictures": 200}, "mkshing/svdiff-pytorch"),
    "textual_inversion": FullSize({"vectors": 1, "lr": 5e-3, "steps": 6100, "batch": 4}, "Sec. 4 of arXiv:2208.01618, 0.005 in all"),
    "unet_finetune": FullSize({"width": 60, "lr": 1e-4, "steps": 1000}, "attn2o-ffni.yaml of Xiang-cd/unet-finetune; steps are ours"),
    "vico": FullSize({"lr": 5e-3, "attention_rate": 2e-3, "steps": 400}, "haoosz/ViCo"),
}  # fmt: skip
