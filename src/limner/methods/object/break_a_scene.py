"""Break-a-Scene — Avrahami et al., SIGGRAPH Asia 2023.

First the word alone at a high rate, then word, denoiser and text encoder together at a low one; the loss counts where
the subject is, and the token's cross-attention is localised on the mask.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import new_word, watched_word
from limner.parts.objectives import attention_on_mask, preserving
from limner.parts.parameters import everything, text_encoder, words
from limner.parts.sources import photos, prior_note


@method(
    title="Break-a-Scene",
    arxiv="2305.16311",
    scope=("object",),
    full_size={
        "word_steps": 400,
        "word_lr": 5e-4,
        "steps": 400,
        "lr": 2e-6,
        "prior_weight": 1.0,
        "num_class_pictures": 100,
        "batch": 1,
    },
    same=("attention_weight",),
    source="train.py of google/break-a-scene",
)
def break_a_scene(
    subject: Subject,
    *,
    word_steps: int = 100,
    word_lr: float = 1e-2,
    steps: int = 100,
    lr: float = 2e-4,
    attention_weight: float = 0.01,
    prior_weight: float = 0.3,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """Two phases, masked denoising, attention on the mask, prior preservation.

    The authors learn several subjects from one picture, naming a random part of them at every step; a recipe has one
    subject, so every step names it. Their class images show no class ("a photo at the beach"), here they show the
    subject's. Their settings for a full-size base: 400 steps at 5e-4, then 400 at 2e-6, weights 0.01 and 1.

    Settings:
        word_steps: updates of the word alone
        word_lr: its learning rate then
        steps: updates of word, denoiser and text encoder
        lr: learning rate then
        attention_weight: weight of the loss that localises the word's attention on the mask
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    word, watched = new_word(subject.handle, like=subject.noun), watched_word(subject.handle)
    own = photos(subject, batch=batch, flip=0.5, masks=subject_masks)
    loss = (
        *preserving(subject, own=own, weight=prior_weight, count=num_class_pictures, batch=batch),
        attention_weight * attention_on_mask(own, watched),
    )
    return Recipe(
        says=subject.handle,
        modifiers=(word, watched),
        stages=(
            Stage(train=(words(word),), loss=loss, steps=word_steps, lr=word_lr),
            Stage(train=(words(word), everything(), text_encoder()), loss=loss, steps=steps, lr=lr),
        ),
        notes=prior_note(prior_weight, num_class_pictures),
    )
