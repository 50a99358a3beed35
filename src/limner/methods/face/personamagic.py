"""PersonaMagic — Li et al., AAAI 2025.

A word from one picture, for the middle of the denoising: a small network makes the word from the diffusion time, and a
loss balances its share of the text encoder's attention against the other words. Before that interval the prompt has the
class noun, after it the word of the interval's end."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, subject_masks
from limner.parts.modifiers import timed, varying_word
from limner.parts.objectives import denoising, text_balance
from limner.parts.parameters import all_but
from limner.parts.sources import FACE_TEMPLATES, at_times, photos

FIRST, LAST = 0.4, 0.8
"""The interval of diffusion times with a learned word, from clean (0) to noise (1)."""


@method(
    title="PersonaMagic",
    arxiv="2412.15674",
    scope=("face", "style", "object"),
    full_size={"lr": 5e-5, "steps": 1000, "batch": 2},
    same=("balance", "width"),
    source="input_configs/train.yaml of xzhe-Vision/PersonaMagic, with 1 picture accumulated twice",
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

    At times cleaner than the interval, the authors continue with the last text-encoder hidden states, which contain the
    subject; only noisier times have no subject information. Masks are the subject's own or the base's segmenter's, in
    the place of CLIPSeg. The authors' settings for a full-size base: learning rate 5e-5, 1 picture accumulated twice,
    1000 updates, weight 1e-3.

    Settings:
        balance: weight of the balance between the word's share of text attention and the strongest other word's
        width: hidden units of the mapper
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
