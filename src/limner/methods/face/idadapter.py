"""IDAdapter — Cui et al., 2024.

Trained once: an identity word, and adapter layers that read the mixed features of several photographs of a person, so
that the pose and expression of a single photograph are not learned. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import all_of, clip_last, face_embedding
from limner.parts.fusion import gated_attention, identity_words, words_of_pictures
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising, same_person
from limner.parts.parameters import at_rate, learned, part_of
from limner.parts.sources import pairs_of_people


@method(
    title="IDAdapter",
    arxiv="2403.13535",
    scope=("face",),
    same=("strength", "mixed", "identity", "steps", "lr", "batch"),
    source="arXiv:2403.13535, whose authors release no code",
)
def idadapter(
    subject: Subject,
    *,
    strength: float = 1.0,
    mixed: int = 3,
    identity: float = 0.1,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """A word of the recogniser's embedding, gated adapters over patch features of several photographs, and an identity
    loss.

    Photographs are mixed by concatenating their patch features for the adapters' attention; sampling accepts one or
    more photographs. The paper's full text was not available: the mixing operator, the number of photographs, the
    weight and the learning rate are ours. The identity loss counts in the cleanest third of the diffusion times, where
    the prediction shows a face.

    Settings:
        strength: strength of the adapters during sampling; 0 leaves them out
        mixed: number of photographs of a person that are mixed in the one-time training
        identity: weight of the identity loss
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    mapper = identity_words(subject.noun, ((face_embedding, 1),), words=1)
    making = words_of_pictures(subject, mapper.look, mapper, before_noun=True)
    word = changed_states(subject.handle, subject.noun, making, name="idadapter")
    patches = gated_attention(subject, all_of(clip_last), strength=strength, name="idadapter.adapter")
    seen = pairs_of_people(batch=batch, references=mixed, named=subject.handle, drop_text=0.0)
    loss = denoising(seen), identity * same_person(seen, until=1 / 3)
    train = learned(word, patches), at_rate(10.0, part_of(patches, "gamma"))
    return Recipe(
        says=subject.handle,
        modifiers=(word, patches),
        stages=(Stage(train, loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="idadapter",
    )
