"""ProSpect — Zhang et al., SIGGRAPH Asia 2023.

A word with ten meanings, one for each tenth of the denoising: layout first, then structure, material and texture last.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import per_stage, varying_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="ProSpect",
    arxiv="2305.16225",
    scope=("object", "style"),
    full_size={"steps": 600, "lr": 1e-4, "batch": 1},
    same=("stages",),
    source="v1-finetune.yaml of zyxElsa/ProSpect",
)
def prospect(subject: Subject, *, stages: int = 10, steps: int = 250, lr: float = 3e-3, batch: int = 4) -> Recipe:
    """A new word whose vector a small block makes for every stage of denoising; block and stages learn.

    In the authors' code a transformer block attends over the start token alone, and its gated feed-forward layer, with
    dropout, emits the vectors of all stages at once; here the stages share two layers without dropout, and each has an
    embedding. Their settings for a full-size base: 10 stages, learning rate 1e-4, batch 1, 600 steps.

    Settings:
        stages: equal stretches of time, each with a vector of its own
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = varying_word(subject.handle, subject.noun, per_stage(stages))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(learned(word),),
                loss=(denoising(photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)),),
                steps=steps,
                lr=lr,
            ),
        ),
    )
