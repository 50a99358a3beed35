"""ArtAdapter — Chen, Tennent and Hsu, CVPR 2024.

Trained once: a style becomes three sets of tokens, from features at a low, a middle and a high level, which
cross-attention reads through keys and values of its own. A content adapter tells the network in training what the
picture shows, so that the tokens learn the style alone; it is left out in sampling. A few updates then fit the tokens
to one style."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import cropped
from limner.parts.encoders import clip_global
from limner.parts.fusion import content_adapter, decoupled_cross_attention, level_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import learned, parts_of
from limner.parts.sources import pairs_of_styles, photos, with_references_of


@method(
    title="ArtAdapter",
    arxiv="2312.02109",
    scope=("style",),
    full_size={"width": 1024, "shared_steps": 300_000, "shared_lr": 1e-4, "steps": 50, "lr": 1e-5},
    same=("scale", "tokens", "low_picture", "middle_picture", "high_picture", "batch"),
    source="not published; ours: the authors' repository is empty, and of the paper only abstract and summaries were read",
)
def artadapter(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 4,
    low_picture: int = 0,
    middle_picture: int = 0,
    high_picture: int = 0,
    width: int = 64,
    shared_steps: int = 600,
    shared_lr: float = 1e-3,
    steps: int = 15,
    lr: float = 1e-4,
    batch: int = 16,
) -> Recipe:
    """Style tokens of three levels, explicit adaptation, a content adapter in training, and fast tuning.

    In prompts the handle becomes the class noun, which is best what the picture shows. The authors read VGG; no base
    brings it, so the levels are the three coarsest resolutions of the base's own convolutional autoencoder: means and
    standard deviations of channels, which hold a style and no layout. In the one-time training the style is a part of
    another picture by the same hand, or of the same picture where the corpus has no other. The content is CLIP's global
    embedding of the picture to paint, in two tokens that the text's own keys and values read; its weights stay in the
    weights' file, unused. Fast tuning changes the layers that make the tokens, on the style's pictures alone.

    Settings:
        scale: strength of the style's tokens; 0 is the base
        tokens: tokens of each level
        low_picture: number of the picture whose low level is used in sampling, from 1; 0 is the mean of all
        middle_picture: number of the picture whose middle level is used in sampling, from 1; 0 is the mean of all
        high_picture: number of the picture whose high level is used in sampling, from 1; 0 is the mean of all
        width: width of the layers that make the tokens
        shared_steps: updates of the one-time training
        shared_lr: learning rate of the one-time training
        steps: updates of the fast tuning
        lr: learning rate of the fast tuning
        batch: pictures in an update
    """
    levels = level_tokens(subject, (low_picture, middle_picture, high_picture), tokens, width)
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=levels)
    content = content_adapter()
    # the first reference is the picture to paint, whose content is read; the second one shows the style
    seen = pairs_of_styles(batch=batch, references=2, target="same", changes=(cropped(each=2, whole=1),))
    own = with_references_of(photos(subject, batch=batch, captions=("a picture of a {}",)), subject)
    once = partial(Stage, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(
        says=subject.noun,
        modifiers=(fusion, content),
        stages=(
            once((learned(fusion, content),), (denoising(seen),), shared_steps, shared_lr),
            Stage((parts_of(fusion, "low", "middle", "high"),), (denoising(own),), steps, lr),
        ),
        weights="artadapter",
    )
