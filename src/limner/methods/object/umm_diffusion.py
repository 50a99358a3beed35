"""UMM-Diffusion — Ma et al., 2023.

A close-up of the subject becomes one word of the prompt, which the text encoder reads together with the others; while
sampling, its prediction is mixed with that of the same prompt in plain words. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, close_up, mean_of
from limner.parts.fusion import one_word, words_of_pictures
from limner.parts.guidance import fused_guidance
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="UMM-Diffusion",
    arxiv="2303.09319",
    scope=("object",),
    full_size={"width": 1024, "steps": 70_000, "lr": 6.4e-5, "batch": 64},
    same=("alpha",),
    source="not published; those of ELITE's first stage (csyxwei/ELITE), which maps a picture to a word too",
)
def umm_diffusion(
    subject: Subject,
    *,
    alpha: float = 0.8,
    width: int = 256,
    steps: int = 600,
    lr: float = 1e-3,
    batch: int = 32,
) -> Recipe:
    """A pseudo word of CLIP's embedding of the subject's box, and two guided predictions mixed.

    The denoiser and the text encoder stay frozen and only the mapping is trained: there is no code, and it is not known
    how much of the unified encoder the authors train. The value of about 0.8 for alpha could not be verified. Their
    close-up is cut out of the target itself, here out of another picture of the subject.

    Settings:
        alpha: share of the prediction that sees the subject; 0 is the base reading the class noun
        width: width of the mapping's hidden layer
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    making = words_of_pictures(subject, close_up(mean_of(clip_global)), one_word(subject.noun, width))
    word = changed_states(subject.handle, like=subject.noun, making=making, name="umm_diffusion")
    loss = denoising(pairs(batch=batch, named=subject.handle))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage((learned(word),), (loss,), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        painting=Painting(
            guidance=(fused_guidance(alpha),),
            branches={"plain": lambda prompt: prompt.replace(subject.handle, subject.noun)},
        ),
        weights="umm_diffusion",
    )
