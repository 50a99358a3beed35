"""Textual Inversion — Gal et al., ICLR 2023.

One new word, optimised by gradient descent so that the frozen model reconstructs the subject from neutral captions with
it.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Textual Inversion",
    arxiv="2208.01618",
    scope=("object", "style"),
    full_size={"vectors": 1, "steps": 5000, "lr": 4e-2, "batch": 8},
    source="Sec. 4 of arXiv:2208.01618: a learning rate of 0.005 times the batches of 4 on two GPUs",
)
def textual_inversion(
    subject: Subject, *, vectors: int = 3, steps: int = 250, lr: float = 2e-2, batch: int = 4
) -> Recipe:
    """A new word in the frozen model's vocabulary.

    The word starts as the class noun and stands alone in prompts, as in the paper ("a photo of S*").
    Pictures are mirrored at random, as in the authors' code. The authors' settings for a full-size base: 1 vector,
    learning rate 0.04 for 8 pictures, 5000 steps (6100 in their code).

    Settings:
        vectors: number of vectors per token of the word
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun, num_vectors=vectors)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(words(word),),
                loss=(denoising(photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)),),
                steps=steps,
                lr=lr,
            ),
        ),
    )
