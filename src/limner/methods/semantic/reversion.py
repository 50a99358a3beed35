"""ReVersion — Huang et al., SIGGRAPH Asia 2024.

A relation between things is inverted into one token. A contrastive loss steers the token towards prepositions and away
from the words for the things in the captions, and noisy times, which decide on layout, are drawn more often.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising, steering
from limner.parts.parameters import words
from limner.parts.sources import check_statements, noisier, photos


@method(
    title="ReVersion",
    arxiv="2303.13495",
    scope=("semantic",),
    full_size={"steps": 3000, "lr": 2e-3, "batch": 8},
    same=("start", "steering_weight", "positives", "temperature", "bias"),
    source="README.md and train.py of ziqihuangg/ReVersion: a learning rate of 2.5e-4 times batches of 2 and 4 "
    "accumulated steps",
)
def reversion(
    subject: Subject,
    *,
    start: str = "and",
    steering_weight: float = 0.01,
    positives: int = 4,
    temperature: float = 0.07,
    bias: float = 0.5,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """A word for a relation, learned from captioned pictures of different things in it.

    Captions name the things, with the handle between them: "a photo of a dog <rel> a car". The class noun is a coarse
    word for the relation, such as "and" or "beside", which the base reads where the concept does not act. Prepositions
    and content words are recognised by plain lists in place of the authors' tagger, and words that the base does not
    know as one token are left out of the contrast.

    Settings:
        start: word that the token starts as; empty is the class noun
        steering_weight: weight of the contrast between prepositions and the captions' content words
        positives: number of prepositions drawn in an update
        temperature: divisor of the cosines in the contrast
        bias: excess of noisy times, from 0 (times are drawn alike) to 1
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    check_statements(subject)
    word = new_word(subject.handle, like=start or subject.noun)
    source = noisier(photos(subject, batch=batch), bias=bias)
    steered = steering(source, word=subject.handle, positives=positives, temperature=temperature)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage(train=(words(word),), loss=(denoising(source), steering_weight * steered), steps=steps, lr=lr),),
        notes=("prepositions and words of captions that the base does not know as one token are not steered by",),
    )
