"""PhotoSwap — Gu et al., NeurIPS 2023.

The subject is learned as in DreamBooth. To put it into a picture, that source is inverted, and in the first steps of
sampling the self-attention outputs and the attention maps of the source replace the picture's own.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import attended, swapped_attention
from limner.parts.modifiers import along_source, kept_around, rare_word_and, source_picture
from limner.parts.objectives import preserving
from limner.parts.parameters import everything
from limner.parts.sources import prior_note


@method(
    title="PhotoSwap",
    arxiv="2305.18286",
    scope=("condition", "object", "face"),
    reads=("source", "mask"),
    full_size={
        "steps": 1000,
        "lr": 5e-6,
        "prior_weight": 1.0,
        "num_class_pictures": 200,
        "batch": 1,
        "self_output": 0.8,
        "self_map": 0.0,
    },
    same=(
        *("cross", "blend_from", "threshold"),
        *("inversion", "null_text_steps", "source_noun", "source_prompt"),
    ),
    source="real-image-swap.ipynb and swapping_class.py of eric-ai-lab/photoswap; null-text inversion as in "
    "google/prompt-to-prompt; training as in DreamBooth, since theirs is not published",
)
def photoswap(
    subject: Subject,
    *,
    cross: float = 0.6,
    self_output: float = 0.3,
    self_map: float = 0.1,
    blend_from: float = 0.2,
    threshold: float = 0.3,
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
    """DreamBooth's training; null-text inversion of the source, swapped attention, and blending by attention.

    The source is the condition "source" of `paint` (`limner swap PHOTO --with rex.safetensors`); without it, it is the
    picture that the base paints from the prompt with the noun in the handle's place. It is run beside the picture at
    its inverted latents, so that all of it outside of the blended mask stays as the autoencoder gives it back; the
    authors sample it with the null-text states, which is near to that. As in their code, self-attention maps follow the
    source for `self_output + self_map`, and swapping acts in the branch of the prompt. The authors search the shares
    from 0.5 to 0.9 for every picture: more of them keeps more of the source's pose, and less of the subject's shape.

    The authors' own `self_output` is 0.8 and their `self_map` 0; on the small base 0.8 keeps the source's colours too
    (identity of a subject of the development split 0.07, at 0.3 it is 0.24). They also name concepts of Textual
    Inversion and Custom Diffusion: `limner swap` paints any concept without a way of sampling of its own in this way. A
    mask, which they do not have, limits the change further.

    Settings:
        cross: share of the steps in which the source's cross-attention maps of shared words are taken
        self_output: share of the steps in which the source's self-attention outputs are taken
        self_map: share of the steps after these in which the source's self-attention maps are taken
        blend_from: share of the steps after which the source's latents stay outside of the subject
        threshold: share of the largest attention above which a position belongs to the subject
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
    source = source_picture(
        subject.handle, subject.noun, source_noun, source_prompt, null_text_steps, inversion=inversion
    )
    attention = swapped_attention(cross, self_output, self_map)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(source, attention),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        painting=Painting(
            latents=(along_source(source, attention.recording),),
            after_steps=(kept_around(source, attended(blend_from, threshold)),),
        ),
        notes=prior_note(prior_weight, num_class_pictures),
    )
