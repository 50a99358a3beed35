"""ViscoNet — Cheong, Mustafa and Gilbert, ECCV workshops 2024.

Trained once: a control branch whose cross-attention reads a subject's pictures in place of the text, while the denoiser
reads the text alone. The branch's residuals count inside of the subject's mask, so the background follows the prompt;
strengths of its layers trade the pictures against the text. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import strengths_of, visual_branch
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="ViscoNet",
    arxiv="2312.03154",
    scope=("condition", "object", "style"),
    reads=("mask",),
    full_size={"steps": 100_000, "lr": 1e-5, "batch": 4},
    same=("strengths", "tokens", "references"),
    source="configs/visconet_v1.yaml of soon-yau/visconet; rate and batch are ControlNet's (arXiv:2302.05543), whose code "
    "theirs extends; steps are not published; ours",
)
def visconet(
    subject: Subject,
    *,
    strengths: str = "1",
    tokens: int = 9,
    references: int = 2,
    steps: int = 500,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """Visual tokens in a masked control branch, text in the denoiser.

    In prompts the handle becomes the class noun. While painting, the subject is where the condition "mask" has it, or
    its region, and without both where it is in its first picture. The authors cut eight parts out of a person (hair,
    face, six kinds of garments) with a human parser; no base brings one, so each of the subject's pictures is such a
    part: the whole subject, alone, by its mask. A picture of a garment with a mask of it works as well. Their branch
    reads a picture of the pose and masks by a body model; here it reads the mask itself, whose outline shows the pose.
    Their text in training is always "a person."; here captions name the scene. On a base shaped like SDXL, the branch
    also has the prompt's global vector.

    Settings:
        strengths: factors of the residuals, one for all, or with commas one for each, finest first; 0 is the base
        tokens: visual tokens that each picture is pooled to
        references: pictures of the subject in the one-time training
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    branch = visual_branch(subject, tokens, strengths_of(strengths))
    # no row is without pictures, since such a row has no residual at all
    seen = pairs(batch=batch, references=references, outlined=True, drop_image=0.0, drop_both=0.0)
    return Recipe(
        says=subject.noun,
        modifiers=(branch,),
        stages=(
            Stage((learned(branch),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        weights="visconet",
    )
