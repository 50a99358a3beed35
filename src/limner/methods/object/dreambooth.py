"""DreamBooth — Ruiz et al., CVPR 2023.

The whole denoiser is tuned to bind a rare word to the subject, while class images that the untouched model painted keep
it from forgetting what the class looks like.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import everything
from limner.parts.sources import prior_note


@method(
    title="DreamBooth",
    arxiv="2208.12242",
    scope=("object", "face"),
    full_size={"steps": 1000, "lr": 5e-6, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    source="Sec. 4 of arXiv:2208.12242; 200 class images as in diffusers' example",
)
def dreambooth(
    subject: Subject,
    *,
    steps: int = 80,
    lr: float = 7e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, the whole denoiser tuned, prior preservation (Eq. 2).

    The paper's settings for a full-size base: about 1000 steps, learning rate 5e-6 (Stable Diffusion), weight 1.

    Settings:
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
