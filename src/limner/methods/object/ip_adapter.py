"""IP-Adapter — Ye et al., 2023.

An encoder trained once: the subject's pictures become a few vectors that every cross-attention layer reads through keys
and values of its own. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.fusion import decoupled_cross_attention
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="IP-Adapter",
    arxiv="2308.06721",
    scope=("object", "face", "style"),
    full_size={"steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("scale", "tokens"),
    source="Sec. 4.1 of arXiv:2308.06721",
)
def ip_adapter(
    subject: Subject, *, scale: float = 1.0, tokens: int = 4, steps: int = 1000, lr: float = 1e-3, batch: int = 32
) -> Recipe:
    """Decoupled cross-attention to the global CLIP embedding of the references.

    In prompts the handle becomes the class noun. The authors' settings for a full-size base: 4 tokens, learning rate
    1e-4, a million steps of 64; scale 1 with empty prompts, 0.5 beside text. Their reference is the target itself; here
    it is another picture of the same subject, which keeps the adapter from copying the scene.

    Settings:
        scale: strength of the image branch; 0 is the base
        tokens: vectors the embedding becomes
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    fusion = decoupled_cross_attention(subject, clip_global, tokens=tokens, scale=scale)
    return Recipe(
        says=subject.noun,
        modifiers=(fusion,),
        stages=(
            Stage(
                train=(learned(fusion),),
                loss=(denoising(pairs(batch=batch)),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="ip_adapter",
    )
