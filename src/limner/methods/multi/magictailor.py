"""MagicTailor — Zhou et al., IJCAI 2025.

A concept and a component that is to replace one of its own are learned together. Noise covers everything outside of
their masks; the one with the larger loss learns, while a momentum denoiser keeps the other as it is.
"""

from dataclasses import replace
from typing import Any

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import background_masks, subject_masks
from limner.parts.modifiers import low_rank, new_word, watched_word
from limner.parts.objectives import attention_on_mask, denoising, momentum_consistency, worst_subject
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import degraded_subjects


@method(
    title="MagicTailor",
    arxiv="2410.13370",
    scope=("multi", "object"),
    full_size={
        "rank": 32,
        "word_rate": 1.0,
        "shared_steps": 200,
        "shared_lr": 1e-4,
        "steps": 300,
        "lr": 1e-5,
        "batch": 1,
        "fading": 32.0,
    },
    same=("noise", "momentum", "attention_weight", "preserving_weight"),
    source="scripts/train.sh of correr-zhou/MagicTailor",
)
def magictailor(
    subject: Subject,
    *,
    rank: int = 8,
    word_rate: float = 5.0,
    noise: float = 0.5,
    fading: float = 8.0,
    momentum: float = 0.99,
    attention_weight: float = 0.01,
    preserving_weight: float = 0.2,
    shared_steps: int = 60,
    shared_lr: float = 1e-3,
    steps: int = 60,
    lr: float = 2e-4,
    batch: int = 2,
) -> Recipe:
    """A word for the concept and one for each component, each before its class noun, and low-rank changes.

    The components are the further subjects (`--beside`, `Subject.beside`), with pictures and masks of their own;
    prompts name both, as in "<rex> with <cap>". Where there are none, the surroundings of the subject's own pictures
    are learned beside it as `<rex-surroundings>`, so that the same balance holds between the two.

    The first stage learns all subjects alike; in the second, the worst alone learns. The authors make masks with
    Grounded-SAM; here they come with the pictures, or the base's segmenter finds whole subjects. Their low-rank changes
    also include the projections around the attention and the feed-forward output; a base names the attention layers
    alone. Each loss is the mean over its mask, so that a small component counts as much as its concept.

    Settings:
        rank: rank of every change
        word_rate: learning rate of the words, as a multiple of the changes'
        noise: standard deviation of the noise outside of the masks at first, for pixels from -1 to 1
        fading: exponent of the noise's course; a high one keeps it until shortly before the last update
        momentum: decay of the exponential moving average that preserves the better subjects
        attention_weight: weight of the loss that localises each word's attention on its mask
        preserving_weight: weight of the loss that holds the better subjects near the average
        shared_steps: updates of the first stage
        shared_lr: learning rate of the low-rank changes in the first stage
        steps: updates of the second stage
        lr: learning rate of the low-rank changes in the second stage
        batch: pictures of each subject in an update
    """
    around = replace(subject, handle=f"{subject.handle[:-1]}-surroundings>", noun="background", beside=())
    subjects = (subject, *(subject.beside or (around,)))
    new_words = tuple(new_word(one.handle, like=one.noun) for one in subjects)
    watched = tuple(watched_word(one.handle) for one in subjects)
    change = low_rank(rank, layers="attention")

    every = {one: background_masks if one is around else subject_masks for one in subjects}
    course: dict[str, Any] = {"strength": noise, "power": fading, "total": shared_steps + steps, "batch": batch}
    shared, balanced = (degraded_subjects(every, before=before, **course) for before in (0, shared_steps))
    train = (at_rate(word_rate, words(*new_words)), learned(change))
    share, number = attention_weight / len(subjects), len(subjects)
    localised = {
        own: [share * attention_on_mask(own, one, named=True) for one in watched] for own in (shared, balanced)
    }
    unbalanced = (denoising(shared), *localised[shared])
    preserving = preserving_weight * momentum_consistency(balanced, number)
    balanced_loss = (worst_subject(balanced, number), preserving, *localised[balanced])
    alone = (f"no component is named (--beside): the surroundings are learned as {around.handle}",)
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        also=tuple(Answer(one.handle, f"{one.handle} {one.noun}", one.noun) for one in subjects[1:]),
        modifiers=(*new_words, *watched, change),
        stages=(
            Stage(train=train, loss=unbalanced, steps=shared_steps, lr=shared_lr),
            Stage(train=train, loss=balanced_loss, steps=steps, lr=lr, momentum=momentum),
        ),
        notes=() if subject.beside else alone,
    )
