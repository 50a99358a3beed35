"""Anti-DreamBooth — Van Le et al., ICCV 2023.

A surrogate is tuned on the photographs as a stranger would tune it with DreamBooth; then each photograph is changed so
that the surrogate's denoising error on it grows. This is FSMG, with a fixed surrogate; ASPL, which tunes the surrogate
and the photographs in turns, is left out.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising, preserving
from limner.parts.parameters import everything
from limner.parts.protection import perturbation
from limner.parts.sources import prior_note


@method(
    title="Anti-DreamBooth (FSMG)",
    arxiv="2303.15433",
    scope=("defence", "face"),
    full_size={
        "surrogate_steps": 1000,
        "lr": 5e-7,
        "prior_weight": 1.0,
        "num_class_pictures": 200,
        "batch": 2,
        "steps": 100,
        "epsilon": 6.375,
        "step_size": 0.6375,
    },
    source="attack_with_fsmg.sh of the authors (VinAIResearch/Anti-DreamBooth): 0.05 and 0.005 of pixels from -1 to 1; "
    "their surrogate learns from other photographs of the person and tunes the text encoder, too",
)
def anti_dreambooth(
    subject: Subject,
    *,
    surrogate_steps: int = 80,
    lr: float = 7e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
    steps: int = 60,
    epsilon: float = 8.0,
    step_size: float = 1.0,
) -> Recipe:
    """Photographs on which a model tuned by DreamBooth has a large denoising error.

    Settings:
        surrogate_steps: updates of the surrogate
        lr: learning rate of the surrogate
        prior_weight: weight of the loss on class images, while the surrogate learns; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: photographs in an update of the surrogate, and as many class images
        steps: updates of each photograph
        epsilon: largest change of a colour channel, which is from 0 to 255
        step_size: change of a colour channel in an update
    """
    change = perturbation(subject, epsilon)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    surrogate = Stage(train=(everything(),), loss=loss, steps=surrogate_steps, lr=lr, weight_decay=1e-2)
    attack = change.stages(lambda photo: (-1.0 * denoising(photo),), steps=steps, step_size=step_size)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(change,),
        stages=(surrogate, *attack),
        artefacts=change.copies,
        notes=prior_note(prior_weight, num_class_pictures),
    )
