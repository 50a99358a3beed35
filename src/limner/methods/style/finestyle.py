"""FineStyle — Zhang et al., NeurIPS 2024.

One picture of a style is cut into crops of its concepts, each captioned by its concept and the style, and adapters
learn from the crops on the keys and values of cross-attention alone. Each concept is then tied to its phrase, and does
not leak into pictures whose prompts leave it out.

The authors' code is not public. A low-rank change stands for their adapter; a crop counts on its concept alone, by the
concept's mask; a picture's concepts are its foreground and background unless parts are given.
"""

from limner.core.method import method
from limner.core.recipe import Answer, Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.guidance import same_prompt, two_strengths
from limner.parts.modifiers import branch_low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import concept_crops


@method(
    title="FineStyle",
    venue="NeurIPS 2024",
    year=2024,
    scope=("style",),
    full_size={"steps": 1000, "lr": 3e-4, "batch": 8},
    same=("rank", "style_guidance", "crops", "smoothing"),
    source="not published; those of StyleDrop, the number of crops ours",
)
def finestyle(
    subject: Subject,
    *,
    rank: int = 32,
    style_guidance: float = 2.0,
    crops: int = 12,
    steps: int = 200,
    lr: float = 2e-3,
    smoothing: float = 0.1,
    batch: int = 4,
) -> Recipe:
    """Adapters on cross-attention's keys and values, crops of concepts, guidance of two strengths.

    In prompts the handle becomes the style's plain words. Masks of concepts come with the pictures or from the base's
    segmenter. Parts are subjects beside the style (`--beside hat=hat:FOLDER`), whose folders hold pictures of the style
    with masks of that part; in prompts their handles become their nouns. A foreground is named by its picture's
    caption, or else by the base's CLIP. The loss is cross-entropy on a base of masked tokens, and denoising on others.

    Settings:
        rank: rank of every change
        style_guidance: strength of the adapters' difference in guidance; -1 is the base without adapters
        crops: crops of each concept
        steps: updates
        lr: learning rate
        smoothing: label smoothing on a base of masked tokens, from 0 to below 1
        batch: crops in an update
    """
    change = branch_low_rank(rank, ("text",), shown=False, layers="cross_attention_kv", name="style")
    loss = denoising(concept_crops(subject, crops=crops, batch=batch), smoothing=smoothing)
    return Recipe(
        says=subject.noun,
        also=tuple(Answer(part.handle, part.noun, part.noun) for part in subject.beside),
        modifiers=(change,),
        stages=(Stage(train=(learned(change),), loss=(loss,), steps=steps, lr=lr),),
        painting=Painting(guidance=(two_strengths(style_guidance),), branches={"plain": same_prompt}),
    )
