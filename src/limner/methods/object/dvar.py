"""DVAR — Voronov et al., NeurIPS 2023.

The training loss of Textual Inversion is uninformative, because noise and times change with every step. On one frozen
batch the loss falls and then stays level, and then training can stop.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, photos
from limner.parts.stops import variance_stop


@method(
    title="DVAR",
    arxiv="2302.04841",
    scope=("object",),
    full_size={"window": 310, "steps": 6100, "lr": 2e-2},
    same=("ratio", "batch"),
    source="README and textual_inversion.py of yandex-research/DVAR: a learning rate of 5e-3 times the batch",
)
def dvar(
    subject: Subject, *, window: int = 60, ratio: float = 0.15, steps: int = 500, lr: float = 1e-2, batch: int = 4
) -> Recipe:
    """Textual Inversion that stops when the loss on one frozen batch no longer varies.

    The authors' settings for a full-size base: a window of 310 steps and a ratio of 0.15, at most 6100 steps; for
    low-rank DreamBooth 440 and 0.4, for Custom Diffusion 180 and 0.15. `learn --stop variance` stops any method so.

    Settings:
        window: number of the last losses
        ratio: training stops when the variance of the last losses is below this share of that of all losses
        steps: updates at most
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch)
    stop = variance_stop(source, window=window, ratio=ratio)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage(train=(words(word),), loss=(denoising(source),), steps=steps, lr=lr, stop=stop),),
    )
