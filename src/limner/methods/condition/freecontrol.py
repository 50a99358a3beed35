"""FreeControl — Mo et al., CVPR 2024.

Nothing is trained: keys of self-attention, in the principal components of pictures sampled for the concept, segment a
picture of any kind. Guidance pulls the sample's structure to that of an inverted guide picture, and its appearance to
that of an unguided sample.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.guidance import structure_guidance
from limner.parts.modifiers import reference_latents


@method(
    title="FreeControl",
    arxiv="2312.07536",
    scope=("condition", "object"),
    reads=("source",),
    full_size={"strength": 800.0, "components": 64, "num_class_pictures": 20, "warmup": 0.05, "appearance": 0.05},
    same=("background", "colours", "until", "inversion"),
    source="config/base.yaml of the authors' code, whose 200 steps are guided up to step 80",
)
def freecontrol(
    subject: Subject,
    *,
    strength: float = 400.0,
    background: float = 10.0,
    appearance: float = 20.0,
    components: int = 16,
    colours: int = 2,
    num_class_pictures: int = 8,
    until: float = 0.4,
    warmup: float = 0.1,
    inversion: str = "ddim",
) -> Recipe:
    """The structure of the condition "source", a picture of any kind (a sketch, depth, a render), where it is given;
    else that of the subject's first picture.

    In prompts the handle becomes the class noun, which is the concept whose pictures give the principal components.
    Other concepts attached beside it act in all of its passes, such as a DreamBooth. No parameter changes. The features
    of the appearance are the inputs of the layers whose keys are read. The foreground is where the guide picture's pass
    attends to the noun. The authors invert in 999 steps, here in as many as are sampled.

    Settings:
        strength: factor of the gradient of both energies
        background: weight of the structure's energy in the guide picture's background
        appearance: weight of the appearance's energy; 0 leaves it out
        components: principal components of the structure
        colours: principal components whose features give the appearance
        num_class_pictures: pictures of the class that are sampled for the principal components
        until: share of sampling, from its start, with guidance
        warmup: share of sampling in which the strength rises to its value
        inversion: "ddim", or "exact", which solves the sampler's own steps
    """
    reference = reference_latents(subject, instead="source")
    guidance = structure_guidance(
        reference,
        subject.noun,
        strength=strength,
        background=background,
        appearance=appearance,
        components=components,
        colours=colours,
        seeds=num_class_pictures,
        until=until,
        warmup=warmup,
        inversion=inversion,
    )
    return Recipe(says=subject.noun, modifiers=(reference,), painting=Painting(latents=(guidance,)))
