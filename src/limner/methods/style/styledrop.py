"""StyleDrop — Sohn et al., NeurIPS 2023.

Small adapters after attention learn a style from one picture. Then pictures painted with them are chosen, by a score or
by a person, and a second round learns from these alone, so that the first picture's content is left behind.

On a base of masked tokens the loss is the paper's, cross-entropy with label smoothing; on others it is denoising.
Where text and picture attend together, the adapters follow the picture's attention; blocks in which both have the same
projections (FLUX) have none. Whether the second round begins with new adapters is not published; here it does.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import content_captions, contents_in
from limner.parts.guidance import same_prompt, two_strengths
from limner.parts.modifiers import attention_adapters
from limner.parts.objectives import denoising, text_score
from limner.parts.parameters import learned
from limner.parts.sources import by_hand, by_score, feedback, photos


@method(
    title="StyleDrop",
    arxiv="2306.00983",
    scope=("style",),
    full_size={"steps": 1000, "second_steps": 1000, "lr": 3e-4, "batch": 8, "sampling_steps": 36, "pictures": 64},
    same=("width", "style_guidance", "weight_decay", "smoothing", "chosen", "choose"),
    source="configs/custom.py of aim-uofa/StyleDrop-PyTorch, which is not the authors' and has no second round: the "
    "updates of that round are those of the first, its number of pictures ours",
)
def styledrop(
    subject: Subject,
    *,
    width: int = 32,
    style_guidance: float = 2.0,
    pictures: int = 24,
    chosen: int = 10,
    choose: str = "",
    sampling_steps: int = 12,
    steps: int = 150,
    second_steps: int = 150,
    lr: float = 2e-3,
    weight_decay: float = 0.03,
    smoothing: float = 0.1,
    batch: int = 4,
) -> Recipe:
    """Adapters after attention, two rounds, guidance of two strengths.

    In prompts the handle becomes the style's plain words. Pictures without a caption get one from the base's CLIP,
    which names their content; CLIP's text score also chooses for the second round, unless a person does. The second
    strength of guidance is the user's guidance scale minus 1; the unofficial code has 5, so 6.

    Settings:
        width: width of every adapter
        style_guidance: strength of the adapters' difference in guidance; -1 is the base without adapters
        pictures: pictures painted for the second round
        chosen: how many of them the second round learns from
        choose: folder of pictures, of which a person chooses on a page ("page" in the studio); empty lets CLIP choose
        sampling_steps: sampling steps of the pictures for the second round
        steps: updates of the first round
        second_steps: updates of the second round; 0 leaves it out
        lr: learning rate
        weight_decay: weight decay
        smoothing: label smoothing on a base of masked tokens, from 0 to below 1
        batch: pictures in an update
    """
    adapters = attention_adapters(width)
    selected = feedback(
        contents_in(subject.handle),
        choose=by_hand(choose) if choose else by_score(text_score),
        count=pictures,
        keep=chosen,
        batch=batch,
        steps=sampling_steps,
        afresh=adapters,
        name="second round",
    )
    first, second = (
        Stage(
            train=(learned(adapters),),
            loss=(denoising(source, smoothing=smoothing),),
            steps=updates,
            lr=lr,
            weight_decay=weight_decay,
        )
        for source, updates in (
            (photos(subject, batch=batch, describe=content_captions), steps),
            (selected, second_steps),
        )
    )
    return Recipe(
        says=subject.noun,
        modifiers=(adapters,),
        stages=(first, second) if second_steps else (first,),
        painting=Painting(guidance=(two_strengths(style_guidance),), branches={"plain": same_prompt}),
        notes=(f"a person chooses for the second round, in {choose}",) if choose else (),
    )
