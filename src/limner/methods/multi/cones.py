"""Cones (concept neurons) — Liu et al., ICML 2023.

A subject is a set of "concept neurons": weights of the keys and values of cross-attention that lower the subject's loss
when they are set to zero. The sets of several subjects are united (`limner merge --by neurons`).
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import concept_neurons, rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="Cones (concept neurons)",
    arxiv="2303.05125",
    scope=("object", "multi"),
    full_size={"lr": 0.01, "batch": 1, "num_class_pictures": 200},
    same=("share", "steps", "prior_weight"),
    source="Sec. 4 of arXiv:2303.05125: 1 to 3 of 100 weights; steps and rates are not published",
)
def cones(
    subject: Subject,
    *,
    share: float = 0.02,
    steps: int = 60,
    lr: float = 2e-2,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, and a mask that sets weights of keys and values to zero for it.

    The mask over the weights follows the paper's rule, M - rho * W * dL/d(MW), with two differences. The step is
    Adam's, which depends on how steadily a weight's gradient points one way rather than on its size; and a share of the
    weights is set to zero rather than those below a threshold, which the authors do not publish. Their further tuning
    of the neurons is left out, and so is their attention guidance for many subjects, in the place of which `paint` has
    regions. They store a subject as the indices of its neurons; here the concept's file has the whole mask, from which
    another share can be chosen.

    From the paper for a full-size base: one to three in a hundred weights of keys and values are set to zero; steps and
    rates are not published.

    Settings:
        share: largest share of each layer's weights that is set to zero
        steps: updates of the mask
        lr: learning rate of the mask
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    neurons = concept_neurons(share=share)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(neurons,),
        stages=(Stage(train=(learned(neurons),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
