"""CatVersion — Zhao et al., 2023.

A prefix in the text encoder instead of a word: in its last layers one key and one value a head stand before the
sequence, and the class noun, read through them, becomes the subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import text_prefix
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="CatVersion",
    arxiv="2311.14631",
    scope=("object",),
    full_size={"steps": 1000, "lr": 1e-2, "batch": 2},
    same=("share",),
    source="v1-finetune.yaml of RoyZhao926/CatVersion: the last 3 of 12 layers, a learning rate of 5e-3 "
    "times the batch",
)
def catversion(subject: Subject, *, share: float = 0.25, steps: int = 250, lr: float = 1e-1, batch: int = 4) -> Recipe:
    """The class noun, with a learned prefix in the last self-attention layers of the text encoder.

    The authors' settings for a full-size base: the last 3 of 12 layers, learning rate 5e-3, batch 2, about 1000 steps,
    the bare class noun for a caption.

    Settings:
        share: share of the text encoder's layers that have the prefix, the last ones
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    prefix = text_prefix(share)
    source = photos(subject, captions=("{}",), batch=batch)
    return Recipe(
        says=subject.noun,
        modifiers=(prefix,),
        stages=(Stage(train=(learned(prefix),), loss=(denoising(source),), steps=steps, lr=lr),),
    )
