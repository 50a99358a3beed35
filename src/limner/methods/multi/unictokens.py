"""UniCTokens — An et al., NeurIPS 2025.

One set of concept tokens serves understanding and generation. Three stages add tokens: understanding first, then
generation that starts from it, then tokens that generation's view of the subject adds to understanding.
"""

from limner.core.method import method
from limner.core.recipe import Objective, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import photo_words
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising, facts_of, knowledge, recognition_answer
from limner.parts.parameters import words
from limner.parts.sources import photos, prior_note, recognition_pictures


@method(
    title="UniCTokens",
    arxiv="2505.14671",
    scope=("object", "face"),
    full_size={
        "first_tokens": 16,
        "second_tokens": 8,
        "third_tokens": 8,
        "shared_steps": 200,
        "word_steps": 200,
        "steps": 200,
        "lr": 1e-3,
        "batch": 1,
    },
    same=("facts", "understanding_weight", "questions", "num_class_pictures"),
    source="train_w_3_stages of arctanxarc/UniCTokens: 20 epochs a stage, here as 200 updates for 10 photographs",
)
def unictokens(
    subject: Subject,
    *,
    facts: str = "",
    first_tokens: int = 4,
    second_tokens: int = 2,
    third_tokens: int = 2,
    understanding_weight: float = 0.1,
    questions: int = 4,
    num_class_pictures: int = 16,
    shared_steps: int = 40,
    word_steps: int = 120,
    steps: int = 60,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """A concept token and three groups of further ones; the base stays as it is.

    Generation is reconstruction: masked-token cross-entropy on a base of masked tokens, as the authors' Show-o is, and
    denoising on any other. No base here writes text, so there are no rows of a language model's head to learn: each
    question is a choice among written answers, which the base's text encoder reads with the same tokens. The questions
    are whether a picture shows the subject, against class images, and those of `facts`; free answers about a picture
    (VQA) are left out, and so is the authors' start of tokens from a face embedding. A base without a CLIP of its own
    for texts and pictures is refused.

    Groups start from clusters of the photographs (`photo_words`). The second stage trains all tokens so far, the last
    one the concept token and its own group.

    Settings:
        facts: what only text tells about the subject, "its hat = a red hat; its car = a blue car"
        first_tokens: tokens of the first stage, beside the concept token
        second_tokens: tokens of the second stage
        third_tokens: tokens of the third stage
        understanding_weight: weight of the questions beside generation, in the second and third stage
        questions: pictures in an update that are asked about
        num_class_pictures: class images that the untouched base paints first
        shared_steps: updates of the first stage
        word_steps: updates of the second stage
        steps: updates of the third stage
        lr: learning rate
        batch: pictures in an update of generation
    """
    counts, stem = (first_tokens, second_tokens, third_tokens), subject.handle[:-1]
    concept = new_word(f"{stem}-concept>", like=subject.noun)
    groups = tuple(
        new_word(
            f"{stem}-{name}>",
            like=" ".join([subject.noun] * count),
            num_vectors=count,
            begin=photo_words(subject, count, first=sum(counts[:k])),
        )
        for k, (name, count) in enumerate(zip(("understood", "painted", "deepened"), counts, strict=True))
    )
    says = [" ".join(word.word for word in (concept, *groups[: k + 1])) for k in range(3)]
    asked, known = recognition_pictures(subject, count=num_class_pictures, batch=questions), facts_of(facts)

    def understanding(stage: int) -> tuple[Objective, ...]:
        answer = recognition_answer(asked, says[stage], subject.noun)
        return (answer, *((knowledge(asked, known, says[stage], subject.noun),) if known else ()))

    def both(stage: int) -> tuple[Objective, ...]:
        source = photos(subject, captions=(f"a photo of {says[stage]}",), batch=batch)
        return (denoising(source), *(understanding_weight * term for term in understanding(stage)))

    return Recipe(
        says=says[2],
        modifiers=(concept, *groups),
        stages=(
            Stage(train=(words(concept, groups[0]),), loss=understanding(0), steps=shared_steps, lr=lr),
            Stage(train=(words(concept, *groups[:2]),), loss=both(1), steps=word_steps, lr=lr),
            Stage(train=(words(concept, groups[2]),), loss=both(2), steps=steps, lr=lr),
        ),
        notes=prior_note(1.0, num_class_pictures),
    )
