"""NeTI — Alaluf et al., SIGGRAPH Asia 2023.

The word is a small network: from the time and the layer it makes the input vector, and a bypass that only the values of
cross-attention read.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import neural, varying_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="NeTI",
    arxiv="2305.15391",
    scope=("object", "style"),
    full_size={"steps": 1000, "lr": 8e-3, "batch": 8},
    same=("units", "keep"),
    source="config.py of NeuralTextualInversion/NeTI: a learning rate of 1e-3 times the batch",
)
def neti(
    subject: Subject, *, units: int = 0, keep: float = 0.5, steps: int = 250, lr: float = 1e-3, batch: int = 4
) -> Recipe:
    """A neural word over time and layers, its length that of the class word's vector.

    The head of the input vector has a bias that starts as the class word's vector, so that the word starts near it; the
    authors start that head at random, and give the other layers biases too. Their settings for a full-size base:
    learning rate 1e-3 times the batch, batch 2 accumulated 4 times, 1000 steps.

    Settings:
        units: hidden units that are used during sampling; fewer are easier to edit, 0 is all
        keep: chance that all hidden units are used in an update (nested dropout)
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = varying_word(subject.handle, subject.noun, neural(keep=keep, units=units))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(learned(word),),
                loss=(denoising(photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)),),
                steps=steps,
                lr=lr,
            ),
        ),
    )
