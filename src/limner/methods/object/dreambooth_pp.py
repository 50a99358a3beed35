"""DreamBooth++ — Fan et al., ACM MM 2024.

Several reference images are packed onto one canvas with isolated regions, and the prior is preserved by distillation
from the untouched base, without class images.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising, distillation
from limner.parts.parameters import everything
from limner.parts.sources import photos


@method(
    title="DreamBooth++",
    venue="ACM Multimedia 2024",
    year=2024,
    scope=("object",),
    full_size={"steps": 1000, "lr": 5e-6, "batch": 1},
    same=("packed", "distillation_weight"),
    source="not published; DreamBooth's (Sec. 4 of arXiv:2208.12242), on which it stands",
)
def dreambooth_pp(
    subject: Subject,
    *,
    packed: int = 2,
    distillation_weight: float = 0.3,
    steps: int = 140,
    lr: float = 7e-4,
    batch: int = 4,
) -> Recipe:
    """DreamBooth on packed references with distillation from the untouched base.

    There is no code. Built from the abstract: regions that are isolated in convolutions and attention alike are rows of
    a batch, so that is what they are here. Small pictures are an odd size for a base, so one update in two is of whole
    ones.

    Settings:
        packed: pictures along a side of the canvas
        distillation_weight: weight of the difference to the base where the prompt names the class
        steps: updates
        lr: learning rate
        batch: pictures in an update, as many small and whole
    """
    small, whole = photos(subject, batch=batch, packed=packed), photos(subject, batch=batch)
    loss = (
        denoising(whole),
        denoising(small),
        distillation_weight * distillation(whole, f"a photo of a {subject.noun}"),
    )
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
    )
