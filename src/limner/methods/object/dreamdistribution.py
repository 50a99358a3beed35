"""DreamDistribution — Zhao et al., ICLR 2025.

A distribution of prompts instead of one: the hidden states of several learned prompts give a mean and a standard
deviation, so that pictures of a kind vary as the references do.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import changed_states, prompt_distribution, prompts_apart
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="DreamDistribution",
    arxiv="2312.14216",
    scope=("object", "style"),
    full_size={"prompts": 32, "steps": 2000, "lr": 1e-3},
    same=("vectors", "spread", "apart_weight", "batch"),
    source="train.sh of briannlongzhao/DreamDistribution",
)
def dreamdistribution(
    subject: Subject,
    *,
    prompts: int = 8,
    vectors: int = 4,
    spread: float = 1.0,
    apart_weight: float = 1e-3,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """Learned prompts, read through the normal distribution of their hidden states.

    The authors' settings for a full-size base: 32 prompts of 4 vectors, learning rate 1e-3, batch 4, 2000 steps, 4
    samples of the distribution for every picture (here one), weight 1e-3. Vectors start at random, with the deviation
    of the vocabulary's (theirs: 0.02).

    Settings:
        prompts: learned prompts
        vectors: input vectors of each
        spread: share of the deviation during sampling; 0 paints the mean alone
        apart_weight: weight of the squared cosine between learned prompts
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    making = prompt_distribution(subject.handle, prompts=prompts, vectors=vectors, spread=spread)
    word = changed_states(subject.handle, subject.noun, making)
    source = photos(subject, batch=batch)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                train=(learned(word),),
                loss=(denoising(source), apart_weight * prompts_apart(source)),
                steps=steps,
                lr=lr,
            ),
        ),
    )
