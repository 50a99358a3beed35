"""HyperDreamBooth — Ruiz et al., CVPR 2024.

A hypernetwork predicts a very small change of weights from a face; it is trained once on a bank of such changes, one
for each of many people. The prediction for a subject is then tuned for a few updates, with a higher rank."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import identity_weights, weight_regression
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned, part_of, parts_of
from limner.parts.sources import FACE_TEMPLATES, pairs_of_people, photos

PEOPLE = 64
"""Number of people in the bank of weights."""


@method(
    title="HyperDreamBooth",
    arxiv="2307.06949",
    scope=("face",),
    full_size={"lr": 1e-4, "batch": 1},
    same=("rank", "regression", "steps", "bank_steps", "pretrain_steps", "pretrain_lr"),
    source="Sec. 5 of arXiv:2307.06949 for 40 updates of tuning; the rest is ours, since no code is released",
)
def hyperdreambooth(
    subject: Subject,
    *,
    rank: int = 4,
    regression: float = 1.0,
    steps: int = 40,
    lr: float = 1e-3,
    bank_steps: int = 150,
    pretrain_steps: int = 250,
    pretrain_lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """Lightweight DreamBooth, a hypernetwork with iterative prediction, and rank-relaxed fast fine-tuning.

    The authors optimise the changes of 15,000 people one by one; here those of 64 people are trained in parallel, each
    row of a batch with the change of its own person, which is the same objective. Their hypernetwork reads a vision
    transformer that is trained with it, here a frozen CLIP; their auxiliary sizes are 100 and 50, here 16 and 12.
    Captions of the one-time training have the class noun without the rare token.

    Settings:
        rank: rank of the change that tuning adds to the prediction, which has rank 1
        regression: weight of the distance to the bank's weights, added to the denoising loss
        steps: updates
        lr: learning rate
        bank_steps: updates of the bank of weights
        pretrain_steps: updates of the hypernetwork
        pretrain_lr: learning rate of the hypernetwork; the bank has ten times this rate
        batch: pictures in an update; the one-time training has four times as many
    """
    weights, relaxed = identity_weights(subject, PEOPLE, name="hyperdreambooth"), low_rank(rank, name="relaxed")
    seen = pairs_of_people(batch=4 * batch, people=PEOPLE, target="same")
    own = photos(subject, captions=FACE_TEMPLATES, batch=batch, seen="all")
    stage = partial(Stage, weight_decay=0.0, warmup=20, decay="cosine")
    predicting = denoising(seen), regression * weight_regression(seen, weights)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(weights, relaxed),
        stages=(
            stage((part_of(weights, ".bank"),), (denoising(seen),), bank_steps, 10 * pretrain_lr),
            stage((parts_of(weights, "hyper"),), predicting, pretrain_steps, pretrain_lr),
            Stage((learned(relaxed),), (denoising(own),), steps, lr),
        ),
        weights="hyperdreambooth",
    )
