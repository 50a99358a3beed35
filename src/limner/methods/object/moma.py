"""MoMA — Song et al., ECCV 2024: a multimodal language model adapter.

What a multimodal language model makes of "this subject, in that prompt" enters cross-attention; the subject's details enter
self-attention from a clean picture of it; both only where the step before has painted the subject. Nothing is learned per
subject.
"""

from limner.parts import (
    at_rate,
    clean_reference,
    decoupled_cross_attention,
    denoising,
    described,
    followed_subject,
    learned,
    multimodal_places,
    painted_at,
    pairs,
    part_of,
    reference_network,
)
from limner.recipe import Recipe, Stage, method
from limner.subject import Subject


@method(title="MoMA", arxiv="2404.05674", scope=("object",))
def moma(
    subject: Subject,
    *,
    model: str = "",
    tokens: int = 4,
    scale: float = 1.0,
    threshold: float = 0.2,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Four vectors of a multimodal model beside the text, and self-attention to a clean reference behind a learned gate.

    In prompts the handle becomes the class noun. The authors' first stage teaches the multimodal model to give features of a
    new picture; the pocket's ships taught to describe one, and stays as it is. References are on plain ground. The gates
    learn at thirty times the rate: they start at 0 and have few updates. What was added at the noisiest twentieth of times
    is left out here while teaching too.

    Settings:
        model: multimodal model by folder or hub id; empty is the pocket's own
        tokens: vectors that cross-attention reads
        scale: strength of what cross-attention reads
        threshold: share of the largest attention to the noun below which the subject is not
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    where = followed_subject(subject, threshold)
    image = decoupled_cross_attention(
        subject,
        multimodal_places(model),
        tokens,
        scale,
        states=described(subject, tokens=tokens, model=model),
        gate=painted_at,
    )
    details = reference_network(
        subject, clean_reference(), lambda site: site.kind == "self", noised=False, plain=True, name="clean_reference"
    )
    source = pairs(batch=batch, named="a {noun}", ground="plain")
    return Recipe(
        says=subject.noun,
        modifiers=(where, image, details),
        stages=(
            Stage(
                train=(learned(image, details), at_rate(30.0, part_of(details, "gate"))),
                loss=(denoising(source),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="moma",
    )
