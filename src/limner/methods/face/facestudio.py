"""FaceStudio — Yan et al., 2023.

Trained once: the denoiser reads an image embedding and a face's embedding in the place of text. Words come in by a
prior that makes an image embedding of them. Nothing is learned per subject."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import hybrid_states, prior_regression
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned, parts_of
from limner.parts.sources import pairs_of_people


@method(
    title="FaceStudio",
    arxiv="2312.02663",
    scope=("face", "style"),
    full_size={"lr": 1e-6, "rank": 64},
    same=("style", "tokens", "drop_image", "drop_face", "prior_steps", "steps", "batch"),
    source="Sec. 4 of arXiv:2312.02663; rank, batch and steps are ours",
)
def facestudio(
    subject: Subject,
    *,
    style: float = 0.0,
    tokens: int = 4,
    drop_image: float = 0.64,
    drop_face: float = 0.1,
    rank: int = 16,
    prior_steps: int = 150,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Hybrid guidance by image and face embeddings, and a small prior from text to image embeddings.

    The authors train the whole denoiser, here a low-rank change of its attention, and look through three CLIPs, here
    one. Their prior is a large model of its own, here a perceptron on the same CLIP's text embedding. They learn from
    pictures without people too, whose face is zeros; here all show one. Several identities in regions of one picture
    are not here: each prompt paints one.

    Settings:
        style: share of the look of the subject's own pictures in what a prompt asks for
        tokens: vectors that each embedding becomes
        drop_image: chance of a row not to see the image embedding in the one-time training
        drop_face: chance of a row not to see the face
        rank: of the change of the denoiser's attention
        prior_steps: updates of the prior's one-time training
        steps: updates of the denoiser's one-time training
        lr: learning rate of both
        batch: pictures in an update of both
    """
    making = hybrid_states(subject, tokens, style, drop_image, drop_face)
    word = changed_states(subject.handle, subject.noun, making, name="facestudio", negative=True)
    change, stage = low_rank(rank, name="facestudio.denoiser"), partial(Stage, lr=lr, weight_decay=0.01, warmup=20)
    seen = pairs_of_people(
        batch=batch, references=2, named=subject.handle, target="same", drop_image=0.0, drop_text=0.0, drop_both=0.0
    )
    return Recipe(
        says=subject.handle,
        modifiers=(word, change),
        stages=(
            stage((parts_of(word, "prior"),), (prior_regression(seen, word, handle=subject.handle),), prior_steps),
            stage((parts_of(word, "image", "face"), learned(change)), (denoising(seen),), steps),
        ),
        weights="facestudio",
    )
