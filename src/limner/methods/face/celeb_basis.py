"""Celeb Basis — Yuan et al., NeurIPS 2023.

A word of two vectors in the span of people's names: the mean name plus its principal directions, weighted by
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
    source="aigc_id.yaml of ygtxr1997/CelebBasis: 5e-3 on a layer over 512 features, whose magnitudes add up to "
    "some 20, "
    "which makes 0.1 on its output",
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
    """Coefficients in a basis of names, saved as an exponential moving average; denoiser and text encoder stay frozen.

    The authors map the face's features to coefficients by one linear layer and train two people at once through it.
    With one person the input of the layer never changes, so here the coefficients themselves are trained, starting from
    the layer's random output. Under Adam this is the same path, at the layer's learning rate times the sum of the
    features' magnitudes. For a base that knows no names of people its rare tokens are used, which span few directions
    and have no prior of faces; the authors use 691 celebrities. Their settings: 512 directions, momentum 0.99, learning
    rate 5e-3 on the layer (about 0.1 on coefficients of 512 features), 2 faces in an update, 400 updates for a person.

    Settings:
        names: names of people that the base knows, with commas between them; empty is a list of famous ones
        dims: number of principal directions of names at each of the two positions
        average: decay of the exponential moving average of the coefficients
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
