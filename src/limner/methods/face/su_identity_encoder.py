"""Identity Encoder for Personalized Diffusion — Su et al., 2023.

Trained once, on several tasks at a time: a set of pictures of a person becomes an identity code that the denoiser
attends to, for new pictures of the person and for the restoration of degraded ones. Nothing is learned per subject."""

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
    source="arXiv:2304.07429, which publishes no settings and no code",
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

    Only the abstract was available: the network, the number of tasks and all settings are ours. The authors train a
    whole face generator without text; here the base still reads text, with the class noun for the handle, and a
    low-rank change of it is trained. The second task is restoration: the inputs are the target picture and others, all
    blurred or with a part erased.

    Settings:
        scale: strength of the identity code during sampling; 0 is the base
        tokens: number of vectors of the identity code
        references: number of input pictures of a person in the one-time training
        restoring: weight of the restoration task
        identity: weight of the identity loss
        rank: rank of the change of the denoiser's attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training, and half as many for restoration
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
