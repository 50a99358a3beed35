"""Infinite-ID — Wu et al., ECCV 2024.

Trained once with the text switched off: tokens of a face for cross-attention, which therefore do not entangle with
text. During sampling, a text stream and an identity stream run in parallel and share self-attention. Nothing is learned
per subject."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, face_embedding, mean_of, side_by_side
from limner.parts.fusion import decoupled_cross_attention, looked_tokens, mixed_attention, text_off
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="Infinite-ID",
    arxiv="2403.11781",
    scope=("face", "style"),
    same=("scale", "identity", "shifted", "tokens", "steps", "lr", "batch"),
    source="arXiv:2403.11781, whose authors release no code",
)
def infinite_id(
    subject: Subject,
    *,
    scale: float = 1.0,
    identity: float = 1.0,
    shifted: bool = True,
    tokens: int = 4,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """Identity-enhanced training of a face mapper with keys and values of its own; mixed attention with AdaIN-mean
    during sampling.

    Only summaries of the paper were available, and no code is released: the form of mixed attention follows the
    summaries, all numbers are ours. In prompts the handle is the class noun. Sampling runs every picture twice.

    Settings:
        scale: strength of the identity's cross-attention during sampling
        identity: weight of the identity stream in self-attention; 0 leaves it out
        shifted: shift the identity stream's means to the text stream's (AdaIN-mean), which preserves the prompt's style
        tokens: vectors that the face becomes
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    look = mean_of(side_by_side((face_embedding, clip_global)))
    states = looked_tokens(subject, look, tokens=tokens, name="face")
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=states)
    seen = pairs_of_people(batch=batch, target="same", drop_image=0.1, drop_text=0.0, drop_both=0.0)
    return Recipe(
        says=subject.noun,
        modifiers=(text_off(), fusion, mixed_attention(identity, shifted)),
        stages=(
            Stage((learned(fusion),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        painting=Painting(parallel_stream=lambda prompt: prompt),
        weights="infinite_id",
    )
