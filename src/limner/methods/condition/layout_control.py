"""Layout-Control — Chen et al., WACV 2024.

A word of the prompt is put into a box without training: in the first steps of sampling, gradient steps on the latents
move the word's cross-attention into its box. A subject joins by any word of its own; here it is a learned one.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.errors import UnknownName
from limner.parts.attention import forward_layout
from limner.parts.guidance import layout_guidance
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, photos

VARIANTS = ("backward", "forward")


@method(
    title="Layout-Control",
    arxiv="2304.03373",
    scope=("condition", "object", "multi"),
    full_size={"vectors": 1, "steps": 5000, "lr": 4e-2, "batch": 8},
    same=("variant", "loss_scale", "threshold", "tries", "until", "forward_strength"),
    source="conf/base_config.yaml and utils.py of the authors' code for the guidance (10 of 51 steps), forward_strength "
    "is ours; Textual Inversion's for the word",
)
def layout_control(
    subject: Subject,
    *,
    variant: str = "backward",
    loss_scale: float = 30.0,
    threshold: float = 0.2,
    tries: int = 5,
    until: float = 0.2,
    forward_strength: float = 0.8,
    vectors: int = 3,
    steps: int = 250,
    lr: float = 2e-2,
    batch: int = 4,
) -> Recipe:
    """A learned word for the subject, and layout guidance in sampling for every word with a region.

    Regions are those of `paint(regions=...)`, for the handle and for plain words of the prompt: {"rex": box, "ball":
    box}. With compose "method" they act through this guidance alone, as in the paper; the other ways restrict attention
    as well. Without regions the sampler is the base's. The paper's method trains nothing and takes a subject from
    DreamBooth or Textual Inversion; here its word is that of Textual Inversion. The forward variant acts in all layers
    of cross-attention; the size of its Gaussian is ours.

    Settings:
        variant: "backward", gradient steps on the latents, or "forward", attention maps moved without a gradient
        loss_scale: factor of the backward variant's loss
        threshold: loss of a picture, divided by its factor, at which a step's moves end, from 0 to 1
        tries: gradient steps in a sampling step, at most
        until: share of sampling, from its start, with guidance
        forward_strength: share of the attention that the forward variant moves, from 0 to 1
        vectors: number of vectors per token of the word
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    if variant not in VARIANTS:
        raise UnknownName("variant of layout guidance", variant, VARIANTS)
    word = new_word(subject.handle, like=subject.noun, num_vectors=vectors)
    backward = layout_guidance(scale=loss_scale, threshold=threshold, tries=tries, until=until)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5)
    return Recipe(
        says=subject.handle,
        modifiers=(word, forward_layout(forward_strength, until)) if variant == "forward" else (word,),
        stages=(Stage(train=(words(word),), loss=(denoising(source),), steps=steps, lr=lr),),
        painting=Painting(latents=(backward,) if variant == "backward" else ()),
    )
