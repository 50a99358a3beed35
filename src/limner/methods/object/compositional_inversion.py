"""Compositional Inversion — Zhang et al., AAAI 2024.

A learned word lies far from the words that a model knows, and dominates the others in a prompt. Here a loss pulls it
towards an anchor, the class noun, and during sampling its attention is guided into the subject's region.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import box_of, drawn_into
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising, near_anchor
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Compositional Inversion",
    arxiv="2312.08048",
    scope=("object", "multi"),
    full_size={"anchor_weight": 0.95, "vectors": 3, "steps": 5000, "lr": 4e-2, "batch": 8},
    same=("box",),
    source="scripts of zhangxulu1996/Compositional-Inversion: a learning rate of 5e-3 times the batch",
)
def compositional_inversion(
    subject: Subject,
    *,
    anchor_weight: float = 0.1,
    box: str = "",
    vectors: int = 1,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """Textual Inversion with hidden states near those of the class noun, and spatial inversion while sampling.

    The word stands alone in captions; in the authors' code the class noun follows it. Their settings for a full-size
    base: 3 vectors, learning rate 5e-3, 5000 steps, 0.95 of the loss the anchor's and 0.05 the reconstruction's.
    Spatial inversion acts where the subject has a region, which the user gives for a picture (`limner paint --region`)
    or for all (`box`); the authors' boxes come from the user too, or from a small network that reads the prompt, which
    is left out: it learns from captions with boxes, and no base brings these.

    Settings:
        anchor_weight: share of the loss that is the distance to the anchor; 0 is Textual Inversion
        box: left,top,right,bottom as shares of pictures whose prompt comes without regions; empty is anywhere
        vectors: number of vectors per token of the word
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun, num_vectors=vectors)
    source, where = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5), box_of(box)
    anchor = near_anchor(source, word=subject.handle, anchors=(" ".join([subject.noun] * vectors),))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(words(word),),
                loss=((1 - anchor_weight) * denoising(source), anchor_weight * anchor),
                steps=steps,
                lr=lr,
            ),
        ),
        painting=Painting(latents=(drawn_into(subject.handle, where),)),
    )
