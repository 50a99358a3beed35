"""Concept-centric Personalization — Cao et al., 2023.

A second network for a whole concept, such as faces. It reads no text: its cross-attention is replaced by constants, and
the rest is tuned on pictures without captions. While painting, it guides beside the text, whose network stays."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.guidance import concept_and_text, dual_process
from limner.parts.modifiers import null_text
from limner.parts.objectives import denoising
from limner.parts.parameters import reached
from limner.parts.sources import photos


@method(
    title="Concept-centric Personalization",
    arxiv="2312.08195",
    scope=("face", "style"),
    full_size={"steps": 10_000, "lr": 1e-5, "batch": 8},
    same=("concept_scale",),
    source="concept scale of generation_with_nulltext_model.py of PRIV-Creation/Concept-centric-Personalization; training "
    "is not released: steps, rate and batch are ours",
)
def concept_centric(
    subject: Subject, *, concept_scale: float = 2.5, steps: int = 120, lr: float = 5e-4, batch: int = 4
) -> Recipe:
    """A null-text network tuned on the subject's pictures, and guidance of two processes.

    The pictures are those of the concept, as many and as varied as possible; with those of one person, the concept is
    that person. Their captions are not read. In prompts, the handle becomes the class noun. The text's scale is the
    user's guidance scale, which is 2.5 with the authors. Other concepts that are attached act in the text's process
    alone, so any method may give the control.

    Settings:
        concept_scale: guidance scale of the concept's network; 0 is classifier-free guidance of the base
        steps: updates
        lr: learning rate of the concept's network
        batch: pictures in an update
    """
    own = photos(subject, captions=("",), batch=batch, flip=0.5)
    return Recipe(
        says=subject.noun,
        modifiers=(null_text(),),
        stages=(Stage((reached(),), (denoising(own),), steps, lr),),
        painting=Painting(
            guidance=(concept_and_text(concept_scale),),
            denoiser=dual_process(),
            branches={"concept": lambda _: ""},
        ),
    )
