"""ADI (action-disentangled identifier) — Huang et al., CVPR 2024.

An action is inverted into a token with a vector for every cross-attention layer. Gradients of triplets of pictures (the
same action in another context, the same context without the action) tell which channels belong to the context: these
are not updated.

The authors' thresholds and rates were not available: the blocked share is ours. They block by a threshold on the
difference of two gradients; here it is a share of each vector's channels, separately for both comparisons.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import per_layer, varying_word
from limner.parts.objectives import action_denoising
from limner.parts.parameters import learned
from limner.parts.sources import action_triplets, check_statements


@method(
    title="ADI (action-disentangled identifier)",
    arxiv="2311.15841",
    scope=("semantic",),
    full_size={"steps": 500, "lr": 5e-3, "batch": 4},
    same=("blocked",),
    source="not published; those of P+ (arXiv:2303.09522), on whose tokens it stands",
)
def adi(subject: Subject, *, blocked: float = 0.4, steps: int = 250, lr: float = 1e-2, batch: int = 2) -> Recipe:
    """A word for an action, with a vector for each cross-attention layer, learned on the channels of the action alone.

    Captions name who acts: "a photo of a dog <act>". Pictures of the same context without the action are those of
    `--without`, one for each picture in the same order; without them, the base paints one from each caption, with the
    class noun in the handle's place. The class noun is a coarse word for the action, such as "standing" or "posing".

    A channel that every update blocks keeps its value at the start exactly; the optimiser's momentum may move one that
    only some updates block. The token's start is the class noun.

    Settings:
        blocked: share of the channels that each of the two comparisons of a triplet blocks
        steps: updates
        lr: learning rate
        batch: triplets in an update
    """
    check_statements(subject, least=2)
    word = varying_word(subject.handle, subject.noun, per_layer())
    loss = action_denoising(action_triplets(subject, batch=batch), subject, word, blocked=blocked)
    painted = ("the base paints a picture of each caption without the action, to compare with",)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage(train=(learned(word),), loss=(loss,), steps=steps, lr=lr),),
        notes=() if subject.without else painted,
    )
