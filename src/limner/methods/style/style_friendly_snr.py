"""Style-Friendly SNR sampler — Choi et al., CVPR 2025.

A style is decided where pictures are mostly noise. Low-rank changes are learned at times whose log signal-to-noise
ratio is normal around -6 on full-size bases, where usual training draws it around 0.

The learning rate, rank and number of updates of the paper were not at hand; those for full-size bases are ours.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import content_captions
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import at_log_snr, photos


@method(
    title="Style-Friendly SNR",
    arxiv="2411.14793",
    scope=("style",),
    full_size={"log_snr": -6.0, "rank": 32, "steps": 300, "lr": 1e-4, "batch": 1},
    same=("deviation",),
    source="mean log-SNR from the paper; the other values were not checked against it: ours",
)
def style_friendly_snr(
    subject: Subject,
    *,
    log_snr: float = -1.8,
    deviation: float = 2.0,
    rank: int = 16,
    steps: int = 120,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """Low-rank changes of attention, learned at high noise; the style's plain words stand in prompts.

    A flow's time is 1 / (1 + exp(log-SNR / 2)). In diffusion it is the time whose log-SNR is nearest, so that values
    beyond the noisiest time fall on that time. Mean 0 with deviation 2 are the times of Stable Diffusion 3. Pictures
    without a caption get one from the base's CLIP, which names their content.

    The paper's latents have 128 positions a side. Where they have 16, each is the mean of 64 of these and has 64 times
    their signal-to-noise ratio, so that -6 becomes -6 + log 64 = -1.8 (noise by resolution, arXiv:2301.11093).

    Settings:
        log_snr: mean of the log signal-to-noise ratio of training
        deviation: standard deviation of the log signal-to-noise ratio
        rank: rank of every change
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    change = low_rank(rank)
    source = at_log_snr(photos(subject, batch=batch, describe=content_captions), log_snr, deviation)
    return Recipe(
        says=subject.noun,
        modifiers=(change,),
        stages=(Stage(train=(learned(change),), loss=(denoising(source),), steps=steps, lr=lr),),
    )
