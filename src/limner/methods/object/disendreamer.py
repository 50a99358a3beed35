"""DisenDreamer — Chen et al., IEEE TCSVT 2024.

DisenBooth, with a further loss: each picture's own vector must explain that picture without the text as well, so that
it carries all details of the picture.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.modifiers import changed_states, image_added, low_rank, rare_word
from limner.parts.objectives import apart, denoising, picture_alone, without_picture
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="DisenDreamer",
    venue="IEEE TCSVT, document 10445245",
    year=2024,
    scope=("object",),
    full_size={"rank": 4, "steps": 2000, "lr": 1e-4, "batch": 1},
    same=("weak_weight", "alone_weight", "apart_weight"),
    source="not published; those of DisenBooth (forchchch/DisenBooth), whose successor it is",
)
def disendreamer(
    subject: Subject,
    *,
    rank: int = 8,
    weak_weight: float = 0.01,
    alone_weight: float = 0.01,
    apart_weight: float = 0.001,
    steps: int = 200,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """DisenBooth with a third run, from the picture's vector alone.

    The article's weights are not known: those of DisenBooth are used, and the new term has the weight of the other weak
    term. The picture's vector is DisenBooth's, too.

    Settings:
        rank: rank of every change
        weak_weight: weight of denoising from the text alone
        alone_weight: weight of denoising from the picture's vector alone; 0 is DisenBooth
        apart_weight: weight of the cosine between text and picture's vector
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    picture = changed_states(subject.handle, rare_word(subject.handle), image_added(clip_global))
    change = low_rank(rank)
    source = photos(subject, batch=batch, seen=True)
    loss = (
        denoising(source),
        weak_weight * without_picture(source),
        alone_weight * picture_alone(source),
        apart_weight * apart(source),
    )
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(picture, change),
        stages=(Stage(train=(learned(picture, change),), loss=loss, steps=steps, lr=lr),),
    )
