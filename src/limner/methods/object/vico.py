"""ViCo — Hao et al., 2023.

A word, and beside the denoiser's cross-attention a new attention to a reference image, at every noise level, limited to
the positions of the reference that attend to the word.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import attention_consistency, image_attention, new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="ViCo",
    arxiv="2306.00971",
    scope=("object",),
    full_size={"steps": 400, "lr": 2e-2, "attention_rate": 5e-4},
    same=("consistency_weight", "batch"),
    source="v1-finetune.yaml and ddpm.py of haoosz/ViCo: a learning rate of 5e-3 times the pictures on four GPUs",
)
def vico(
    subject: Subject,
    *,
    consistency_weight: float = 5e-4,
    attention_rate: float = 0.2,
    steps: int = 200,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """A learned word and image attention to a reference; the base stays as it is.

    The authors put a whole transformer block behind every second attention layer of the decoder, which starts from
    weights of the base's own layers; here one attention stands beside the layer and is silent at first. Their settings
    for a full-size base: learning rates 5e-3 times the batch of the word and 1e-5 of the attention, 400 steps, weight
    5e-4.

    Settings:
        consistency_weight: weight of the loss between the attention maps of the word and of the end token
        attention_rate: learning rate of the image attention as a share of the word's
        steps: updates
        lr: learning rate of the word
        batch: pictures in an update
    """
    word, image = new_word(subject.handle, like=subject.noun), image_attention(subject)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch)
    return Recipe(
        says=subject.handle,
        modifiers=(word, image),
        stages=(
            Stage(
                train=(words(word), at_rate(attention_rate, learned(image))),
                loss=(denoising(source), consistency_weight * attention_consistency(source)),
                steps=steps,
                lr=lr,
            ),
        ),
    )
