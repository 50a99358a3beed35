"""PortraitBooth — Peng et al., CVPR 2024.

Trained once: the face recogniser's feature is merged into the class noun after the text encoder. Losses localise the
cross-attention of identity and expression words on the face, and compare the identity of predicted clean pictures.
Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import each_of, face_embedding
from limner.parts.fusion import fused_words
from limner.parts.modifiers import changed_states, low_rank, watched_text, watched_word
from limner.parts.objectives import localised, same_person, sometimes_masked
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people

EXPRESSED = ("smiling", "laughing", "sad", "surprised", "angry", "crying", "happy")


@method(
    title="PortraitBooth",
    arxiv="2312.06354",
    scope=("face", "multi"),
    same=("wait", "identity", "until", "localised_weight", "rank", "steps", "lr", "batch"),
    source="arXiv:2312.06354, whose authors release no code",
)
def portraitbooth(
    subject: Subject,
    *,
    wait: float = 0.2,
    identity: float = 0.1,
    until: float = 0.25,
    localised_weight: float = 0.01,
    rank: int = 16,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """Subject text embedding augmentation, dynamic identity preservation and emotion-aware cross-attention control.

    The authors train the whole denoiser, here a low-rank change of its attention is trained. They read a shallow layer
    of an ArcFace network, here the final embedding of the recogniser is used, since a base offers no other. Their
    weights, and the time from which the identity loss counts, are not known: 0.1, 0.01 and the cleanest quarter are
    ours, as are learning rate and batch. Words for expressions in captions are those of EXPRESSED. Several subjects are
    learned one by one.

    Settings:
        wait: share of sampling, from its start, that reads plain text
        identity: weight of the identity loss
        until: share of the diffusion times, from clean pictures on, with the identity loss
        localised_weight: weight of the attention of identity and expression words outside of the face
        rank: rank of the change of the denoiser's attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    making = fused_words(subject, each_of(face_embedding), wait=wait)
    word = changed_states(subject.handle, subject.noun, making, name="portraitbooth")
    change = low_rank(rank, name="portraitbooth.denoiser")
    watched, expression = watched_word(subject.handle), watched_text("an expression", words=EXPRESSED)
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", masked=True, drop_image=0.1, drop_text=0.0, drop_both=0.1
    )
    drawn = (localised_weight * localised(seen, one) for one in (watched, expression))
    loss = sometimes_masked(seen, share=0.0), identity * same_person(seen, until=until), *drawn
    return Recipe(
        says=subject.handle,
        modifiers=(word, change, watched, expression),
        stages=(Stage((learned(word, change),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="portraitbooth",
    )
