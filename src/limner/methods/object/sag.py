"""SAG — Pan et al., CVPR 2024.

Nothing is trained: in the middle of sampling, the latents follow a gradient, through several steps of the sampler's
ODE, towards a final picture that is near the reference image: in CLIP's embedding, in style or in the face.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.encoders import mean_of
from limner.parts.guidance import distance_of, symplectic_adjoint_guidance
from limner.parts.modifiers import reference_features


@method(
    title="Symplectic adjoint guidance",
    arxiv="2312.12030",
    scope=("object", "face", "style"),
    full_size={"estimate": 4},
    same=("distance", "strength", "begin", "end", "repeats"),
    source="run_style.sh and style_transfer.py in img_guided_sampling of HanshuYAN/AdjointDPM, which guides the middle "
    "40 of 100 steps, twice each",
)
def sag(
    subject: Subject,
    *,
    distance: str = "",
    estimate: int = 2,
    strength: float = 0.2,
    begin: float = 0.3,
    end: float = 0.7,
    repeats: int = 2,
) -> Recipe:
    """Guidance by the distance of features, the subject's being the mean of its pictures'.

    In prompts the handle becomes the class noun. The authors' distances are of a face's embedding, of style (Gram
    matrices of CLIP's tokens) and of aesthetics, which looks at no subject and is left out; that of CLIP's embedding,
    for objects, is ours. Every guided step costs as much as several plain ones: `repeats`
    times `estimate` runs of the denoiser, there and back. The authors take 4 steps to the estimate, of 100 steps to the
    picture.

    Settings:
        distance: "object", "style" or "face"; empty is the subject's kind, "object" for all others
        estimate: steps of the ODE to the clean picture; 1 is guidance by the usual estimate
        strength: length of the gradient step, relative to the change of the noise by the text
        begin: the share of the steps after which guidance begins
        end: the share of the steps after which it ends
        repeats: pushes in a step, with the noise of a step back in between
    """
    kind = distance or (subject.kind if subject.kind in ("style", "face") else "object")
    features, apart = distance_of(kind)
    reference = reference_features(subject, mean_of(features))
    guidance = symplectic_adjoint_guidance(
        reference, apart, estimate=estimate, strength=strength, begin=begin, end=end, repeats=repeats
    )
    return Recipe(says=subject.noun, modifiers=(reference,), painting=Painting(latents=(guidance,)))
