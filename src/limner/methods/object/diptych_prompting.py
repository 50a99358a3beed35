"""Diptych Prompting — Shin et al., CVPR 2025.

The picture is painted as the right panel of a diptych with the reference image on the left; the prompt asks for the
same subject in both panels.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.guidance import beside_panel, enforced
from limner.parts.modifiers import low_rank, reference_latents
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import diptychs


@method(
    title="Diptych Prompting",
    arxiv="2411.15466",
    scope=("object", "style"),
    full_size={
        "adapter": False,
        "template": (
            "A diptych with two side-by-side images of same {noun}. On the left, a photo of {noun}. On the "
            "right, replicate this {noun} exactly but as {prompt}"
        ),
    },
    same=("enforce", "rank", "steps", "lr", "batch"),
    source="diptych_prompting_inference.py of chaehunshin/DiptychPrompting; without an adapter, on a base "
    "that draws diptychs, nothing is trained",
)
def diptych_prompting(
    subject: Subject,
    *,
    enforce: float = 1.3,
    adapter: bool = True,
    template: str = "a {noun} and {prompt}",
    rank: int = 6,
    steps: int = 450,
    lr: float = 2e-3,
    batch: int = 16,
) -> Recipe:
    """The subject's first picture on plain ground, beside which the right half is inpainted with reference attention
    enhanced.

    The authors' method is training-free, since their base can paint diptychs; so it is here with `adapter` false, on
    such a base. Any other base gets an adapter, a low-rank change trained once on pairs side by side. The authors
    inpaint through a ControlNet; here the known panel is restored at every step. In prompts the handle becomes the
    class noun.

    Settings:
        enforce: factor of the attention from the right panel to the left; 1 is ordinary inpainting
        adapter: whether a low-rank adapter pre-trained on diptychs is attached
        template: prompt of the whole diptych, with {noun} and {prompt}
        rank: rank of the low-rank change
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: diptychs in an update of the one-time training
    """
    left, change = reference_latents(subject, plain=True), low_rank(rank, "everything", name="diptych_change")
    loss = (denoising(diptychs(template, batch=batch)),)
    stage = Stage((learned(change),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(
        says=subject.noun,
        modifiers=(left, change) if adapter else (left,),
        stages=(stage,) if adapter else (),
        painting=Painting(
            operations=(enforced(enforce),),
            branches={"text": lambda prompt: template.format(noun=subject.noun, prompt=prompt)},
            denoiser=beside_panel(left),
        ),
        weights="diptych_prompting" if adapter else None,
    )
