"""DreamTuner — Hua et al., 2023.

From coarse to fine: an encoder trained once feeds new layers between self-attention and cross-attention, a short tuning
binds a word, and during sampling self-attention reads the subject in a reference image.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_places
from limner.parts.fusion import subject_attention
from limner.parts.guidance import interleaved_guidance, noised_reference, self_subject
from limner.parts.modifiers import low_rank, new_word
from limner.parts.objectives import denoising, preserving
from limner.parts.parameters import learned, words
from limner.parts.sources import pairs, prior_note


@method(
    title="DreamTuner",
    arxiv="2312.13691",
    scope=("object", "face"),
    full_size={
        "width": 320,
        "prior_weight": 1.0,
        "steps": 1000,
        "lr": 1e-4,
        "num_class_pictures": 200,
        "pretrain_steps": 1_000_000,
        "batch": 1,
    },
    same=("encoder", "attention", "reference_guidance", "rank"),
    source="not published; attention as in kousw/experimental-dreamtuner, by others; tuning as DreamBooth "
    "with a low-rank change's rate in diffusers, pre-training as IP-Adapter (arXiv:2308.06721); the width is ours",
)
def dreamtuner(
    subject: Subject,
    *,
    encoder: bool = True,
    attention: float = 2.5,
    reference_guidance: float = 4.0,
    width: int = 64,
    rank: int = 8,
    prior_weight: float = 0.3,
    steps: int = 100,
    lr: float = 1e-3,
    num_class_pictures: int = 64,
    pretrain_steps: int = 400,
    batch: int = 4,
) -> Recipe:
    """Subject attention from the shipped weights, a word and low-rank changes tuned with prior preservation,
    self-subject attention to the first picture.

    The authors train the encoder on single pictures beside a frozen ControlNet that gives the layout; here it is
    trained on pairs of pictures of one subject, which differ in layout by themselves. Their attention weighs the
    reference 2.5 to 3, and in nine of ten steps guidance acts between two noise levels of the reference (from an
    implementation by others; the authors released no code).

    Settings:
        encoder: whether to use subject attention; without it, no pre-trained weights are needed
        attention: factor of the reference's patch tokens in self-attention; 0 leaves them out
        reference_guidance: guidance by what a clearer reference adds
        width: width of subject attention, an even number
        rank: rank of the tuned change of every layer
        prior_weight: weight of the loss on class images; 0 leaves it out
        steps: updates
        lr: learning rate
        num_class_pictures: class images that the untouched base paints first
        pretrain_steps: updates of the one-time training
        batch: pictures of the subject in an update, and as many class images; 8 times as many in the one-time training
    """
    word, change = new_word(subject.handle, like=subject.noun), low_rank(rank, layers="everything")
    seen, looked_at = subject_attention(subject, clip_places, width), self_subject(subject, attention)
    many = denoising(pairs(batch=8 * batch))
    corpus = Stage((learned(seen),), (many,), pretrain_steps, 1e-3, weight_decay=0.01, warmup=20, decay="cosine")
    own = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch)
    tuning = Stage((words(word), learned(change)), own, steps, lr)
    return Recipe(
        says=f"{subject.noun} {subject.handle}",
        modifiers=(word, change, *((seen,) if encoder else ()), looked_at),
        stages=(*((corpus,) if encoder else ()), tuning),
        painting=Painting(
            guidance=(interleaved_guidance(reference_guidance),),
            reference_stream=noised_reference(looked_at, f"a photo of a {subject.noun} {subject.handle}"),
        ),
        weights="dreamtuner" if encoder else None,
        notes=prior_note(prior_weight, num_class_pictures),
    )
