"""PerSAM-assisted DreamBooth — Zhang et al., ICLR 2024.

DreamBooth on the masked subject: one picture's mask is propagated to the others, and the loss counts inside of the
masks alone.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import propagated_masks
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import everything
from limner.parts.sources import photos, prior_note


@method(
    title="PerSAM-assisted DreamBooth",
    arxiv="2305.03048",
    scope=("object",),
    full_size={"steps": 1000, "lr": 5e-6, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    source="DreamBooth's (Sec. 4 of arXiv:2208.12242), on which it is put; the authors' code of this part "
    "was not released",
)
def persam(
    subject: Subject,
    *,
    steps: int = 80,
    lr: float = 7e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, the whole denoiser tuned on the masked subject, prior preservation.

    The authors propagate the mask with SAM's features and refine it with SAM's decoder, twice; here features of the
    base's own denoiser are compared, and no decoder refines the mask. They released no code of this part.

    Settings:
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    own = photos(subject, batch=batch, masks=propagated_masks)
    loss = preserving(subject, own=own, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage(train=(everything(),), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
