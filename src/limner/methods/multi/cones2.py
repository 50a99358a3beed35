"""Cones 2 — Liu et al., NeurIPS 2023.

A subject is one residual vector that is added to the text encoder's hidden states of the class noun. Several subjects
are several vectors, and a layout guides the attention of each to its region.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import drawn_to_regions
from limner.parts.modifiers import residual_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Cones 2",
    arxiv="2305.19327",
    scope=("object", "multi"),
    full_size={"steps": 4000, "batch": 1},
    same=("layout_weight", "layout_until", "lr"),
    source="README and guidance_config_example.json of ali-vilab/Cones-V2, 0.08 times 2.5; the rate for the "
    "residual alone is ours",
)
def cones2(
    subject: Subject,
    *,
    layout_weight: float = 0.2,
    layout_until: float = 1.0,
    steps: int = 250,
    lr: float = 3e-2,
    batch: int = 4,
) -> Recipe:
    """The class noun in the prompt, a residual on its hidden states, and layout guidance where subjects have regions.

    The authors tune the whole text encoder, with a loss that preserves its hidden states of other words, and store the
    mean shift of the class noun's states over prompt templates. Here the residual itself is learned over templates, so
    states of other words do not change at all and no weights of the text encoder are stored. Their sampler also runs
    each guided step twice, adding noise again in between; here every step runs once. Regions are those of
    `paint(regions=...)`, as boxes or masks.

    The authors' settings for a full-size base: learning rate 5e-6 for the text encoder, batch 1, 4000 steps; layout
    guidance in all of 50 steps with weight 0.08 times 2.5.

    Settings:
        layout_weight: gain of a subject's attention within its region; outside of the region its attention is 0
        layout_until: share of sampling, from its start, with layout guidance
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    residual = residual_word(subject.handle, subject.noun)
    source = photos(subject, captions=("{}", *PHOTO_TEMPLATES), batch=batch)
    return Recipe(
        says=subject.handle,
        modifiers=(residual, drawn_to_regions(layout_weight, layout_until)),
        stages=(Stage(train=(learned(residual),), loss=(denoising(source),), steps=steps, lr=lr),),
    )
