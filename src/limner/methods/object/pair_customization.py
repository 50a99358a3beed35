"""Pair Customization — Jones et al., 2024.

Two low-rank changes learned from a pair of pictures, one for the content and one for the style; during sampling, the
second acts as a guidance of its own.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.guidance import adapter_guidance
from limner.parts.modifiers import paired_low_rank, rare_word, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import class_pictures, photos


@method(
    title="Pair Customization",
    arxiv="2405.01536",
    scope=("style", "object"),
    full_size={"rank": 64, "style_guidance": 4.0, "content_steps": 250, "steps": 500, "lr": 1e-5},
    same=("num_class_pictures", "batch"),
    source="train_pair_customization_lora_sdxl.sh and evaluate.py of PairCustomization/PairCustomization: "
    "batches of 1, accumulated 4 times",
)
def pair_customization(
    subject: Subject,
    *,
    rank: int = 16,
    style_guidance: float = 3.0,
    content_steps: int = 60,
    steps: int = 180,
    lr: float = 2e-3,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """Contents and style on orthogonal bases, contents first; style guidance.

    The content pictures are those without the style (`--without`), learned as the class noun. Where there are none,
    they are class images that the base paints, so that the style is the difference between the subject and its class.
    The authors' settings for a full-size base: ranks 64, learning rate 1e-5, 750 steps of which the first 250 are the
    contents' alone, guidance 5 and style guidance 4 from time 800.

    Settings:
        rank: rank of each of the two changes
        style_guidance: how strongly the style acts during sampling; 0 is the base
        content_steps: updates of the contents alone
        steps: updates of both
        lr: learning rate
        num_class_pictures: class images that the untouched base paints where the subject has no pair
        batch: pictures of each kind in an update
    """
    change = paired_low_rank(rank, rare_word(subject.handle))
    paired = photos(subject.contrast, captions=(f"a photo of a {subject.noun}",), batch=batch, name="contents")
    contents = paired if subject.without else class_pictures(subject, count=num_class_pictures, batch=batch)
    phrase = rare_word_and(subject.noun, handle=subject.handle)
    return Recipe(
        says=phrase,
        modifiers=(change,),
        stages=(
            Stage(train=(learned(change),), loss=(denoising(contents),), steps=content_steps, lr=lr),
            Stage(
                train=(learned(change),),
                loss=(denoising(contents), denoising(photos(subject, batch=batch))),
                steps=steps,
                lr=lr,
            ),
        ),
        painting=Painting(
            guidance=(adapter_guidance(style_guidance),),
            branches={"plain": lambda prompt: prompt.replace(subject.handle, subject.noun)},
        ),
    )
