"""BLIP-Diffusion — Li, Li and Hoi, NeurIPS 2023.

A Querying Transformer reads the subject's pictures and class noun, and makes words that stand before the class noun in
the prompt. It is trained once: first to align with captions, then to paint subjects on other backgrounds.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import QueryFormer
from limner.parts.fusion import query_word
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising, picture_text
from limner.parts.parameters import learned
from limner.parts.sources import all_seen, captioned, pairs


@method(
    title="BLIP-Diffusion",
    arxiv="2305.14720",
    scope=("object",),
    full_size={
        "queries": 16,
        "layers": 12,
        "width": 768,
        "hidden": 3072,
        "projector": 3072,
        "repeats": 20,
        "align_steps": 250_000,
        "steps": 500_000,
        "lr": 2e-6,
        "batch": 16,
    },
    same=("rank", "released", "tuning"),
    source="Sec. 5 of arXiv:2305.14720; shape and repeats of its pipeline in diffusers; the first stage is "
    "BLIP-2's (arXiv:2301.12597)",
)
def blip_diffusion(
    subject: Subject,
    *,
    queries: int = 8,
    layers: int = 2,
    width: int = 96,
    hidden: int = 192,
    projector: int = 256,
    rank: int = 4,
    repeats: int = 1,
    released: bool = False,
    tuning: int = 0,
    align_steps: int = 200,
    steps: int = 450,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """Queries over CLIP's patch tokens of the reference images and the class noun, put into the prompt before the noun.

    The authors put the queries after the prompt's second token, which in their prompts, "a dog …", is before the noun
    as well. They also train the text encoder and the whole denoiser; here a low-rank change of the denoiser's attention
    is trained. With `tuning` above 0, that change is trained further on the subject's pictures, while the queries stay
    frozen at their mean over all pictures. Their first stage also learns to write captions, and its text passes through
    the Querying Transformer; here texts are encoded by the base.

    Settings:
        queries: words that the pictures become
        layers: layers of the Querying Transformer
        width: width of its hidden states
        hidden: width within its feed-forward layers
        projector: width within the projector
        rank: rank of the change of the denoiser
        repeats: number of times that prompts are repeated, as far as there are tokens left
        released: the authors' own weights from `limner import FOLDER`, unchanged and in their own shape
        tuning: updates for every subject; 0 is none
        align_steps: updates of the first stage of the one-time training, on pictures and captions
        steps: updates of its second stage, on subjects
        lr: learning rate
        batch: pictures in an update of the one-time training
    """
    former = QueryFormer(queries, layers, width, max(4, width // 64), hidden)
    part = query_word(subject, former, projector, repeats=repeats, released=released, name="blip_diffusion")
    change = low_rank(rank, name="blip_diffusion")
    agreeing = picture_text(captioned(batch=batch), part, former)
    shown = pairs(
        batch=batch,
        named=subject.handle,
        target="same",
        ground="swapped",
        drop_image=0.15,
        drop_text=0.0,
        drop_both=0.05,
    )
    once = (
        Stage((learned(part),), agreeing, align_steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        Stage((learned(part, change),), (denoising(shown),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
    )
    own = Stage((learned(change),), (denoising(all_seen(subject)),), tuning, lr)
    return Recipe(
        says=subject.handle,
        modifiers=(part,) if released and not tuning else (part, change),
        stages=(*(() if released else once), *((own,) if tuning else ())),
        weights="blip_diffusion",
    )
