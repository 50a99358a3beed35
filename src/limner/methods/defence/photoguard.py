"""PhotoGuard — Salman et al., ICML 2023.

Each photograph is changed so that the encoder maps it to latents without content; a model that edits the photograph or
learns from it then sees little of it. This is the encoder attack; the diffusion attack, which follows gradients through
a whole sampling, is left out.
"""

from limner.core.method import method
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.parts.protection import latents_near, perturbation


@method(
    title="PhotoGuard (encoder attack)",
    arxiv="2302.06588",
    scope=("defence",),
    full_size={"steps": 1000, "epsilon": 7.65, "step_size": 2.55},
    source="the authors' notebook (MadryLab/photoguard): 0.06 and 0.02 of pixels from -1 to 1; its step size falls "
    "linearly to a hundredth, ours along a cosine to a fiftieth",
)
def photoguard(subject: Subject, *, steps: int = 60, epsilon: float = 8.0, step_size: float = 2.0) -> Recipe:
    """Photographs whose latents are drawn to zero.

    Settings:
        steps: updates of each photograph
        epsilon: largest change of a colour channel, which is from 0 to 255
        step_size: change of a colour channel in the first update; it falls along a cosine
    """
    change = perturbation(subject, epsilon)
    return Recipe(
        says=subject.noun,
        modifiers=(change,),
        stages=change.stages(lambda photo: (latents_near(photo),), steps=steps, step_size=step_size, decay="cosine"),
        artefacts=change.copies,
    )
