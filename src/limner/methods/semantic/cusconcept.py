"""CusConcept — Xu et al., WACV 2025.

An attribute and the object that has it are told apart. Each is first a mixture of words that the base knows, of
adjectives and of nouns, and then departs from it a little, so that both can be used alone in new prompts.

Lists of adjectives by kind, or words of the user's own, stand in for those that the authors ask of a language model; a
list of other word classes stands in for their part-of-speech tagger.
"""

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import adjectives, mixed_word, nouns_shown
from limner.parts.objectives import denoising, near_mixture, near_top_words
from limner.parts.parameters import all_but, at_rate, learned
from limner.parts.sources import photos


@method(
    title="CusConcept",
    arxiv="2410.00398",
    scope=("semantic", "object"),
    full_size={"word_steps": 500, "steps": 500, "batch": 6},
    same=(
        *("axis", "attributes", "attribute_words", "object_words", "width", "shared_weight", "object_weight"),
        *("top_words", "top_weight", "lr", "object_rate"),
    ),
    source="train_step1.py, train_step2.py and scripts/run.sh of the authors; their 30 epochs of each stage are counted "
    "as 500 updates, for a picture that is repeated 100 times in an epoch",
)
def cusconcept(
    subject: Subject,
    *,
    axis: str = "",
    attributes: str = "",
    attribute_words: int = 10,
    object_words: int = 500,
    width: int = 512,
    shared_weight: float = 1.0,
    object_weight: float = 0.7,
    top_words: int = 50,
    top_weight: float = 0.001,
    word_steps: int = 100,
    steps: int = 100,
    lr: float = 1e-2,
    object_rate: float = 0.1,
    batch: int = 4,
) -> Recipe:
    """A word for the attribute and one for the object, learned from one picture or a few.

    In prompts, `<rex>` is the object with its attribute, `<rex-look>` the attribute alone, as in "a <rex-look> cat",
    and `<rex-object>` the object without it. The class noun is the object's. The free vector of each word is stored as
    its offset from the mixture, so that it starts there and moves along with it.

    Settings:
        axis: kind of the attribute: colour, pattern, material, age, size, style or mood; empty is all of them
        attributes: words for the attribute, with commas between them, in place of the kind's
        attribute_words: number of these with the largest weights that make the attribute
        object_words: number of nouns, the nearest to the pictures, that make the object
        width: width of the networks that weigh the words
        shared_weight: weight of the object's word alone in the first stage
        object_weight: weight of the object's word alone in the second stage
        top_words: number of nouns with the largest weights that the whole mixture is held near to
        top_weight: weight of that
        word_steps: updates of the mixtures
        steps: updates of the mixtures and the offsets from them
        lr: learning rate of the attribute
        object_rate: learning rate of the object, as a multiple of the attribute's
        batch: pictures in an update
    """
    words = adjectives(axis, attributes)
    look = mixed_word(f"{subject.handle[:-1]}-look>", subject.noun, words, largest=attribute_words, width=width)
    thing = mixed_word(f"{subject.handle[:-1]}-object>", subject.noun, nouns_shown(subject, object_words), width=width)
    both = photos(subject, captions=("a photo of a {}",), batch=batch)
    alone = photos(
        subject,
        captions=(f"a photo of a {thing.word}",),
        batch=batch,
        recaption=lambda _, caption: caption.replace("{}", thing.word),
    )
    offsets = (near_mixture(both, look), near_mixture(both, thing))
    return Recipe(
        says=f"{look.word} {thing.word}",
        also=(Answer(look.word, look.word, ""), Answer(thing.word, thing.word, subject.noun)),
        modifiers=(look, thing),
        stages=(
            Stage(
                train=(all_but(look, "offset"), at_rate(object_rate, all_but(thing, "offset"))),
                loss=(
                    denoising(both),
                    shared_weight * denoising(alone),
                    top_weight * near_top_words(both, thing, top_words),
                ),
                steps=word_steps,
                lr=lr,
            ),
            Stage(
                train=(learned(look), at_rate(object_rate, learned(thing))),
                loss=(denoising(both), object_weight * denoising(alone), *offsets),
                steps=steps,
                lr=lr,
            ),
        ),
    )
