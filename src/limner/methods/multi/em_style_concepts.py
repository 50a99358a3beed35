"""EM-style visual concept learning — Rahman et al., 2024.

Several concepts that the same pictures show are learned together, without masks: expectation estimates a mask of each
concept from the attention to its word, maximisation learns the words within these masks, and the two alternate.
"""

from dataclasses import replace

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.modifiers import new_word, watched_word
from limner.parts.objectives import attention_on_mask, denoising
from limner.parts.parameters import at_rate, cross_attention_kv, words
from limner.parts.sources import mask_of, with_estimated_masks


@method(
    title="EM-style visual concept learning",
    arxiv="2402.11487",
    scope=("multi", "object"),
    full_size={
        "attention_weight": 0.01,
        "word_steps": 100,
        "word_lr": 5e-4,
        "steps": 400,
        "lr": 2e-6,
        "word_rate": 1.0,
        "batch": 1,
    },
    same=("cycles",),
    source="not published; rates and weights of Break-a-Scene (arXiv:2305.16311), the rounds ours",
)
def em_style_concepts(
    subject: Subject,
    *,
    cycles: int = 4,
    attention_weight: float = 0.3,
    word_steps: int = 30,
    word_lr: float = 1e-2,
    steps: int = 60,
    lr: float = 5e-4,
    word_rate: float = 5.0,
    batch: int = 4,
) -> Recipe:
    """A word for each concept, with masks that are estimated anew in every round; then keys and values as well.

    The concepts are the subject and its further ones without pictures (`Subject.shown_with`), which the subject's
    pictures show; a picture's own caption tells which of them. Where there are none, the surroundings are the second
    concept, as `<rex-surroundings>`. Masks that come with the pictures are not used.

    Every update names a random part of the concepts and counts in the union of their masks, as Break-a-Scene does. The
    rounds learn the words alone; a last one, with masks estimated once more, learns keys and values of cross-attention
    beside them. The authors published neither code nor settings.

    Settings:
        cycles: rounds of estimating masks and learning words
        attention_weight: weight of the loss that localises each word's attention on its mask
        word_steps: updates of the words in a round
        word_lr: learning rate of the words then
        steps: updates of words, keys and values at the end
        lr: learning rate of keys and values
        word_rate: learning rate of the words at the end, as a multiple of that of keys and values
        batch: pictures in an update
    """
    apart = next((one.handle for one in subject.beside if one.pictures), None)
    if apart is not None:
        raise InputError(
            f"{apart} has pictures of its own, but this method finds all concepts in the pictures of {subject.handle}: name "
            "it without a folder, or use a method for pictures of each, such as magictailor"
        )
    around = replace(subject, handle=f"{subject.handle[:-1]}-surroundings>", noun="background", beside=())
    concepts = (subject, *(subject.beside or (around,)))
    learned = tuple(new_word(one.handle, like=one.noun) for one in concepts)
    watched = tuple(watched_word(one.handle) for one in concepts)
    source = with_estimated_masks(subject, watched, batch=batch)
    localised = (attention_on_mask(source, one, named=True, own=mask_of(one.word)) for one in watched)
    share = attention_weight / len(concepts)
    loss = (denoising(source), *(share * term for term in localised))
    alone = (f"no further concepts are named (--beside): the surroundings are learned as {around.handle}",)
    return Recipe(
        says=subject.handle,
        also=tuple(Answer(one.handle, one.handle, one.noun) for one in concepts[1:]),
        modifiers=(*learned, *watched),
        stages=(
            *(Stage(train=(words(*learned),), loss=loss, steps=word_steps, lr=word_lr) for _ in range(cycles)),
            Stage(train=(at_rate(word_rate, words(*learned)), cross_attention_kv()), loss=loss, steps=steps, lr=lr),
        ),
        notes=() if subject.beside else alone,
    )
