"""DreamBooth with low-rank changes — LoRA (Hu et al., ICLR 2022) in the place of the whole denoiser.

The field's usual method: a file of a few hundred kilobytes that binds a rare token to the subject. Attention alone
changes, as in Sec. 4.2 of the paper and in diffusers' example; `lycoris_locon` changes convolutions as well.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import preserving
from limner.parts.parameters import learned
from limner.parts.sources import prior_note


@method(
    title="DreamBooth-LoRA",
    arxiv="2106.09685",
    scope=("object", "style", "face"),
    full_size={"rank": 4, "steps": 500, "lr": 1e-4, "prior_weight": 0.0, "batch": 1},
    same=("layers", "num_class_pictures"),
    source="train_dreambooth_lora.py of diffusers, which has no prior preservation unless asked",
)
def lora_dreambooth(
    subject: Subject,
    *,
    rank: int = 16,
    layers: str = "attention",
    steps: int = 120,
    lr: float = 4e-3,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, low-rank changes of the denoiser's attention, prior preservation.

    Settings of diffusers' example for a full-size base: rank 4, learning rate 1e-4, 500 steps.

    Settings:
        rank: rank of every change
        layers: which layers change: "attention", or "everything" (LoCon, convolutions as well)
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    change = low_rank(rank, layers=layers)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(change,),
        stages=(Stage(train=(learned(change),), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
