"""CustomNet — Yuan et al., 2023.

Trained once on views of many objects: the denoiser reads the subject's embedding together with a viewpoint, in
cross-attention beside the text's, and the subject's latents at a place, beside the noised ones. Nothing is learned per
subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.encoders.scenes import CONDITIONS
from limner.parts.fusion import decoupled_cross_attention, placed_latents, posed_tokens
from limner.parts.modifiers import further_channels, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned
from limner.parts.sources import Hole, pairs


@method(
    title="CustomNet",
    arxiv="2310.19784",
    scope=("multi", "object", "condition"),
    reads=("source", "mask"),
    full_size={"rank": 64, "lr": 2e-5, "steps": 100_000, "rate": 10.0},
    same=("scale", "blank", "batch"),
    source="configs/config_customnet.yaml of TencentARC/CustomNet; rank, blank and steps are ours",
)
def customnet(
    subject: Subject,
    *,
    scale: float = 1.0,
    blank: float = 0.5,
    rate: float = 2.0,
    rank: int = 8,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """The subject turned to a viewpoint and put at a place, before a background that is a text or a picture.

    `PaintSettings(views={"rex": 90})` turns it, away from the first of its pictures; `paint(regions={"rex": box})`, a
    canvas's mask (`limner paint --onto SCENE --where MASK`) or the condition "mask" places it, and without one it goes
    to the middle. The prompt describes the background, unless the canvas or the condition "source" shows it. In
    prompts the handle becomes the class noun. Several subjects are painted one after the other, as with the authors.

    The authors start from Zero-1-to-3, whose cross-attention reads the picture, and add keys and values for the text;
    here a text-to-image base gets keys and values for the picture, so these are the new ones, with the larger rate.
    They train the whole denoiser, here a low-rank change of it and the weights of the new input channels. They have one
    model for backgrounds by text and one by picture, here one learns both. They drop token and placed latents apart
    from each other in a twentieth of the rows each; here a row without its picture has neither.

    Their data are photographs with a view of the cut-out object that Zero-1-to-3 makes, and a caption by BLIP; here the
    corpus has several views of each subject with their cameras, and captions. A corpus without viewpoints is refused.
    The pose is polar angle, sine and cosine of the azimuth, and distance, as in their code; the distance is a logarithm
    of the ratio here, so that its unit does not count.

    Settings:
        scale: strength of the attention to the picture; 0 leaves the placed latents alone
        blank: share of rows of the training whose background is the text alone
        rate: learning rate of the picture's keys and values, as a multiple of `lr`
        rank: rank of the change of the denoiser
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=posed_tokens(subject, clip_global))
    place = further_channels(placed_latents(subject), name="customnet.place", reads=CONDITIONS)
    change = low_rank(rank, "everything", name="customnet.denoiser")
    views = pairs(batch=batch, moves=True, hole=Hole(blank=blank), drop_text=0.15)
    return Recipe(
        says=subject.noun,
        modifiers=(fusion, place, change),
        stages=(
            Stage(
                train=(at_rate(rate, learned(fusion)), learned(place, change)),
                loss=(denoising(views),),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="customnet",
    )
