"""SAG — Pan et al., CVPR 2024.

Nothing is trained: in the middle of sampling, the latents follow a gradient, through several steps of the sampler's
ODE, towards a final picture that is near the reference image in CLIP's embedding.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, mean_of
from limner.parts.guidance import symplectic_adjoint_guidance
from limner.parts.modifiers import reference_features


@method(
    title="Symplectic adjoint guidance",
    arxiv="2312.12030",
    scope=("object", "face", "style"),
    same=("estimate", "strength", "begin", "end", "repeats"),
    source="run_style.sh of HanshuYAN/AdjointDPM; nothing is trained, and all but the number of steps of the "
    "estimate is ours",
)
def sag(
    subject: Subject,
    *,
    estimate: int = 2,
    strength: float = 0.2,
    begin: float = 0.3,
    end: float = 0.7,
    repeats: int = 2,
) -> Recipe:
    """Guidance by the distance of CLIP's embeddings, the subject's being the mean of its pictures.

    In prompts the handle becomes the class noun. The authors' distances are of faces, of style (CLIP's Gram matrices)
    and of aesthetics; the embedding's is for objects. Every guided step costs as much as several plain ones: `repeats`
    times `estimate` runs of the denoiser, there and back. The authors take 4 steps to the estimate, of 100 steps to the
    picture.

    Settings:
        estimate: steps of the ODE to the clean picture; 1 is guidance by the usual estimate
        strength: length of the gradient step, relative to the change of the noise by the text
        begin: the share of the steps after which guidance begins
        end: the share of the steps after which it ends
        repeats: pushes in a step, with the noise of a step back in between
    """
    reference = reference_features(subject, mean_of(clip_global))
    guidance = symplectic_adjoint_guidance(
        reference, estimate=estimate, strength=strength, begin=begin, end=end, repeats=repeats
    )
    return Recipe(says=subject.noun, modifiers=(reference,), painting=Painting(latents=(guidance,)))
