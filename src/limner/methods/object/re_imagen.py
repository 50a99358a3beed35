"""Re-Imagen — Chen et al., ICLR 2023.

A denoiser trained once to attend to pictures retrieved for a prompt, through its own layers; to personalise it, the
subject's pictures take the place of the retrieved ones. Nothing is learned per subject.
"""

from dataclasses import replace

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import in_context
from limner.parts.guidance import between, interleaved
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import retrieved


@method(
    title="Re-Imagen",
    arxiv="2209.14491",
    scope=("object",),
    full_size={"width": 320, "rank": 64, "steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("neighbours", "neighbour_guidance", "share"),
    source="not found: the authors train a whole model and publish no code; IP-Adapter's (arXiv:2308.06721), "
    "which trains added attention too; width and rank are ours",
)
def re_imagen(
    subject: Subject,
    *,
    neighbours: int = 2,
    neighbour_guidance: float = 4.0,
    share: float = 0.5,
    width: int = 64,
    rank: int = 4,
    steps: int = 350,
    lr: float = 2e-3,
    batch: int = 12,
) -> Recipe:
    """Attention to the denoiser's own view of a few clean pictures and their captions.

    Guidance drops the text at a share of the steps and the neighbours at the others, never both. In prompts the handle
    becomes the class noun, so that the subject's looks come from its pictures alone. The authors train two whole
    denoisers of Imagen's cascade, in pixels, and attend to neighbours once, at the end of the way down; here the one
    denoiser changes by low rank, and every cross-attention layer attends to the neighbours' states in it. There is no
    code of theirs: the share, and the probability of a tenth for dropping each condition, could not be verified.

    Settings:
        neighbours: pictures to look at, of the corpus in training and of the subject during sampling; 0 is the base
        neighbour_guidance: guidance by what the neighbours add, at the steps that drop them
        share: share of the steps with guidance that drops the text; the others drop the neighbours
        width: width of the new attention, an even number
        rank: rank of the change of the denoiser
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    if not neighbours:
        return Recipe(says=subject.noun)
    network = in_context(replace(subject, pictures=subject.pictures[:neighbours]), width=width, rank=rank)
    source = retrieved(batch=batch, neighbours=neighbours)
    both = interleaved(between("negative"), between("words", scale=neighbour_guidance), share=share)
    return Recipe(
        says=subject.noun,
        modifiers=(network,),
        stages=(
            Stage((learned(network),), (denoising(source),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        painting=Painting(guidance=(both,), branches={"words": lambda prompt: prompt}),
        weights="re_imagen",
    )
