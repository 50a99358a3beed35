"""SVDiff — Han et al., ICCV 2023.

Only the singular values of the denoiser's weights are trained: a few numbers for each layer, which tolerate a learning
rate a thousand times that of full weights before overfitting.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import changed_weights, rare_word_and, spectral
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="SVDiff",
    arxiv="2303.11305",
    scope=("object", "multi"),
    full_size={"steps": 500, "lr": 1e-3, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    source="mkshing/svdiff-pytorch, which is not the authors'",
)
def svdiff(
    subject: Subject,
    *,
    steps: int = 160,
    lr: float = 2e-2,
    prior_weight: float = 0.3,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, spectral shifts of every linear and convolution layer, prior preservation.

    Settings of an open implementation for a full-size base: learning rate 1e-3, 500 steps, 200 class images, weight 1.
    That implementation also trains shifts of biases and norms, at a thousandth of the learning rate, and of the text
    encoder's weights; here both stay as they are, since several subjects' shifts can be trained in one pass of the
    denoiser alone. Cut-Mix-Unmix (Sec. 3.3) is left out: it shows two subjects in one picture while both are trained,
    and here each subject is trained alone. Concepts of several subjects are attached together, where their changes of
    a weight add. The editing of a single picture by DDIM inversion is left out too.

    Settings:
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    shifts = changed_weights(spectral(), layers="everything")
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(shifts,),
        stages=(Stage(train=(learned(shifts),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
