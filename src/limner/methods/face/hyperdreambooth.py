"""HyperDreamBooth — Ruiz et al., CVPR 2024.

A change of weights so small that a network can predict it: trained once on a bank of such changes, one for each of many
people. A subject's prediction is then tuned for a moment, at a rank that it did not have."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import identity_weights, weight_regression
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned, part_of, parts_of
from limner.parts.sources import FACE_TEMPLATES, pairs_of_people, photos

PEOPLE = 64  # in the bank


@method(
    title="HyperDreamBooth",
    arxiv="2307.06949",
    scope=("face",),
    full_size={"lr": 1e-4, "batch": 1},
    same=("rank", "regression", "steps", "bank_steps", "pretrain_steps", "pretrain_lr"),
    source="Sec. 5 of arXiv:2307.06949 for 40 updates of tuning; the rest is ours, no code being released",
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

    The authors optimise the changes of 15,000 people one by one; here those of 64 are learned side by side, each row of
    a batch wearing its own person's, which is the same objective. Their hypernetwork reads a vision transformer trained
    with it, here CLIP, frozen; their auxiliary sizes are 100 and 50, here 16 and 12. In the one-time training captions
    say the noun without the rare word.

    Settings:
        rank: of the change that tuning adds to the prediction, which has rank 1
        regression: weight of the distance to the bank's weights beside the denoising loss
        steps: updates
        lr: learning rate
        bank_steps: updates of the bank of weights
        pretrain_steps: updates of the hypernetwork
        pretrain_lr: learning rate of the hypernetwork; ten times as high for the bank
        batch: pictures in an update; four times as many in the one-time training
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
