"""Perfusion — Tewel et al., SIGGRAPH 2023.

A word and, in every cross-attention layer, a rank-one edit in that word's direction: its key is locked to the class
noun's, so that it is attended to as the noun is, and only its value is learned.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import key_locked, new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Perfusion",
    arxiv="2305.01644",
    scope=("object", "multi"),
    full_size={"captions": 100_000, "steps": 400, "batch": 16},
    same=("bias", "temperature", "outside", "word_rate", "lr"),
    source="ChenDarYen/Key-Locked-Rank-One-Editing-for-Text-to-Image-Personalization, which is not the authors'",
)
def perfusion(
    subject: Subject,
    *,
    bias: float = 0.75,
    temperature: float = 0.1,
    outside: float = 0.1,
    word_rate: float = 0.2,
    captions: int = 600,
    steps: int = 250,
    lr: float = 3e-2,
    batch: int = 4,
) -> Recipe:
    """A new word, locked keys, learned values, the loss weighted by where the subject is.

    Settings of open implementations for a full-size base: learning rates 0.006 of the word and 0.03 of the values, bias
    0.75 and temperature 0.1 in training, 400 steps of 16 pictures. The authors take the second moment of hidden states
    over 100,000 captions of LAION; here they are texts of the base's corpus, or captions in everyday words for a base
    without one. The loss's soft masks are the subject's, or those of the base's segmenter, with `outside` elsewhere, in
    place of CLIPSeg's. Gates are the same in training and painting, and edits of several concepts add: their bias of
    painting, global key locking and orthogonal concepts are left out.

    Settings:
        bias: how far along the word's direction a state must be for half of the edit
        temperature: how sharp that gate is
        outside: weight of the loss outside of the subject
        captions: captions over which the second moment of the text's hidden states is taken
        word_rate: learning rate of the word as a share of that of the values
        steps: updates
        lr: learning rate of the values
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun)
    edit = key_locked(subject.handle, subject.noun, bias=bias, temperature=temperature, captions=captions)
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, flip=0.5, masks=subject_masks, outside=outside)
    return Recipe(
        says=subject.handle,
        modifiers=(word, edit),
        stages=(
            Stage(
                train=(at_rate(word_rate, words(word)), learned(edit)),
                loss=(denoising(source),),
                steps=steps,
                lr=lr,
            ),
        ),
    )
