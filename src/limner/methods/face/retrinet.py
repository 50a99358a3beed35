"""RetriNet — Tang et al., 2023.

Trained once: a copy of the denoiser reads a reference together with a word for the concept to take from it, the face or
the clothes, and attention in the denoiser reads what it found. Nothing is learned per subject."""

from dataclasses import replace

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import attending, cross_sites, reference_network
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people, shown_for

FACE, CLOTHES = "face", "clothes"


@method(
    title="RetriNet",
    arxiv="2312.02521",
    scope=("face", "object", "multi"),
    same=("concept", "rank", "width", "steps", "lr", "batch"),
    source="arXiv:2312.02521, whose authors release no code",
)
def retrinet(
    subject: Subject,
    *,
    concept: str = FACE,
    rank: int = 16,
    width: int = 64,
    steps: int = 250,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """A retrieval encoder told what to retrieve, at every time anew, and attention to it beside each cross-attention
    layer.

    The authors' encoder and denoiser are whole copies of Stable Diffusion; here both are the base with low-rank changes
    of their own. Only the project's page could be read: how features are fused, rate and batch are ours. RetriBooru's
    anime characters are grouped by face and by clothes; here every pair is of one person, who is dressed otherwise in
    each picture, so clothes are learned less well than faces. Several references with concepts of their own are several
    concepts, worn together.

    Settings:
        concept: what to take from the pictures, "face" or "clothes"; the rest of them is masked out
        rank: of the changes of the encoder and of the denoiser
        width: of the attention to what the encoder found
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    bare = replace(subject, pictures=tuple(replace(picture, caption="") for picture in subject.pictures))
    encoder = low_rank(rank, name="retrinet.encoder")
    network = reference_network(
        bare,
        attending(width),
        cross_sites,
        plain=True,
        says=concept,
        captioned=True,
        copy=encoder,
        outside=concept == CLOTHES,
        name="retrinet",
    )
    change = low_rank(rank, name="retrinet.denoiser")
    seen = shown_for(pairs_of_people(batch=batch, drop_image=0.1), FACE, CLOTHES)
    return Recipe(
        says=subject.noun,
        modifiers=(network, change),
        stages=(
            Stage(
                (learned(network, change),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"
            ),
        ),
        weights="retrinet",
    )
