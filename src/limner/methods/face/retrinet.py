"""RetriNet — Tang et al., 2023.

Trained once: a copy of the denoiser (the retrieval encoder) reads a reference image together with a word for the
concept to retrieve, the face or the clothes, and added attention in the denoiser reads the features of the copy.
Nothing is learned per subject."""

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
    """A retrieval encoder with a prompt, run at every diffusion time, and attention to its features beside each
    cross-attention layer.

    The authors' encoder and denoiser are whole copies of Stable Diffusion; here both are the base, each with a low-rank
    change. Only the project's page was available: the fusion of features, learning rate and batch are ours. The
    authors' data set RetriBooru groups anime characters by face and by clothes; here every pair shows one person with
    different clothes in each picture, so clothes are learned less well than faces. Several reference images with
    different concepts to retrieve are several concepts, attached together.

    Settings:
        concept: concept to retrieve from the pictures, "face" or "clothes"; the rest of the pictures is masked out
        rank: rank of the changes of the encoder and of the denoiser
        width: width of the attention to the encoder's features
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
