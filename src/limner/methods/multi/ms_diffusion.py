"""MS-Diffusion — Wang et al., ICLR 2025.

An encoder trained once, with the name and the box of each subject as input: a resampler makes the subject's hidden
states, and cross-attention reads them inside of its box alone. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.attention.followed import followed_subject
from limner.parts.encoders import Resampler, clip_before_last, clip_global, each_of
from limner.parts.fusion import decoupled_cross_attention, grounded_states, within_box
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import jittered, pairs


@method(
    title="MS-Diffusion",
    arxiv="2406.07209",
    scope=("multi", "object"),
    full_size={"scale": 0.6, "layers": 4, "width": 1280, "lr": 0.0001, "batch": 8, "steps": 100000},
    same=("tokens", "search_from", "threshold", "drop_box"),
    source="scripts/train.sh, tutorial_train_sdxl.py and inference.py of MS-Diffusion/MS-Diffusion, whose batch is that "
    "of each GPU; steps are ours",
)
def ms_diffusion(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 16,
    layers: int = 2,
    width: int = 96,
    search_from: int = 5,
    threshold: float = 0.5,
    drop_box: float = 0.1,
    steps: int = 1000,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """A grounding resampler over the references' patch tokens, read within the subject's region.

    In prompts the handle becomes the class noun. Each subject of a prompt has its own hidden states and region; where
    regions do not overlap, this equals the authors' one attention over the states of all subjects. Their four dummy
    tokens, which the background reads and whose output they set to zero, are left out. The authors' pairs are frames of
    videos with up to four subjects, and their boxes come from a detector; here they are pictures of one subject, and
    the box of its mask. A subject without a region is located by its noun's attention in the step before, in the
    authors' code by the mean over all steps so far; in the first steps it is read everywhere, in their code nowhere.

    Settings:
        scale: strength of the image branch; 0 is the base
        tokens: number of tokens of a subject
        layers: layers of the resampler
        width: width of the resampler, a multiple of 8
        search_from: sampling step from which a subject without a region is located by the attention to its noun
        threshold: share of the largest attention to the noun from which a position belongs to the subject
        drop_box: share of rows in pre-training without a phrase and box
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    states = grounded_states(
        subject, each_of(clip_before_last), tokens, Resampler(layers, width, heads=max(4, width // 64)), drop_box
    )
    fusion = decoupled_cross_attention(
        subject, clip_global, scale=scale, states=states, gate=within_box(begin=search_from)
    )
    shown = pairs(batch=batch, ground="plain", boxes=True, changes=(jittered(),))
    return Recipe(
        says=subject.noun,
        modifiers=(followed_subject(subject, threshold), fusion),
        stages=(
            Stage(
                train=(learned(fusion),),
                loss=(denoising(shown),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="ms_diffusion",
    )
