"""Mist — Liang and Wu, arXiv 2023.

Each photograph is changed so that its latents near those of a texture, while the denoiser's error on it grows: the
first hinders editing, the second learning. The second alone is AdvDM (Liang et al., ICML 2023).
"""

from limner.core.method import method
from limner.core.recipe import Objective, Recipe, Source
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.objectives import denoising
from limner.parts.protection import latents_near, perturbation, texture

MODES = ("textural", "semantic", "fused")


@method(
    title="Mist",
    arxiv="2305.12683",
    scope=("defence",),
    full_size={"steps": 100, "epsilon": 16.0},
    same=("mode", "step_size", "semantic_weight"),
    source="the authors' code (mist-project/mist): 16 and 1 of 255, and a rate of 1e4 where latents of 4 * 64 * 64 "
    "values are summed, which is 0.61 for their mean; the texture is our own",
)
def mist(
    subject: Subject,
    *,
    mode: str = "fused",
    steps: int = 60,
    epsilon: float = 8.0,
    step_size: float = 1.0,
    semantic_weight: float = 0.61,
) -> Recipe:
    """Photographs with the latents of a texture and a large error of the denoiser.

    Settings:
        mode: "textural" (latents near the texture's), "semantic" (large error of the denoiser: AdvDM) or "fused" (both)
        steps: updates of each photograph
        epsilon: largest change of a colour channel, which is from 0 to 255
        step_size: change of a colour channel in an update
        semantic_weight: with mode "fused", weight of the denoiser's error beside the distance to the texture
    """
    if mode not in MODES:
        raise InputError(f"the mode of mist is one of {', '.join(MODES)}, not {mode!r}")

    def loss(photo: Source) -> tuple[Objective, ...]:
        near = 0.0 if mode == "semantic" else 1.0
        away = {"textural": 0.0, "semantic": 1.0, "fused": semantic_weight}[mode]
        return near * latents_near(photo, texture), -away * denoising(photo)

    change = perturbation(subject, epsilon)
    return Recipe(
        says=subject.noun,
        modifiers=(change,),
        stages=change.stages(loss, steps=steps, step_size=step_size),
        artefacts=change.copies,
    )
