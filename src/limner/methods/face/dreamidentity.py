"""DreamIdentity — Chen et al., AAAI 2024.

Trained once: an encoder makes two words of a face from features at several depths. It learns to reconstruct people and
to stay editable, from edited portraits that the base itself paints. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_class_depths, face_embedding
from limner.parts.fusion import identity_words, words_of_pictures
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising, short
from limner.parts.parameters import learned
from limner.parts.sources import edited_portraits, pairs_of_people

DEPTHS = (1 / 4, 1 / 2, 3 / 4, 1.0)


@method(
    title="DreamIdentity",
    arxiv="2307.00300",
    scope=("face",),
    same=("edits", "short_words", "width", "steps", "lr", "batch"),
    source="arXiv:2307.00300, whose authors release no code",
)
def dreamidentity(
    subject: Subject,
    *,
    edits: float = 1.0,
    short_words: float = 1e-3,
    width: int = 192,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """A multi-word, multi-scale identity encoder, trained on faces and on self-augmented pairs of portrait and edit.

    The authors' encoder is a vision transformer pre-trained on face recognition, read at several depths; here CLIP is
    read at four depths, beside the base's face recogniser. The authors let the base paint celebrities; a base that
    knows no names of people paints descriptions ("a child with curly red hair"). The recogniser ranks the pairs, and
    the better half is used. The authors' code is not released: weights, learning rate, batch and edits are ours, on any
    base.

    Settings:
        edits: weight of the loss on edited portraits; with 0 none is painted
        short_words: weight of the words' squared length
        width: hidden units of each perceptron
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training, and half as many edits
    """
    mapper = identity_words(subject.noun, ((clip_class_depths(DEPTHS), len(DEPTHS)), (face_embedding, 1)), hidden=width)
    making = words_of_pictures(subject, mapper.look, mapper)
    word = changed_states(subject.handle, subject.noun, making, name="dreamidentity")
    seen = pairs_of_people(batch=batch, named=subject.handle, target="same", drop_text=0.0)
    edited = edited_portraits(batch=max(1, batch // 2), named=subject.handle)
    loss = denoising(seen), short_words * short(seen, "picture words"), edits * denoising(edited)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage((learned(word),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="dreamidentity",
    )
