"""Taming Encoder — Jia et al., 2023.

The subject, cut out, becomes an embedding that added cross-attention reads beside the text. Training also has batches
without a subject, so that the model does not forget how to paint from text.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.fusion import decoupled_cross_attention
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising, same_identity
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="Taming Encoder",
    arxiv="2304.02642",
    scope=("object",),
    full_size={"steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("scale", "without_subject", "identity", "rank"),
    source="not published; IP-Adapter's (arXiv:2308.06721), which trains cross-attention to a picture's embedding too",
)
def taming_encoder(
    subject: Subject,
    *,
    scale: float = 1.0,
    without_subject: float = 0.5,
    identity: float = 0.05,
    rank: int = 4,
    steps: int = 500,
    lr: float = 1e-3,
    batch: int = 32,
) -> Recipe:
    """Added cross-attention to the embedding of the subject alone, regularised joint training, an identity loss.

    In prompts the handle becomes the class noun. The authors train Imagen as a whole; here a low-rank change of
    attention is trained with the encoder's side. Captions say all but what the subject looks like, as theirs, which a
    captioner writes. The terms' weights are ours: there is no code of theirs, and we know the loss from its description
    alone.

    Settings:
        scale: strength of the subject's branch
        without_subject: weight of the batches without a subject
        identity: weight of the distance between predicted picture and reference in CLIP's embedding
        rank: rank of the low-rank change of attention that is trained beside
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training: a quarter without a subject, an eighth for identity
    """
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, alone=True)
    change = low_rank(rank, name="taming_encoder")
    quarter, eighth = max(1, batch // 4), max(1, batch // 8)
    many = pairs(batch=max(1, batch - quarter - eighth))
    bare = pairs(batch=quarter, drop_image=1.0, name="pairs without subject")
    few = pairs(batch=eighth, masked=True, drop_image=0, drop_text=0, drop_both=0, name="pairs for identity")
    stage = Stage(
        train=(learned(fusion), learned(change)),
        loss=(denoising(many), without_subject * denoising(bare), identity * same_identity(few)),
        steps=steps,
        lr=lr,
        weight_decay=0.01,
        warmup=20,
        decay="cosine",
    )
    return Recipe(says=subject.noun, modifiers=(fusion, change), stages=(stage,), weights="taming_encoder")
