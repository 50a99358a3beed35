"""MATTE — Agarwal et al., CVPR 2024.

Four words for one subject, its colour, object, layout and style, each used only in the layers and at the times that
decide this attribute, so that each can be used or left out.
"""

from typing import Any

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import scoped, varying_word
from limner.parts.objectives import denoising, penalty
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="MATTE",
    arxiv="2311.11919",
    scope=("object", "style", "semantic"),
    full_size={"steps": 500, "lr": 5e-3, "batch": 8},
    same=("keep", "object_weight", "apart_weight"),
    source="not published; those of P+ (Sec. 4 of arXiv:2303.09522), which learns several vectors of a word too",
)
def matte(
    subject: Subject,
    *,
    keep: str = "colour,object,layout,style",
    object_weight: float = 0.01,
    apart_weight: float = 0.01,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """A word whose vector is one of four, by layer and time.

    The authors released no code and no weights. Their prompts list four tokens; here one handle stands for all of them.
    The object's vector is held near the class noun's; of the loss between colour and style, which share layers, only
    that it exists is known: here it is their squared cosine.

    Settings:
        keep: attributes to paint with, with commas between them
        object_weight: weight of the squared distance of the object's vector to the class noun's
        apart_weight: weight of the squared cosine of the colour's and the style's shift from the class noun
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    attributes = tuple(part.strip() for part in keep.split(",") if part.strip())
    word, source = varying_word(subject.handle, subject.noun, scoped(attributes)), photos(subject, batch=batch)

    def shift(adapted: Any, name: str) -> Any:
        return adapted.live[word].tensors[f"varying.{subject.handle}.{name}"] - adapted.base.word_vectors(
            subject.noun
        ).mean(0)

    def near(adapted: Any) -> Any:
        return shift(adapted, "object").square().mean()

    def apart(adapted: Any) -> Any:
        first, second = shift(adapted, "colour"), shift(adapted, "style")
        return ((first * second).sum() / (first.norm() * second.norm()).clamp_min(1e-6)).square()

    loss = (
        denoising(source),
        object_weight * penalty(source, name="object near its noun", of=near),
        apart_weight * penalty(source, name="colour and style apart", of=apart),
    )
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage(train=(learned(word),), loss=loss, steps=steps, lr=lr),),
    )
