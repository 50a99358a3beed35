"""StyleBoost — Park, Ko and Jang, ICTC 2023.

DreamBooth for a style: the whole denoiser is tuned to bind a rare word to fifteen to twenty pictures of the style. The
pictures of the second term are not the base's own: they are auxiliary ones that the user chose, such as people in a
related style, and under the class word alone they shape how these look in the style.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import everything
from limner.parts.sources import auxiliary_note, auxiliary_pictures, photos


@method(
    title="StyleBoost",
    venue="ICTC",
    year=2023,
    scope=("style",),
    full_size={"steps": 1000, "lr": 1e-6, "auxiliary_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    source="not checked against the paper, which published no code: the weight and the rate are those that are reported "
    "of it, the rest is DreamBooth's (Sec. 4 of arXiv:2208.12242)",
)
def styleboost(
    subject: Subject,
    *,
    steps: int = 80,
    lr: float = 7e-4,
    auxiliary_weight: float = 0.5,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, "[V] style"; the whole denoiser tuned, with auxiliary pictures as "style".

    The noun is best "style", or a word for it such as "watercolour". The auxiliary pictures are a folder of the user's
    (`--auxiliary`, `Subject.auxiliary`). Where there are none, the base paints some from the same generic prompt, and
    the term is DreamBooth's prior preservation. The text encoder, which the authors may tune as well, stays as it is.

    Settings:
        steps: updates
        lr: learning rate
        auxiliary_weight: weight of the loss on auxiliary pictures; 0 leaves it out
        num_class_pictures: pictures that the base paints where there are no auxiliary ones
        batch: pictures of the style in an update, and as many auxiliary ones
    """
    auxiliary = auxiliary_pictures(subject, count=num_class_pictures, batch=batch)
    own = photos(subject, captions=("{}",), batch=batch)
    loss = denoising(own), auxiliary_weight * denoising(auxiliary)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        notes=auxiliary_note((subject,), auxiliary_weight, num_class_pictures),
    )
