"""SwapAnything — Gu et al., ECCV 2024.

The subject is learned as in DreamBooth. To put it into a picture, latents and attention of the inverted source replace
the picture's own everywhere outside of a mask, and inside of it latents take on the source's statistics.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import adapted_latents, soft_mask, swapped_attention
from limner.parts.modifiers import along_source, kept_around, rare_word_and, source_picture
from limner.parts.objectives import preserving
from limner.parts.parameters import everything
from limner.parts.sources import prior_note


@method(
    title="SwapAnything",
    arxiv="2404.05717",
    scope=("condition", "object", "face"),
    reads=("source", "mask"),
    full_size={
        "steps": 800,
        "lr": 2e-6,
        "prior_weight": 1.0,
        "num_class_pictures": 200,
        "batch": 1,
        "self_map": 0.0,
        "dilate": 10 / 64,
        "blur": 25 / 64,
    },
    same=("cross", "self_output", "adapt", "inversion", "null_text_steps", "source_noun", "source_prompt"),
    source="main.py, config_personal_swap.yml and train_dreambooth.sh of eric-ai-lab/swap-anything, which tries shares of "
    "0, 0.1, 0.3, 0.5 and 0.7: 0.3 of these is our choice, and adapt is ours",
)
def swapanything(
    subject: Subject,
    *,
    cross: float = 0.3,
    self_output: float = 0.3,
    self_map: float = 0.1,
    dilate: float = 0.0625,
    blur: float = 0.1875,
    adapt: float = 1.0,
    inversion: str = "ddim",
    null_text_steps: int = 10,
    source_noun: str = "",
    source_prompt: str = "",
    steps: int = 80,
    lr: float = 7e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """DreamBooth's training; targeted variable swapping outside of a softened mask; appearance adaptation inside.

    The source is the condition "source" of `paint` and the part that changes the condition "mask" (`limner swap PHOTO
    --with rex.safetensors --where MASK`); without a mask it is where the base's segmenter finds a subject, and without
    a source the base paints one from the prompt with the noun in the handle's place. A mask may cover a part alone, a
    hat for another hat, or a free place: `source_noun` is then "nothing". Outside of the softened mask all latents are
    those of the inverted source at every step, so that the result there is what the autoencoder gives back.

    As in the authors' code, a self-attention map follows the source where both query and key are outside of the mask,
    and statistics of latents are taken over all channels at once. They keep the mask within layers hard and soften it
    for latents alone; here one softened mask serves both. Their training also tunes the text encoder, here the denoiser
    alone is tuned. They cut the picture to the mask with a margin, which `limner swap` does too.

    Settings:
        cross: share of the steps in which the source's cross-attention maps of shared words are taken
        self_output: share of the steps in which the source's self-attention outputs are taken
        self_map: share of the steps after these in which the source's self-attention maps are taken
        dilate: diameter by which the mask is made wider, as a share of the picture's side
        blur: width of the mask's soft edge, as a share of the picture's side
        adapt: how far latents and outputs inside of the mask take on the source's mean and deviation, from 0 to 1
        inversion: "ddim" with the null text, or "exact", which solves the guided sampler's own steps and needs no null
            text
        null_text_steps: updates of the null-text inversion in each step; 0 inverts by DDIM alone
        source_noun: noun of the thing in the source that is replaced; empty for the subject's class
        source_prompt: prompt of the source, which names that noun; empty for the picture's prompt with that noun
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    source = source_picture(subject.handle, subject.noun, source_noun, source_prompt, null_text_steps, True, inversion)
    attention = swapped_attention(cross, self_output, self_map, soft=(dilate, blur), adapt=adapt)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    adaptation = (adapted_latents(attention),) if adapt else ()
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(source, attention),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        painting=Painting(
            latents=(along_source(source, attention.recording),),
            after_steps=(*adaptation, kept_around(source, lambda swap, _: soft_mask(swap, (dilate, blur)))),
        ),
        notes=prior_note(prior_weight, num_class_pictures),
    )
