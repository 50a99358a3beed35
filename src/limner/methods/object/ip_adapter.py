"""IP-Adapter — Ye et al., 2023.

An encoder trained once: the subject's pictures become a few vectors that every cross-attention layer reads through keys
and values of its own. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.errors import UnknownName
from limner.parts.encoders import clip_global, face_embedding, mean_of
from limner.parts.fusion import decoupled_cross_attention, face_tokens
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs, pairs_of_people


@method(
    title="IP-Adapter",
    arxiv="2308.06721",
    scope=("object", "face", "style"),
    full_size={"rank": 128, "steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("sees", "scale", "tokens"),
    source="Sec. 4.1 of arXiv:2308.06721; the rank of FaceID in tencent-ailab/IP-Adapter",
)
def ip_adapter(
    subject: Subject,
    *,
    sees: str = "picture",
    scale: float = 1.0,
    tokens: int = 4,
    rank: int = 16,
    steps: int = 1000,
    lr: float = 1e-3,
    batch: int = 32,
) -> Recipe:
    """Decoupled cross-attention to the global CLIP embedding of the references, or to a face's embedding.

    In prompts the handle becomes the class noun. The authors' settings for a full-size base: 4 tokens, learning rate
    1e-4, a million steps of 64; scale 1 with empty prompts, 0.5 beside text. Their reference is the target itself; here
    it is another picture of the same subject, which keeps the adapter from copying the scene.

    With `sees` "face" it is the authors' IP-Adapter-FaceID: a perceptron makes the vectors of the recogniser's
    embedding, and a low-rank change of all attention, which `scale` leaves as it is, is trained beside them. Their
    FaceID Plus, which reads CLIP as well, is left out.

    Settings:
        sees: what is seen of the references: "picture", or "face", the base's recogniser's embedding
        scale: strength of the image branch; 0 is the base, but for the low-rank change of "face"
        tokens: vectors the embedding becomes
        rank: rank of the low-rank change of "face"
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    if sees not in ("picture", "face"):
        raise UnknownName("way for this method to see", sees, ("picture", "face"))
    seen = pairs(batch=batch)
    change: tuple[low_rank, ...] = ()
    if sees == "face":
        states = face_tokens(subject, mean_of(face_embedding), tokens=tokens)
        fusion = decoupled_cross_attention(subject, face_embedding, scale=scale, states=states)
        seen, change = pairs_of_people(batch=batch), (low_rank(rank, name="ip_adapter.denoiser"),)
    else:
        fusion = decoupled_cross_attention(subject, clip_global, tokens=tokens, scale=scale)
    return Recipe(
        says=subject.noun,
        modifiers=(fusion, *change),
        stages=(
            Stage(
                train=(learned(fusion, *change),),
                loss=(denoising(seen),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="ip_adapter.face" if sees == "face" else "ip_adapter",
    )
