"""InstantID — Wang et al., 2024.

Trained once: a resampler makes tokens of a face's embedding, which cross-attention reads beside the text; and a control
branch on the face's keypoints, the IdentityNet, reads these tokens and no text. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import Resampler, face_embedding, mean_of
from limner.parts.fusion import decoupled_cross_attention, identity_network, resampled_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="InstantID",
    arxiv="2401.07519",
    scope=("face", "condition"),
    reads=("keypoints",),
    full_size={"layers": 4, "width": 1280, "lr": 1e-4, "batch": 2, "steps": 500_000},
    same=("scale", "control_scale", "tokens"),
    source="the resampler, tokens and scales of InstantID/InstantID's pipeline and demos, the batch of each of 48 GPUs in "
    "arXiv:2401.07519; training is not released: rate and steps are ours",
)
def instantid(
    subject: Subject,
    *,
    scale: float = 0.8,
    control_scale: float = 0.8,
    tokens: int = 16,
    layers: int = 2,
    width: int = 96,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """Identity tokens in decoupled cross-attention, and alone in the cross-attention of IdentityNet.

    In prompts the handle becomes the class noun. While painting, the head is where the condition "keypoints" has it,
    and without one where it is in the first of the subject's pictures that shows a face; on a base without a landmark
    detector, that place stays open (a black picture of keypoints). In the one-time training a picture's own face is
    seen and its own keypoints are drawn, those of the corpus or of the base's detector. The authors' embedding is
    InsightFace's before it is normalised, here the base's recogniser's unit vector. On a base shaped like SDXL,
    IdentityNet has the prompt's global vector beside the identity, as in their pipeline; on others it sees nothing of
    the prompt.

    Settings:
        scale: strength of the tokens' cross-attention
        control_scale: strength of IdentityNet; with both at 0 it is the base
        tokens: vectors that a face becomes
        layers: layers of the resampler
        width: width of the resampler, a multiple of 8
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    shape = Resampler(layers, width, heads=max(4, width // 64), normed=False)
    states = resampled_tokens(subject, mean_of(face_embedding), tokens=tokens, resampler=shape, name="identity")
    adapter = decoupled_cross_attention(subject, face_embedding, scale=scale, states=states)
    network = identity_network(adapter, control_scale)
    seen = pairs_of_people(batch=batch, target="same", keypoints=True)
    return Recipe(
        says=subject.noun,
        modifiers=(network,),
        stages=(
            Stage((learned(network),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        weights="instantid",
    )
