"""Prompt-Free Diffusion — Xu et al., CVPR 2024.

Trained once: a semantic context encoder (SeeCoder) makes of a picture the states that cross-attention reads in place of
the prompt's. There is no text: a picture is painted from another one, and from control branches beside it. The encoder
works on other denoisers that read the same text space. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import SemanticContext
from limner.parts.fusion import context_states, states_for_text
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="Prompt-Free Diffusion",
    arxiv="2305.16223",
    scope=("condition", "style", "object"),
    full_size={
        "local_queries": 144,
        "decoder_layers": 6,
        "layers": 9,
        "width": 768,
        "steps": 100_000,
        "lr": 1e-4,
    },
    same=("global_queries", "placed", "batch"),
    source="configs/model/seecoder.yaml of SHI-Labs/Prompt-Free-Diffusion; its training is not released: steps, rate and "
    "batch are ours",
)
def prompt_free_diffusion(
    subject: Subject,
    *,
    placed: bool = False,
    global_queries: int = 4,
    local_queries: int = 16,
    decoder_layers: int = 1,
    layers: int = 3,
    width: int = 96,
    steps: int = 600,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """SeeCoder's global and local queries over a pyramid of the subject's first picture, in place of all text.

    The authors' backbone is Swin-L, whose three last stages are read; here it is the base's own CLIP at three depths,
    the deeper ones at half and a quarter of its resolution. Their decoder and queries are as wide as the text's states;
    here a linear layer leads from the encoder's width to these, feed-forward layers are twice as wide as the encoder,
    with GELU, and norms are over channels. Dropout and the random shift of positions in training are left out.
    In training a picture is its own reference, as there. On a base shaped like SDXL, the prompt's global vector is
    still read beside the states, so give an empty prompt there. The encoder's weights fit every denoiser of a family:
    `--any-base` attaches a concept to a fine-tuned copy of its base, without any training.

    Settings:
        placed: whether the encoder sees where in the picture features are, the position-aware variant
        global_queries: queries that read the picture through the local queries alone
        local_queries: queries that read the picture
        decoder_layers: transformer layers over the pyramid
        layers: layers of the query transformer
        width: width of the encoder
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    shape = SemanticContext(global_queries, local_queries, decoder_layers, layers, width, placed)
    context = states_for_text(subject, context_states(subject, shape))
    seen = pairs(batch=batch, target="same", drop_image=0.1, drop_text=0.0, drop_both=0.0)
    several = len(subject.pictures) > 1
    return Recipe(
        says=subject.noun,
        modifiers=(context,),
        stages=(
            Stage((learned(context),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        weights="prompt_free_diffusion",
        portable=True,
        notes=("only the first picture is used, and nothing of a prompt is read",) if several else (),
    )
