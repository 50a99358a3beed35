"""CLiC — Safaee et al., CVPR 2024.

A pattern on a part of an object, learned together with its surroundings, to be painted on a part of another picture.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.guidance import attention_into_mask
from limner.parts.modifiers import new_word, watched_word
from limner.parts.objectives import attention_on_mask, denoising
from limner.parts.parameters import base_parameters, words
from limner.parts.sources import photos


@method(
    title="CLiC",
    arxiv="2311.17083",
    scope=("object", "condition"),
    full_size={"steps": 500, "lr": 1e-5, "batch": 1},
    same=("whole", "context_weight", "local_weight", "attention_weight"),
    source="reproduce.sh of Mehdi0xC/clic",
)
def clic(
    subject: Subject,
    *,
    whole: str = "",
    context_weight: float = 0.5,
    local_weight: float = 0.25,
    attention_weight: float = 0.25,
    steps: int = 200,
    lr: float = 1e-3,
    batch: int = 2,
) -> Recipe:
    """A word and all of cross-attention: the picture with its surroundings counting a quarter, the masked part alone on
    black, and the word's attention on the mask.

    When it is painted onto a canvas (`limner paint --onto`), guidance also moves the word's attention into the
    canvas's mask; otherwise it acts like any word. Captions of the user's own describe the picture with its
    surroundings; the part alone is always captioned with the word alone. The authors' last steps, in which the base
    alone harmonises the part with the canvas, are optional in their code and left out. They learn from one picture at
    1e-5 for 500 steps on a full-size base, with these weights.

    Settings:
        whole: class of the whole object, as in "a photo of a house with <rex>"; empty for a whole object
        context_weight: weight of the picture with its surroundings
        local_weight: weight of the part alone
        attention_weight: weight of the loss that localises the word's attention on the mask
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word, watched = new_word(subject.handle, like=subject.noun), watched_word(subject.handle)
    caption = f"a photo of a {whole} with {{}}" if whole else "a photo of {}"
    around = photos(subject, captions=(caption,), batch=batch, masks=subject_masks, outside=0.25)
    alone = photos(subject, captions=("{}",), batch=batch, masks=subject_masks, cut=True, recaption=lambda *_: "{}")
    return Recipe(
        says=subject.handle,
        modifiers=(word, watched),
        stages=(
            Stage(
                train=(words(word), base_parameters("cross_attention")),
                loss=(
                    context_weight * denoising(around),
                    local_weight * denoising(alone),
                    attention_weight * attention_on_mask(around, watched, floor=True),
                ),
                steps=steps,
                lr=lr,
            ),
        ),
        painting=Painting(latents=(attention_into_mask(subject.handle),)),
    )
