"""PersonaMagic — Li et al., AAAI 2025.

One picture, learned for the middle of the denoising alone: a word that a small network makes of the time, kept in
balance with the other words within the text encoder. Before that stretch there is the class noun, after it the word as
it was last."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, subject_masks
from limner.parts.modifiers import timed, varying_word
from limner.parts.objectives import denoising, text_balance
from limner.parts.parameters import all_but
from limner.parts.sources import FACE_TEMPLATES, at_times, photos

FIRST, LAST = 0.4, 0.8  # of the times


@method(
    title="PersonaMagic",
    arxiv="2412.15674",
    scope=("face", "style", "object"),
    full_size={"lr": 5e-5, "steps": 1000, "batch": 2},
    same=("balance", "width"),
    source="input_configs/train.yaml of xzhe-Vision/PersonaMagic, 1 accumulated twice",
)
def personamagic(
    subject: Subject,
    *,
    balance: float = 1e-3,
    width: int = 128,
    steps: int = 200,
    lr: float = 3e-3,
    batch: int = 4,
) -> Recipe:
    """A time-conditioned word with an image-conditioned bypass, masked denoising and a balance of text attention.

    Cleaner than the stretch, the authors go on with the last text states, which are the subject's; that no subject
    information is used there, as is sometimes said, is true of noisier times alone. Masks are given or found as
    elsewhere, in the place of CLIPSeg. The authors' settings for a full-size base: learning rate 5e-5, 1 picture
    accumulated twice, 1000 updates, weight 1e-3.

    Settings:
        balance: weight of the balance between the word's share of text attention and the strongest other word's
        width: hidden numbers of the mapper
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    vary = timed(subject, clip_global, first=FIRST, last=LAST, width=width)
    word = varying_word(subject.handle, subject.noun, vary)
    own = at_times(photos(subject, captions=FACE_TEMPLATES, batch=batch, masks=subject_masks), FIRST, LAST)
    loss = denoising(own), balance * text_balance(own, word=subject.handle)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage((all_but(word, "features"),), loss, steps, lr),),
    )
