"""StellarNet, the baseline of Stellar — Achlioptas et al., 2023.

Trained once: a masked face becomes words for all text encoders of a base (dynamic textual inversion), and a low-rank
change lets the denoiser read them. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import alone, clip_depths, each_of
from limner.parts.fusion import words_of_depths, words_of_pictures
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising, magnitude
from limner.parts.parameters import learned
from limner.parts.sources import jittered, pairs_of_people

DEPTHS = (1, 1 / 6, 1 / 3, 1 / 2, 2 / 3)
"""Depths in CLIP, as shares of its layers; only the word of the first is used for painting."""


@method(
    title="StellarNet",
    arxiv="2312.06116",
    scope=("face",),
    full_size={"lr": 6.4e-5, "batch": 64, "steps": 70_000},
    same=("rank", "small_words"),
    source="those of ELITE, on whose global stage it builds; its own were not available",
)
def stellar_net(
    subject: Subject,
    *,
    rank: int = 16,
    small_words: float = 0.01,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """ELITE's global mapping of a face without its background, with a low-rank change of attention in the place of
    whole keys and values.

    The paper's main part is a benchmark, and its six metrics are in `limner.evaluation.metrics.stellar`. Only an
    outline of its baseline was available, so the loss has ELITE's form, and weights, rank, learning rate and batch are
    ours. On a base with two text encoders a word has a vector for each.

    Settings:
        rank: rank of the change of the denoiser's attention
        small_words: weight of the words' mean absolute value
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    look = alone(each_of(clip_depths(DEPTHS)))
    word = changed_states(
        subject.handle,
        subject.noun,
        words_of_pictures(subject, look, words_of_depths(subject.noun)),
        name="stellar_net",
    )
    change = low_rank(rank, name="stellar_net.denoiser")
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", masked=True, drop_text=0.0, changes=(jittered(),)
    )
    loss = denoising(seen), small_words * magnitude(seen, "picture words")
    return Recipe(
        says=subject.handle,
        modifiers=(word, change),
        stages=(Stage((learned(word, change),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="stellar_net",
    )
