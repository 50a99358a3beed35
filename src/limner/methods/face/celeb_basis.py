"""Celeb Basis — Yuan et al., NeurIPS 2023.

A word of two vectors that can only lie where names of people lie: a mean name and its main directions, mixed by
coefficients that start from the face."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import face_embedding, mean_of
from limner.parts.modifiers import basis_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import FACE_TEMPLATES, photos


@method(
    title="Celeb Basis",
    arxiv="2306.00926",
    scope=("face",),
    full_size={"lr": 0.1, "steps": 400},
    same=("names", "dims", "average", "batch"),
    source="aigc_id.yaml of ygtxr1997/CelebBasis, 5e-3 on a layer that the sizes of 512 features, some 20 together, "
    "make 0.1 on its output",
)
def celeb_basis(
    subject: Subject,
    *,
    names: str = "",
    dims: int = 512,
    average: float = 0.99,
    steps: int = 200,
    lr: float = 5e-2,
    batch: int = 2,
) -> Recipe:
    """Coefficients of a basis of names, their running mean kept; denoiser and text encoder stay as they are.

    The authors map the face's features to coefficients by one linear layer and teach two people at once through it.
    With one person its input never changes, so the coefficients learn themselves here, from that layer's random output
    on: under Adam the same path, at its rate times the sum of the features' sizes. A base that knows nobody by
    name lends its rare words, which span few directions and hold no prior of faces; the authors' names are 691
    celebrities. Their settings: 512 directions, momentum 0.99, learning rate 5e-3 on the layer (about 0.1 on
    coefficients of 512 features), 2 faces an update, 400 updates a person.

    Settings:
        names: names of people that the base knows, with commas between them; empty is a list of famous ones
        dims: main directions of names at each of two places
        average: how much of itself the running mean of the coefficients keeps at an update
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = basis_word(subject, mean_of(face_embedding), dims=dims, names=names)
    loss = denoising(photos(subject, captions=FACE_TEMPLATES, batch=batch))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage((learned(word),), (loss,), steps, lr, average=average),),
    )
