"""BootPIG — Purushwalkam et al., 2024.

A reference network, a changed copy of the denoiser, reads the reference image; the denoiser's self-attention also reads
the inputs of the copy's self-attention. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import erased
from limner.parts.fusion import beside_own, reference_network, self_sites
from limner.parts.guidance import picture_then_text
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned
from limner.parts.sources import jittered, pairs


@method(
    title="BootPIG",
    arxiv="2401.13974",
    scope=("object",),
    full_size={"picture_guidance": 4.0, "steps": 10_000, "lr": 1e-4, "batch": 128},
    same=("key_scale", "rank"),
    source="SalesforceAIResearch/bootpig; its learning rate is 5e-6 for a whole copy, the rate for low-rank "
    "changes is ours",
)
def bootpig(
    subject: Subject,
    *,
    key_scale: float = 1.1,
    picture_guidance: float = 6.0,
    rank: int = 4,
    steps: int = 350,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Self-attention beside a reference network's: the same layers, the same noise.

    References stand on plain ground and are noised to the picture's own time; their keys, not their values, count 1.1
    times. The authors train the whole copy, and the denoiser's self-attention at a fiftieth of its rate; here both are
    low-rank changes, the second at a fifth of the rate. Their data come from a language model, a text-to-image model
    and a segmenter; here from the corpus, whose masks cut the subject out. In prompts the handle becomes the class
    noun.

    Settings:
        key_scale: factor of the references' keys
        picture_guidance: guidance by what the references add to an empty prompt
        rank: rank of both low-rank changes
        steps: updates of the one-time training
        lr: learning rate of the one-time training, of the reference network
        batch: pictures in an update of the one-time training
    """
    own, copy = low_rank(rank, "self_attention", name="base_change"), low_rank(rank, "everything", name="copy_change")
    network = reference_network(subject, beside_own(key_scale), self_sites, plain=True, copy=copy)
    source = pairs(
        batch=batch, ground="plain", drop_image=0.15, drop_text=0.15, drop_both=0.0, changes=(jittered(), erased())
    )
    return Recipe(
        says=subject.noun,
        modifiers=(own, network),
        stages=(
            Stage(
                train=(learned(network), at_rate(0.2, learned(own))),
                loss=(denoising(source),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        painting=Painting(guidance=(picture_then_text(picture_guidance),), branches={"pictures": lambda _: ""}),
        weights="bootpig",
    )
