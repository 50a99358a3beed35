"""Face2Diffusion — Shiohara and Yamasaki, CVPR 2024.

Trained once: two words of a face that disentangle three things: identity, from features at several depths; expression,
which may be left out; and surroundings, for which the untouched model is the target.
"""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_class_depths, expression_code, face_embedding
from limner.parts.fusion import IDENTITY, identity_words, words_of_pictures
from limner.parts.modifiers import changed_states
from limner.parts.objectives import class_outside, recognition
from limner.parts.parameters import all_but, part_of
from limner.parts.sources import pairs_of_people

DEPTHS = (1 / 4, 1 / 2, 3 / 4, 1.0)


@method(
    title="Face2Diffusion",
    arxiv="2403.05094",
    scope=("face",),
    full_size={"width": 1536},
    same=("expression", "recognise_steps", "steps", "lr", "batch"),
    source="src/modules.py of mapooon/Face2Diffusion, which releases no training code: rate, batch and steps are ours",
)
def face2diffusion(
    subject: Subject,
    *,
    expression: bool = False,
    width: int = 192,
    recognise_steps: int = 100,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Words of multi-scale identity features, disentangled from expression and, by class-guided denoising, from
    surroundings.

    The authors train a face recogniser so that its features at depths 2, 5, 8 and 11 all discriminate people; here
    linear maps of CLIP at four depths, beside the recogniser's embedding, are trained for it, with a supervised
    contrastive loss in the place of ArcFace's classes. Their expression code is 64 numbers of a 3D face model; here it
    is CLIP's zero-shot classification of eight expressions. The authors' perceptrons have two hidden layers of 1536
    units with dropout 0.1; their training code, and with it learning rate and batch, is not released.

    Settings:
        expression: paint with the expression of the subject's pictures, in the place of a learned neutral code
        width: hidden units of each perceptron
        recognise_steps: updates of the one-time training to discriminate people
        steps: updates of the one-time training of the words
        lr: learning rate of both
        batch: pictures in an update of both
    """
    depths = (clip_class_depths(DEPTHS), len(DEPTHS)), (face_embedding, 1)
    mapper = identity_words(subject.noun, depths, expression_code, hidden=width, dropout=0.1, expressive=expression)
    making = words_of_pictures(subject, mapper.look, mapper)
    word = changed_states(subject.handle, subject.noun, making, name="face2diffusion")
    seen = partial(pairs_of_people, batch=batch, named=subject.handle, drop_text=0.0)
    stage = partial(Stage, lr=lr, weight_decay=0.01, warmup=20, decay="cosine")
    telling = recognition(seen(alike=2, name="people to tell apart", drop_image=0.0, drop_both=0.0), IDENTITY)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            stage((part_of(word, ".scale"),), (telling,), recognise_steps),
            stage(
                (all_but(word, ".scale"),),
                (class_outside(seen(masked=True, target="same"), "a photo of a {noun}"),),
                steps,
            ),
        ),
        weights="face2diffusion",
    )
