"""StyleAligned — Hertz et al., CVPR 2024.

Nothing is trained: during sampling, every self-attention layer also attends to a reference image, its queries and keys
take on the statistics of the reference, and normalisation layers share the statistics of both. The reference is a real
picture, or the first of the pictures that are painted.
"""

import math

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.attention import shared_reference
from limner.parts.modifiers import first_picture, inverted_reference, reference_latents, shared_statistics

REFERENCES = ("picture", "first")


@method(
    title="StyleAligned",
    arxiv="2312.02133",
    scope=("style",),
    same=("reference", "normalise", "statistics", "shift", "first_shift"),
    source="sa_handler.py of google/style-aligned; nothing is trained",
)
def stylealigned(
    subject: Subject,
    *,
    reference: str = "picture",
    normalise: bool = True,
    statistics: bool = True,
    shift: float = math.log(2),
    first_shift: float = 0.0,
) -> Recipe:
    """Shared attention to the subject's first picture, which is inverted by DDIM, or to the first painted picture.

    In prompts the handle becomes the class noun, which is best a word for the style. The picture is inverted with its
    own caption where it has one, as the authors do. The first painted picture is the
    same as without the method, up to rounding, and its style is what the prompts' words give; the subject's pictures
    are then not used. Group norms share their statistics; the authors share those of layer norms too, which changes
    nothing, since these normalise each position by itself. A transformer therefore has no statistics to share.

    Settings:
        reference: "picture", the subject's first picture, or "first", the first of the pictures that are painted
        normalise: whether queries and keys take on the reference's statistics (AdaIN)
        statistics: whether group norms take their statistics over the picture and the reference together
        shift: added to the logits of the reference's keys for the subject's picture; log 2 is the authors'
        first_shift: the same for the first painted picture
    """
    if reference not in REFERENCES:
        raise InputError(f"the reference must be {' or '.join(REFERENCES)}, not {reference!r}")
    real = reference == "picture"
    latents = reference_latents(subject)
    caption = subject.pictures[0].caption.replace(subject.handle, subject.noun) if subject.pictures else ""
    stream = inverted_reference(latents, caption or f"a picture of a {subject.noun}") if real else first_picture
    return Recipe(
        says=subject.noun,
        modifiers=(*((latents,) if real else ()), *((shared_statistics(),) if statistics else ())),
        painting=Painting(
            operations=(shared_reference(normalise=normalise, shift=shift if real else first_shift),),
            reference_stream=stream,
        ),
        notes=_notes(len(subject.pictures), real=real, captioned=bool(caption)),
    )


def _notes(count: int, *, real: bool, captioned: bool) -> tuple[str, ...]:
    if not real:
        return ("the pictures are not used: the first picture that is painted gives the style of the others",)
    hint = "" if captioned else "; a caption that says what it shows would help"
    return (f"only the first picture is used{hint}",) if count > 1 else ()
