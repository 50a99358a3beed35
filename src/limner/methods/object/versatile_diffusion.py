"""Versatile Diffusion — Xu et al., ICCV 2023.

One denoiser, two flows: pictures are painted from text or from pictures, each through its own cross-attention stack,
with all other layers shared. During sampling the two flows are mixed.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import all_of, clip_tokens
from limner.parts.fusion import context_stack
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="Versatile Diffusion",
    arxiv="2211.08332",
    scope=("object", "style"),
    full_size={"steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("ratio", "mixing"),
    source="not found: SHI-Labs/Versatile-Diffusion holds no training configuration; IP-Adapter's "
    "(arXiv:2308.06721), which trains cross-attention to pictures too",
)
def versatile_diffusion(
    subject: Subject,
    *,
    ratio: float = 0.5,
    mixing: str = "attention",
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 32,
) -> Recipe:
    """All of CLIP's tokens of the pictures as the context of a stack of their own.

    In prompts the handle becomes the class noun. The text flow is the base as it is; the image flow is trained alone,
    in batches of its own, as there. The authors train the shared layers as well, have flows that write text (left out
    here), and take the context's picture for the one to paint; here it is another picture of the same subject. In their
    code a flow's stack also holds the self-attention and feed-forward layers of its transformer blocks.

    Settings:
        ratio: share of the text flow in what cross-attention gives; 1 is the base, 0 pictures alone
        mixing: "attention" sums both flows at every layer; "layer" takes one of them at each, at random by the ratio
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    stack = context_stack(subject, all_of(clip_tokens), ratio, mixing)
    source = pairs(batch=batch, drop_image=0.1, drop_text=0.0, drop_both=0.0)
    stage = Stage((learned(stack),), (denoising(source),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(says=subject.noun, modifiers=(stack,), stages=(stage,), weights="versatile_diffusion")
