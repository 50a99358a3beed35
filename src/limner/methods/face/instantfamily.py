"""InstantFamily — Kim et al., 2024.

Trained once: tokens of a face, from a global and a local view of it, stand behind the text's tokens in one masked
cross-attention, where only positions inside of that face see them; a control branch on keypoints places the faces. Any
number of people can be in one picture. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import Resampler, all_of, clip_last, close_up, face_embedding, mean_of
from limner.parts.fusion import looked_tokens, masked_identities, resampled_tokens, stacked_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="InstantFamily",
    arxiv="2404.19427",
    scope=("face", "multi", "condition"),
    reads=("keypoints",),
    full_size={"local_tokens": 16, "layers": 4, "width": 1024, "lr": 1e-4, "batch": 16, "steps": 100_000},
    same=("scale", "control_scale", "global_tokens"),
    source="not published; ours: the paper's authors release no code",
)
def instantfamily(
    subject: Subject,
    *,
    scale: float = 1.0,
    control_scale: float = 1.0,
    global_tokens: int = 4,
    local_tokens: int = 8,
    layers: int = 2,
    width: int = 96,
    steps: int = 300,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """A stack of embeddings of text and faces, masked cross-attention, and a control branch on keypoints.

    In prompts the handle becomes the class noun. Several people are several concepts in one picture, each with a region
    and `compose` "attention". The masks of faces are squares around their keypoints. The authors train on pictures of
    several people; here each shows one, so that every second person is one more than training showed. Their local
    features are a two-dimensional layer of the face recogniser; here they are CLIP's patch tokens of the head close up,
    since a base offers no layer of its recogniser but the last. Their control branch reads poses of whole bodies, here
    the five keypoints of faces. Only the abstract and summaries of the paper could be read: the shapes of the
    projections and all numbers are ours.

    Settings:
        scale: factor of the identity's tokens in attention; 0 leaves them out
        control_scale: strength of the control branch; with both at 0 it is the base
        global_tokens: tokens from the recogniser's embedding
        local_tokens: tokens from the patches of the head
        layers: layers of the resampler that makes the local tokens
        width: width of the resampler, a multiple of 8
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    shape = Resampler(layers, width, heads=max(4, width // 64), normed=False)
    tokens = stacked_tokens(
        looked_tokens(subject, mean_of(face_embedding), tokens=global_tokens, name="global"),
        resampled_tokens(subject, close_up(all_of(clip_last)), tokens=local_tokens, resampler=shape, name="local"),
    )
    network = masked_identities(subject, tokens, scale, control_scale)
    seen = pairs_of_people(batch=batch, target="same", ground="swapped", keypoints=True)
    return Recipe(
        says=subject.noun,
        modifiers=(network,),
        stages=(
            Stage((learned(network),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        weights="instantfamily",
    )
