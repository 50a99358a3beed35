"""Identity Encoder for Personalized Diffusion — Su et al., 2023.

Trained once, on several tasks at a time: a set of pictures of a person becomes an identity code that the denoiser
attends to, to paint them anew and to restore pictures of them. Nothing is learned per subject."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import blurred, erased
from limner.parts.encoders import clip_global, face_embedding, mean_of, side_by_side
from limner.parts.fusion import decoupled_cross_attention, looked_tokens
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising, same_person
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="Identity Encoder for Personalized Diffusion",
    arxiv="2304.07429",
    scope=("face",),
    same=("scale", "tokens", "references", "restoring", "identity", "rank", "steps", "lr", "batch"),
    source="arXiv:2304.07429, of which no settings and no code are published",
)
def su_identity_encoder(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 8,
    references: int = 3,
    restoring: float = 0.5,
    identity: float = 0.1,
    rank: int = 16,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """Tokens of the mean over a set of face and CLIP embeddings, a low-rank change of the denoiser, two tasks and an
    identity loss.

    Only the abstract could be read: the network, the tasks' number and all settings are ours. The authors train a face
    generator as a whole, without text; here a text-to-image base keeps its text, in which the handle is the class noun,
    and a low-rank change of it learns. Its second task restores: a picture is painted from itself and others, all
    blurred or with a part erased.

    Settings:
        scale: strength of the identity while painting; 0 is the base
        tokens: vectors that the identity becomes
        references: pictures in a set, in the one-time training
        restoring: weight of the second task
        identity: weight of the identity loss
        rank: of the change of the denoiser's attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training; half as many of the second task beside them
    """
    look = mean_of(side_by_side((face_embedding, clip_global)))
    code = looked_tokens(subject, look, tokens=tokens, name="identity")
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=code)
    change, of_people = low_rank(rank, name="su.denoiser"), partial(pairs_of_people, references=references)
    painting = of_people(batch=batch)
    restored = of_people(
        batch=max(1, batch // 2), target="same", changes=(blurred(), erased()), name="people to restore"
    )
    loss = denoising(painting), restoring * denoising(restored), identity * same_person(painting, until=1 / 3)
    return Recipe(
        says=subject.noun,
        modifiers=(fusion, change),
        stages=(Stage((learned(fusion, change),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="su_identity_encoder",
    )
