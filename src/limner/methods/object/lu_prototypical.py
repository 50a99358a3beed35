"""Object-Driven One-Shot Fine-tuning with Prototypical Embedding — Lu et al., 2024.

The word is first moved to a prototype in CLIP's space, between the subject's pictures and its class; then word and
low-rank changes are trained on the masked subject, and the word is held near the class noun.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import low_rank, new_word
from limner.parts.objectives import denoising, near_start, prototype
from limner.parts.parameters import learned, words
from limner.parts.sources import photos


@method(
    title="Lu et al. (prototypical embedding)",
    arxiv="2401.15708",
    scope=("object", "multi"),
    full_size={"rank": 4, "steps": 500, "lr": 1e-4, "batch": 1},
    same=("whole_weight", "start_weight", "word_steps", "word_lr"),
    source="not published; those of low-rank changes in diffusers' train_dreambooth_lora.py",
)
def lu_prototypical(
    subject: Subject,
    *,
    rank: int = 16,
    whole_weight: float = 0.2,
    start_weight: float = 0.01,
    word_steps: int = 50,
    word_lr: float = 1e-2,
    steps: int = 200,
    lr: float = 1e-3,
    batch: int = 4,
) -> Recipe:
    """A prototypical word, then low-rank tuning with an object-specific loss.

    The authors train on one picture; the weights of their losses are not published.

    Settings:
        rank: rank of every change
        whole_weight: weight of denoising the whole picture, beside that of the subject alone
        start_weight: weight of the word's distance to the class noun
        word_steps: updates of the word towards its prototype, without denoising
        word_lr: learning rate then
        steps: updates of word and low-rank changes
        lr: learning rate then
        batch: pictures in an update
    """
    word, change = new_word(subject.handle, like=subject.noun), low_rank(rank)
    alone = photos(subject, batch=batch, masks=subject_masks)
    whole = photos(subject, batch=batch, name="whole photos")
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(word, change),
        stages=(
            Stage(train=(words(word),), loss=(prototype(whole, subject, subject_masks),), steps=word_steps, lr=word_lr),
            Stage(
                train=(words(word), learned(change)),
                loss=(
                    denoising(alone),
                    whole_weight * denoising(whole),
                    start_weight * near_start(whole, word, subject.noun),
                ),
                steps=steps,
                lr=lr,
            ),
        ),
    )
