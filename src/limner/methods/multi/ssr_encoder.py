"""SSR-Encoder — Zhang et al., CVPR 2024.

An encoder trained once, with a text query as input: the query selects the patches of the reference image that show the
subject, and cross-attention reads them through keys and values of its own. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_depths, clip_global, each_of
from limner.parts.fusion import decoupled_cross_attention, query_consistency, selected_states
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs

DEPTHS = (1, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)
"""Depths of the image encoder, as shares of its layers; patches are selected at the first."""


@method(
    title="SSR-Encoder",
    arxiv="2312.16272",
    scope=("multi", "object", "face"),
    full_size={"scale": 0.65, "width": 512, "released_heads": 8, "drop_text": 0.8, "lr": 5e-05, "steps": 100000},
    same=("batch", "consistency"),
    source="train.sh, train.py, infer_text.py and ssr_encoder.py of Xiaojiu-z/SSR_Encoder; steps are ours",
)
def ssr_encoder(
    subject: Subject,
    *,
    scale: float = 1.0,
    width: int = 64,
    released_heads: int = 0,
    consistency: float = 0.001,
    drop_text: float = 0.5,
    steps: int = 1000,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """Selective features of the references at six depths of the image encoder, by the class noun as the query.

    In prompts the handle becomes the class noun. It is also the query; the authors' queries are captions or tags in
    training and any words in sampling. In pre-training a reference image shows the subject beside a thing of another
    class, so that only the query tells the two apart; the authors' pictures show several things already. Their target
    is the reference image itself, here it is another picture of the subject. A mask as the query is left out, and masks
    of the subject are not used. Several subjects in one prompt each have their own attention, and the outputs are
    added; the authors read all features in one attention. The negative branch reads nothing of the references; theirs
    reads a blank picture by an empty query.

    Settings:
        scale: strength of the image branch; 0 is the base
        width: width of the queries and keys that select patches, a multiple of the heads
        released_heads: attention heads in the form of the authors' code; 0 is one, in the paper's form
        consistency: weight of the loss that keeps the features near the query
        drop_text: share of rows in pre-training with reference images and without a caption
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    selected = selected_states(subject, each_of(clip_depths(DEPTHS)), width, released_heads)
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=selected)
    shown = pairs(batch=batch, ground="shared", drop_image=0.05, drop_text=drop_text, drop_both=0.05)
    return Recipe(
        says=subject.noun,
        modifiers=(fusion,),
        stages=(
            Stage(
                train=(learned(fusion),),
                loss=(denoising(shown), consistency * query_consistency(shown)),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="ssr_encoder",
    )
