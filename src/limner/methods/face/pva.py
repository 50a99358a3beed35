"""Parallel Visual Attention — Xu et al., WACV 2024.

Trained once: tokens of several pictures of a person, read by attention parallel to the text's while a hole in a picture
of that person is filled; then tuned on each subject for a few updates."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, each_of, face_embedding, side_by_side
from limner.parts.fusion import decoupled_cross_attention, resampled_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people, photos, with_holes


@method(
    title="Parallel Visual Attention",
    arxiv="2312.03556",
    scope=("face",),
    same=("scale", "tokens", "references", "steps", "lr", "pretrain_steps", "pretrain_lr", "batch"),
    source="40 updates for an identity are those of arXiv:2312.03556; all else is ours, since only its abstract could be "
    "read and no code is released",
)
def pva(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 8,
    references: int = 3,
    steps: int = 40,
    lr: float = 1e-4,
    pretrain_steps: int = 350,
    pretrain_lr: float = 1e-3,
    batch: int = 4,
) -> Recipe:
    """An identity encoder over several references, keys and values of its own in every cross-attention, 40 updates a
    subject.

    On an inpainting base (a UNet that reads the picture and its mask) both trainings fill random rectangles, and a
    picture is completed by the conditions "source" and "mask"; on any other base pictures are painted whole, and
    `--canvas` with a mask completes one. The person seen is never seen in the picture to paint, in the one-time
    training. The encoder is a resampler over the recogniser's and CLIP's embeddings of all references; the authors'
    network, masks and numbers beside the 40 updates could not be read.

    Settings:
        scale: strength of the visual attention; 0 is the base
        tokens: vectors that the references become
        references: pictures of a person to see in the one-time training
        steps: updates for a subject
        lr: learning rate of these
        pretrain_steps: updates of the one-time training
        pretrain_lr: learning rate of the one-time training
        batch: pictures in an update; four times as many in the one-time training
    """
    look = each_of(side_by_side((face_embedding, clip_global)))
    states = resampled_tokens(subject, look, tokens=tokens, name="people")
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=states)
    seen = with_holes(pairs_of_people(batch=4 * batch, references=references))
    own = with_holes(photos(subject, batch=batch, seen="all", captions=("a photo of {}", "a portrait of {}")))
    return Recipe(
        says=subject.noun,
        modifiers=(fusion,),
        stages=(
            Stage(
                (learned(fusion),),
                (denoising(seen),),
                pretrain_steps,
                pretrain_lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
            Stage((learned(fusion),), (denoising(own),), steps, lr),
        ),
        weights="pva",
    )
