"""OFT — Qiu et al., NeurIPS 2023.

The weights of attention are rotated, never stretched: one orthogonal matrix for each layer preserves the angles between
its neurons, which are thought to hold the model's knowledge.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import changed_weights, orthogonal, rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="Orthogonal Finetuning (OFT)",
    arxiv="2306.07280",
    scope=("object", "condition"),
    full_size={"radius": 6e-5, "steps": 2000, "lr": 6e-5, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    same=("blocks",),
    source="train_dreambooth_oft.sh of Zeju1997/oft, which runs to 2,005 or, in another version, to 10,005 and picks "
    "an earlier checkpoint",
)
def oft(
    subject: Subject,
    *,
    blocks: int = 4,
    radius: float = 0.0,
    steps: int = 160,
    lr: float = 5e-3,
    prior_weight: float = 0.3,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, block-diagonal rotations of queries, keys, values and outputs, prior
    preservation.

    The authors' settings for a full-size base: 4 blocks, radius 6e-5 (COFT), learning rate 6e-5, weight 1.

    Settings:
        blocks: blocks of every rotation; must divide the widths of all attention layers
        radius: COFT's limit for each entry of the learned matrices, which grows with their size; 0 is no limit (OFT)
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    turns = changed_weights(orthogonal(blocks, radius=radius))
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(turns,),
        stages=(Stage(train=(learned(turns),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
