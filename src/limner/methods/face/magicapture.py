"""MagiCapture — Hyung et al., AAAI 2024.

A word for a person and one for the style of other photos. A third stream of training names both at once, and no picture
is its target: outside of the face it reconstructs a style photo, and the predicted face must be the person's."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import face_masks
from limner.parts.modifiers import low_rank, new_word, watched_word
from limner.parts.objectives import attention_refocused, denoising, same_person
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import at_times, called, photos, prior_note, style_photos, with_references_of

OUTSIDE = 0.01
"""Weight of the reconstruction outside of its region, as in the authors' code."""
LATEST = 0.8
"""Share of the times, from clean pictures on, of the second phase, as in the authors' code."""


@method(
    title="MagiCapture",
    arxiv="2309.06895",
    scope=("face", "multi", "style"),
    full_size={
        "rank": 4,
        "identity_weight": 0.25,
        "word_steps": 1200,
        "word_lr": 2e-3,
        "steps": 1500,
        "lr": 4e-4,
        "word_rate": 0.25,
        "batch": 1,
        "num_class_pictures": 32,
    },
    same=("style", "style_weight", "attention_weight"),
    source="train_magicapture.sh and magicapture_train.py of junhahyung/MagiCapture, with rates multiplied by the "
    "4 batches that it accumulates; the words' rate of 1e-4 in the second phase; number of sampled style pictures ours",
)
def magicapture(
    subject: Subject,
    *,
    style: str = "a portrait of a {noun}",
    style_weight: float = 1.5,
    identity_weight: float = 0.05,
    attention_weight: float = 2.5,
    rank: int = 8,
    word_steps: int = 80,
    word_lr: float = 5e-3,
    steps: int = 100,
    lr: float = 1e-3,
    word_rate: float = 0.5,
    num_class_pictures: int = 12,
    batch: int = 2,
) -> Recipe:
    """Masked reconstruction of person and style, then low-rank changes, composed prompts, identity and attention.

    Style photos are the pictures without the subject (`--without`); where there are none, the base samples some. In
    prompts, the handle becomes both words: the person in the style. Faces are masked by the pictures' own masks or an
    ellipse in the detector's box, for the authors' face parser. They weigh the style by 2 in the first half of each
    phase and by 1 in the second; here it is 1.5 throughout. They compute the identity at times of its own; here it has
    those of the reconstruction. They change the text encoder by low rank as well, which is left out, since low-rank
    changes here are the denoiser's. Their super-resolution and face restoration of finished pictures are left out: they
    are networks of their own, for photographs.

    Settings:
        style: prompt of the style photos that the base samples, with {noun} for the class noun
        style_weight: weight of the reconstruction of style photos, under their own prompt and the composed one
        identity_weight: weight of the identity of predicted faces
        attention_weight: weight of attention outside of each word's region
        rank: rank of the changes
        word_steps: updates of the first phase, of the words alone
        word_lr: learning rate then
        steps: updates of the second phase
        lr: learning rate of the low-rank changes
        word_rate: learning rate of the words in the second phase, as a share of that
        num_class_pictures: style photos that the base samples where none are given
        batch: pictures in an update, of each stream
    """
    name, texts = subject.handle[:-1], ("a photo of {}", "a portrait of {}")
    person, look = new_word(f"{name}-person>", like=subject.noun), new_word(f"{name}-style>", like="photo")
    face, manner, change = watched_word(person.word), watched_word(look.word), low_rank(rank)
    phrase = f"{person.word} {subject.noun}"
    both = f"{phrase} in the {look.word} style"
    own = photos(called(subject, phrase), captions=texts, batch=batch, seen=True, masks=face_masks, outside=OUTSIDE)
    prompt = style.replace("{noun}", subject.noun)
    styled, composed = (
        style_photos(subject, says, texts, prompt=prompt, count=num_class_pictures, batch=batch, inside=OUTSIDE)
        for says in (f"a {subject.noun} in the {look.word} style", both)
    )
    first = denoising(own), style_weight * denoising(styled)
    own, styled, composed = (at_times(source, 0.0, LATEST) for source in (own, styled, composed))
    composed = with_references_of(composed, subject)
    not_in_style = attention_refocused(composed, face, outside=True)
    second = (
        *(denoising(own), style_weight * denoising(styled), style_weight * denoising(composed)),
        *(identity_weight * same_person(source) for source in (own, composed)),
        *(attention_weight * attention_refocused(source, manner) for source in (styled, composed)),
        *(attention_weight * attention_refocused(own, face), attention_weight * not_in_style),
    )
    return Recipe(
        says=both,
        modifiers=(person, look, face, manner, change),
        stages=(
            Stage((words(person, look),), first, word_steps, word_lr),
            Stage((learned(change), at_rate(word_rate, words(person, look))), second, steps, lr, weight_decay=1e-3),
        ),
        notes=prior_note(float(not subject.without), num_class_pictures),
    )
