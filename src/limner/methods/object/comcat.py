"""COMCAT — Xiao et al., ICML 2023.

Low-rank changes of the products in attention: each head gets a few more columns of queries and keys, and of values and
outputs, while the weights themselves stay unchanged.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import head_low_rank, rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="COMCAT",
    arxiv="2305.17235",
    scope=("object",),
    full_size={"steps": 500, "lr": 2.5e-3, "batch": 1},
    same=("rank", "prior_weight", "num_class_pictures"),
    source="run.sh of jinqixiao/ComCAT, which has no prior preservation",
)
def comcat(
    subject: Subject,
    *,
    rank: int = 2,
    steps: int = 200,
    lr: float = 3e-3,
    prior_weight: float = 0.0,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, head-wise low-rank products in every attention layer.

    The products start as the base's, where the authors' new layers start at random, and the rate stays, where theirs
    falls linearly. Their settings for a full-size base: rank 2, learning rate 2.5e-3, 500 steps, batch 1.

    Settings:
        rank: columns added to every head
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    heads = head_low_rank(rank)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(heads,),
        stages=(Stage(train=(learned(heads),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
