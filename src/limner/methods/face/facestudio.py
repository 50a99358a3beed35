"""FaceStudio — Yan et al., 2023.

Trained once: the denoiser reads an image embedding and a face embedding in the place of text. A prior turns the prompt
into an image embedding. Nothing is learned per subject."""

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

    The authors train the whole denoiser and use three CLIP encoders; here a low-rank change of its attention is
    trained, with one CLIP. Their prior is a large separate model, here a perceptron on the same CLIP's text embedding.
    They also train on pictures without people, with a face embedding of zeros; here every picture shows a person.
    Several identities in regions of one picture are left out: each prompt paints one.

    Settings:
        style: share of the subject's own image embedding, mixed into the prompt's
        tokens: vectors that each embedding becomes
        drop_image: probability of dropping a row's image embedding in the one-time training
        drop_face: probability of dropping a row's face embedding
        rank: rank of the change of the denoiser's attention
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
