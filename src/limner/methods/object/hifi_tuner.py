"""HiFi Tuner — Wang et al., 2023.

A vector of constant length for every sampling step, learned on the masked subject. During sampling, the region that
attends to it takes on the statistics of a reference image at the same noise level.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.guidance import masked_reference, reference_statistics
from limner.parts.modifiers import per_step, varying_word
from limner.parts.objectives import denoising
from limner.parts.parameters import part_of
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="HiFi Tuner",
    arxiv="2312.00079",
    scope=("object", "condition"),
    full_size={"shared_steps": 500, "steps": 500, "lr": 5e-3, "batch": 8},
    same=("vectors", "reference"),
    source="not published; those of P+ (Sec. 4 of arXiv:2303.09522), which learns several vectors of a word too",
)
def hifi_tuner(
    subject: Subject,
    *,
    vectors: int = 50,
    reference: float = 0.3,
    shared_steps: int = 120,
    steps: int = 120,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """Step-wise words on the masked subject, and reference guidance.

    First one vector for all steps, then a shift of it for each. There is no public code: guidance is built from the
    paper's account of it, with DDIM inversion in the place of the pivotal one, and the reference is the subject's first
    picture. The variant that tunes the whole denoiser too is left out.

    Settings:
        vectors: sampling steps that have a vector of their own
        reference: how far the statistics move to the reference's during sampling; 0 leaves guidance out
        shared_steps: updates of the shared vector
        steps: updates of the shifts
        lr: learning rate
        batch: pictures in an update
    """
    word, shown = varying_word(subject.handle, subject.noun, per_step(vectors)), masked_reference(subject)
    loss = (denoising(photos(subject, captions=PHOTO_TEMPLATES, batch=batch, masks=subject_masks)),)
    guide = reference_statistics(shown, subject.handle, f"a photo of a {subject.noun}", strength=reference)
    return Recipe(
        says=subject.handle,
        modifiers=(word, shown),
        stages=(
            Stage(train=(part_of(word, ".shared"),), loss=loss, steps=shared_steps, lr=lr),
            Stage(train=(part_of(word, ".steps"),), loss=loss, steps=steps, lr=lr),
        ),
        painting=Painting(latents=(guide,) if reference else ()),
    )
