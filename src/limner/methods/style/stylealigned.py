"""StyleAligned — Hertz et al., CVPR 2024.

Nothing is trained: during sampling, every self-attention layer also attends to a reference image, and its queries and
keys take on the statistics of the reference.
"""

import math

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.attention import shared_reference
from limner.parts.modifiers import inverted_reference, reference_latents


@method(
    title="StyleAligned",
    arxiv="2312.02133",
    scope=("style",),
    same=("normalise", "shift"),
    source="sa_handler.py of google/style-aligned; nothing is trained",
)
def stylealigned(subject: Subject, *, normalise: bool = True, shift: float = math.log(2)) -> Recipe:
    """Shared attention to the subject's first picture, which is inverted by DDIM.

    In prompts the handle becomes the class noun, which is best a word for the style. The authors also share the
    statistics of group and layer norms; here each row has its own.

    Settings:
        normalise: whether queries and keys take on the reference's statistics (AdaIN)
        shift: added to the logits of the reference's keys; log 2 is the authors' for real pictures
    """
    reference = reference_latents(subject)
    return Recipe(
        says=subject.noun,
        modifiers=(reference,),
        painting=Painting(
            operations=(shared_reference(normalise=normalise, shift=shift),),
            reference_stream=inverted_reference(reference, f"a picture of a {subject.noun}"),
        ),
        notes=("only the first picture is used; a caption of its own would help",) if len(subject.pictures) > 1 else (),
    )
