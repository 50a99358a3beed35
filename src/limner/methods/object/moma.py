"""MoMA — Song et al., ECCV 2024: a multimodal language model adapter.

The output of a multimodal language model for "this subject, in that prompt" enters cross-attention; the subject's
details enter self-attention from a clean picture of it; both only where the step before has painted the subject.
Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention import followed_subject, painted_at
from limner.parts.encoders import multimodal_places
from limner.parts.fusion import (
    clean_reference,
    decoupled_cross_attention,
    feature_regression,
    multimodal_features,
    reference_network,
)
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned, part_of
from limner.parts.sources import pairs


@method(
    title="MoMA",
    arxiv="2404.05674",
    scope=("object",),
    full_size={"feature_steps": 200_000, "steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("model", "tokens", "scale", "threshold", "rank"),
    source="vectors and threshold of bytedance/MoMA, which has no training code; updates and rates are not "
    "published: Kosmos-G's number for the features, then IP-Adapter's (arXiv:2308.06721)",
)
def moma(
    subject: Subject,
    *,
    model: str = "",
    tokens: int = 4,
    scale: float = 1.0,
    threshold: float = 0.2,
    rank: int = 8,
    feature_steps: int = 300,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Four vectors of a multimodal model beside the text, and self-attention to a clean reference behind a learned
    gate.

    In prompts the handle becomes the class noun. First the multimodal model learns to give CLIP's features of the new
    picture, then all learn by denoising; the authors' decoder learns whole, here a low-rank change of it. References
    are on plain ground. The gates learn at ten times the rate: they start at 0 and have few updates. In the noisiest
    twentieth of the diffusion times the added attention is left out, in training too. In sampling, both branches of
    guidance attend to the reference, as the authors store its keys and values for both; the vectors beside the text are
    those of no picture in the negative branch.

    Settings:
        model: multimodal model by folder or hub id; empty is the base's own
        tokens: vectors that cross-attention reads
        scale: strength of what cross-attention reads
        threshold: share of the largest attention to the noun below which a position is background
        rank: rank of the change of the multimodal model; 0 leaves it as it is
        feature_steps: updates of the one-time training to give features
        steps: updates of the one-time training by denoising
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training; twice as many in one to give features
    """
    where = followed_subject(subject, threshold)
    states = multimodal_features(subject, tokens, rank, model)
    image = decoupled_cross_attention(subject, multimodal_places(model), tokens, scale, states=states, gate=painted_at)
    details = reference_network(
        subject,
        clean_reference(),
        lambda site: site.kind == "self",
        noised=False,
        plain=True,
        blind=(),
        name="clean_reference",
    )
    source, more = (pairs(batch=count, named="a {noun}", ground="plain") for count in (batch, 2 * batch))
    regression = feature_regression(more, image, states)
    gates = at_rate(10.0, part_of(details, "gate"))
    return Recipe(
        says=subject.noun,
        modifiers=(where, image, details),
        stages=(
            Stage((learned(image),), (regression,), feature_steps, 2 * lr, 0.01, warmup=20, decay="cosine"),
            Stage((learned(image, details), gates), (denoising(source),), steps, lr, 0.01, warmup=20, decay="cosine"),
        ),
        weights="moma",
    )
