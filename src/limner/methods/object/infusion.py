"""Infusion — Zeng et al., ACM Multimedia 2024.

A very small change: one vector for each layer, added to the value of the class noun. During sampling, attention maps
come from the untouched base, run in a parallel stream from the same noise, so that the base's knowledge of the scene is
preserved.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import value_residual
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="Infusion",
    arxiv="2404.14007",
    scope=("object", "multi"),
    full_size={"steps": 500, "lr": 0.03, "batch": 16},
    same=("outside", "twins"),
    source="zwl666666/infusion: batches of 4, accumulated 4 times",
)
def infusion(
    subject: Subject, *, outside: float = 0.1, twins: bool = True, steps: int = 250, lr: float = 2e-2, batch: int = 4
) -> Recipe:
    """Value residuals, learned where the subject is, and the base's own attention during sampling.

    The authors' settings for a full-size base: learning rate 0.03, batch 4 accumulated 4 times, 500 steps. Their code
    differs from their paper (it learns a residual of the key too); this is the paper's. Their masks are CLIPSeg's and
    soft; here they are the user's, or those of the base's segmenter. Several subjects in a prompt share one parallel
    stream, with the class noun of each.

    Settings:
        outside: weight of the loss outside of the subject
        twins: whether every picture takes its attention from the base, painted alongside; twice the work
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    residual = value_residual(subject.handle, subject.noun)
    source = photos(subject, batch=batch, flip=0.5, masks=subject_masks, outside=outside)
    return Recipe(
        says=subject.handle,
        modifiers=(residual,),
        stages=(Stage(train=(learned(residual),), loss=(denoising(source),), steps=steps, lr=lr),),
        painting=Painting(parallel_stream=str if twins else None),  # the same prompt
    )
