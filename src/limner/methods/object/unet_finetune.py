"""A Closer Look at Parameter-Efficient Tuning in Diffusion Models — Xiang et al., 2023.

Small bottleneck adapters in the denoiser's transformer blocks; their input and output position matters most, and the
best is from the output of cross-attention to the input of the feed-forward layer.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import bottleneck_adapters, rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="Unet-finetune (adapters)",
    arxiv="2303.18181",
    scope=("object",),
    full_size={"steps": 3000, "lr": 1e-4, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    same=("width",),
    source="attn2o-ffni.yaml of Xiang-cd/unet-finetune; the number of class images is DreamBooth's",
)
def unet_finetune(
    subject: Subject,
    *,
    width: int = 60,
    steps: int = 400,
    lr: float = 2e-3,
    prior_weight: float = 0.3,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, adapters in every transformer block, prior preservation.

    The authors' settings for a full-size base: width 60, learning rate 1e-4, weight 1.

    Settings:
        width: hidden width of every adapter
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    adapters = bottleneck_adapters(width)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(adapters,),
        stages=(Stage(train=(learned(adapters),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
