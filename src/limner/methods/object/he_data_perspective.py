"""A Data Perspective on Enhanced Identity Preservation — He et al., 2023.

DreamBooth with captions of one grammar: every class image has a detailed caption, every picture of the subject has one
that names the background, and each of these has class images whose caption lacks the rare token alone.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import structured_captions, structured_class_captions
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import everything, text_encoder
from limner.parts.sources import photos, prior_note


@method(
    title="He et al. (Data Perspective)",
    arxiv="2311.04315",
    scope=("object",),
    full_size={"steps": 1000, "lr": 5e-6, "prior_weight": 1.0, "num_class_pictures": 400, "batch": 1},
    source="not published; DreamBooth's (Sec. 4 of arXiv:2208.12242) with twice as many class images, as on "
    "the small base",
)
def he_data_perspective(
    subject: Subject,
    *,
    steps: int = 80,
    lr: float = 7e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 128,
    batch: int = 4,
) -> Recipe:
    """DreamBooth with structured captions, the text encoder learning too.

    The authors fill the slots of the grammar with a language model, paint thousands of class images, and tune longer
    than DreamBooth; they released no settings. Here lists fill the slots, CLIP picks the background of the subject's
    pictures on a base without a captioner, and there are no slots of style and motion and no random crops.

    Settings:
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    own = photos(subject, batch=batch, describe=structured_captions)
    loss = preserving(
        subject,
        own=own,
        weight=prior_weight,
        count=num_class_pictures,
        batch=batch,
        captions=lambda base: structured_class_captions(base, subject),
    )
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage(train=(everything(), text_encoder()), loss=loss, steps=steps, lr=lr, weight_decay=1e-2),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
