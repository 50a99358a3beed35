"""Gradient-free Textual Inversion — Fei et al., ACM MM 2023.

An evolution strategy searches for a word: it starts from the words that CLIP ranks highest for the pictures and moves
along the principal directions of the vocabulary. No gradients are needed, so the base need not be differentiable.
"""

from limner.core.method import method
from limner.core.recipe import Evolution, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import subspace_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Gradient-free Textual Inversion",
    arxiv="2304.05818",
    scope=("object", "style"),
    full_size={"dims": 256, "population": 20, "sigma": 1.0, "steps": 250},
    same=("batch",),
    source="train_inversion.py of feizc/Gradient-Free-Textual-Inversion",
)
def gradient_free_ti(
    subject: Subject,
    *,
    dims: int = 48,
    population: int = 16,
    sigma: float = 0.5,
    steps: int = 60,
    batch: int = 8,
) -> Recipe:
    """CMA-ES over the coordinates of one word; a step is a generation, judged on one batch, noise and set of times.

    Where a vocabulary has more than 5,000 words, those nearest to the class noun are compared with the pictures; on a
    base without a CLIP of texts and pictures, the word starts as the noun. All candidates of a generation see the same
    noise, in the authors' code the same times alone. Their settings for a full-size base: 256 directions, 20
    candidates, 250 generations, deviation 1.

    Settings:
        dims: directions the word may move in
        population: candidates in a generation
        sigma: deviation of the first generation, in those of the vocabulary
        steps: generations
        batch: pictures a candidate is judged on
    """
    word = subspace_word(subject, dims)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(learned(word),),
                loss=(denoising(source),),
                steps=steps,
                lr=1.0,
                search=Evolution(population, sigma),
            ),
        ),
    )
