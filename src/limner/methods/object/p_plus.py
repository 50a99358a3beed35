"""P+ — Voynov et al., 2023.

Textual Inversion with a vector of its own for every cross-attention layer: coarse layers learn shape, fine ones
appearance, and learning is faster.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import per_layer, varying_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="P+ (Extended Textual Inversion)",
    arxiv="2303.09522",
    scope=("object", "style"),
    full_size={"steps": 500, "lr": 5e-3, "batch": 8},
    source="Sec. 4 of arXiv:2303.09522",
)
def p_plus(subject: Subject, *, steps: int = 250, lr: float = 1e-2, batch: int = 4) -> Recipe:
    """A new word that every cross-attention layer reads in its own way.

    The authors' settings for a full-size base: learning rate 5e-3, batch 8, 500 steps; all layers start as the class
    word.

    Settings:
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = varying_word(subject.handle, subject.noun, per_layer())
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(learned(word),),
                loss=(denoising(photos(subject, captions=PHOTO_TEMPLATES, batch=batch)),),
                steps=steps,
                lr=lr,
            ),
        ),
    )
