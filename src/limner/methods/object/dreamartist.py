"""DreamArtist — Dong et al., 2022.

Two words from one picture: a positive word for the prompt and a negative word for the negative prompt, both learned
through classifier-free guidance.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import guided_denoising
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="DreamArtist",
    arxiv="2211.11337",
    scope=("object", "style"),
    full_size={"steps": 3000, "lr": 2.5e-3, "batch": 1},
    same=("vectors", "negative_vectors", "guidance", "pixel_weight"),
    source="IrisRainbowNeko/DreamArtist-stable-diffusion: 1,000 to 15,000 updates",
)
def dreamartist(
    subject: Subject,
    *,
    vectors: int = 3,
    negative_vectors: int = 3,
    guidance: float = 3.0,
    pixel_weight: float = 1.0,
    steps: int = 200,
    lr: float = 5e-3,
    batch: int = 4,
) -> Recipe:
    """A positive and a negative word, learned through classifier-free guidance.

    As in the authors' code, the negative branch reads the whole caption with the negative word, and pictures are
    mirrored at random; their scorer of quality, which is no part of the paper, is left out. Their settings for a
    full-size base: one picture, 3 and 3 to 10 vectors, guidance 3 or 5, learning rate 2.5e-3 to 5e-3, 1000 to 15000
    steps. In sampling, a negative prompt of the user's takes the place of the learned one.

    Settings:
        vectors: input vectors of the positive word
        negative_vectors: input vectors of the negative word
        guidance: scale of the guidance inside the loss
        pixel_weight: weight of the picture's absolute error, through the decoder; 0 leaves it out
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    against = f"{subject.handle[:-1]}-negative>"
    word = new_word(subject.handle, like=subject.noun, num_vectors=vectors)
    negative = new_word(against, like=subject.noun, num_vectors=negative_vectors)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)
    guided = guided_denoising(source, word=word.word, against=against, scale=guidance, pixels=pixel_weight)
    return Recipe(
        says=subject.handle,
        modifiers=(word, negative),
        stages=(
            Stage(
                train=(words(word, negative),),
                loss=(guided,),
                steps=steps,
                lr=lr,
            ),
        ),
        painting=Painting(negative=against),
    )
