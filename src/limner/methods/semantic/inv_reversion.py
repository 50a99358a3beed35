"""Inv-ReVersion — Applied Sciences 14(8):3338, 2024.

ReVersion with a token for the inverse relation beside that of the relation: captions are expanded with the inverse
statement, which tells the two things apart. The steering weights classes of words, and noisy times count more.

Neither code nor settings are published, and the paper was known from its abstract alone: the weights of word classes
and the suppressor's form are ours.
"""

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import steering, suppressed_denoising
from limner.parts.parameters import words
from limner.parts.sources import check_statements, noisier, photos, statement_of


@method(
    title="Inv-ReVersion",
    venue="Applied Sciences 14(8):3338",
    year=2024,
    scope=("semantic",),
    full_size={"steps": 3000, "lr": 2e-3, "batch": 4},
    same=(
        *("start", "steering_weight", "preposition_weight", "verb_weight", "positives", "temperature", "bias"),
        *("suppressed", "floor"),
    ),
    source="not published; those of ReVersion (arXiv:2303.13495), whose batches of 8 are half expanded here",
)
def inv_reversion(
    subject: Subject,
    *,
    start: str = "and",
    steering_weight: float = 0.01,
    preposition_weight: float = 2.0,
    verb_weight: float = 1.0,
    positives: int = 4,
    temperature: float = 0.07,
    bias: float = 0.5,
    suppressed: float = 0.3,
    floor: float = 0.1,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 2,
) -> Recipe:
    """Words for a relation and its inverse, learned from captions that state both.

    Every picture counts twice: with its caption "a dog <rel> a car" and with the caption expanded by the inverse
    statement, "a dog <rel> a car, a car <rel-inverse> a dog". Prompts may use either word. Both words are steered
    towards prepositions and verbs for relations, away from the captions' nouns and adjectives.

    Settings:
        start: word that both tokens start as; empty is the class noun
        steering_weight: weight of the contrast between words for relations and the captions' nouns and adjectives
        preposition_weight: weight of a preposition in that contrast; a noun or adjective has 1
        verb_weight: weight of a verb in that contrast
        positives: number of prepositions and verbs drawn in an update
        temperature: divisor of the cosines in the contrast
        bias: excess of noisy times, from 0 (times are drawn alike) to 1
        suppressed: share of the times below which rows count less
        floor: weight of a row without noise
        steps: updates
        lr: learning rate
        batch: pictures in an update, each with two captions
    """
    check_statements(subject)
    inverse = f"{subject.handle[:-1]}-inverse>"
    both = tuple(new_word(word, like=start or subject.noun) for word in (subject.handle, inverse))

    def expanded(_: int, caption: str) -> str:
        return statement_of(caption, "{}").expanded("{}", inverse)

    stated = noisier(photos(subject, batch=batch), bias=bias)
    inverted = noisier(photos(subject, batch=batch, recaption=expanded), bias=bias)
    steered = [
        steering_weight
        * steering(
            inverted,
            word=word.word,
            towards=("preposition", "verb"),
            weights={"preposition": preposition_weight, "verb": verb_weight, "noun": 1.0, "adjective": 1.0},
            positives=positives,
            temperature=temperature,
        )
        for word in both
    ]
    shown = [0.5 * suppressed_denoising(source, below=suppressed, floor=floor) for source in (stated, inverted)]
    return Recipe(
        says=subject.handle,
        also=(Answer(inverse, inverse, subject.noun),),
        modifiers=both,
        stages=(Stage(train=(words(*both),), loss=(*shown, *steered), steps=steps, lr=lr),),
        notes=(
            "words for relations and words of captions that the base does not know as one token are not steered by",
        ),
    )
