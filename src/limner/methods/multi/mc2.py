"""MC^2 (multi-concept guidance) — Jiang et al., CVPR 2025.

Concepts that were trained apart are painted together without merging: during sampling, the latents are optimised until
the cross-attention of different subjects lies at different positions.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.guidance import kept_apart
from limner.parts.modifiers import low_rank, new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="MC^2 (multi-concept guidance)",
    arxiv="2404.05268",
    scope=("multi",),
    full_size={"lr": 0.0001, "word_rate": 10.0, "steps": 1000, "batch": 2},
    same=("rank", "apart", "until"),
    source="Mix-of-Show's, whose concepts it composes",
)
def mc2(
    subject: Subject,
    *,
    apart: float = 0.3,
    until: float = 0.5,
    rank: int = 4,
    word_rate: float = 5.0,
    steps: int = 120,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """A learned word and low-rank changes, one subject at a time; guidance by attention where a prompt names several.

    Concepts of every method take part in the guidance once a concept of this method is attached beside them. The paper
    runs all concepts in parallel and sums their predictions over the whole picture; here concepts act together in one
    run, or by region (`paint(regions=...)`, which predicts each region with its own concept). The exact losses were not
    published when this was written; here they are the overlap of the subjects' attention and its spread within each
    subject.

    Settings:
        apart: length of a guidance step, as a share of the latents' length; 0 leaves the guidance out
        until: share of sampling, from its start, with guidance
        rank: rank of every change
        word_rate: learning rate of the word, as a multiple of the changes'
        steps: updates
        lr: learning rate of the low-rank changes
        batch: pictures in an update
    """
    word, change = new_word(subject.handle, like=subject.noun), low_rank(rank, layers="attention")
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch)
    train = (at_rate(word_rate, words(word)), learned(change))
    return Recipe(
        says=subject.handle,
        modifiers=(word, change),
        stages=(Stage(train=train, loss=(denoising(source),), steps=steps, lr=lr),),
        painting=Painting(latents=(kept_apart(strength=apart, until=until),) if apart else ()),
    )
