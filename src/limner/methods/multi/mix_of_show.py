"""Mix-of-Show — Gu et al., NeurIPS 2023.

Embedding-decomposed LoRA: a random word and a class word, each with its own vector in every layer, carry the details of
the subject, so that low-rank changes stay small and several concepts can be fused (`limner merge --by
gradient-fusion`).
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import low_rank, per_layer, varying_word, watched_word
from limner.parts.objectives import attention_on_mask, attention_within_mask, denoising
from limner.parts.parameters import at_rate, learned
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Mix-of-Show",
    arxiv="2305.18292",
    scope=("object", "multi", "face"),
    full_size={"lr": 0.0001, "word_rate": 10.0, "batch": 2, "steps": 1000},
    same=("attention_weight", "rank"),
    source="options/train/EDLoRA/real of TencentARC/Mix-of-Show; steps are ours, for its 500 repeats of each picture",
)
def mix_of_show(
    subject: Subject,
    *,
    rank: int = 4,
    word_rate: float = 5.0,
    attention_weight: float = 0.01,
    steps: int = 120,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """Two layer-wise words and low-rank changes of the denoiser's attention; masked denoising, and cross-attention
    localised on the mask.

    The class word's attention is compared with the mask; for a face it is only kept within the mask, since clothes are
    no part of a person's identity (`reg_full_identity` of the authors' options). Left out of the paper: low-rank
    changes of the text encoder, since a base names the layers of its denoiser alone; the noise offset of 0.01; shuffled
    and enhanced captions; crops around people, for which `learn` cuts faces. The authors' random word starts from
    random numbers; here it starts as the class noun, since random words do not converge in so few updates. Their words
    learn no more once their mean length is 0.55; here they learn to the end. Their losses of attention have a term for
    each resolution, here one for the finest. Their regional sampling computes cross-attention within a box from a
    prompt of that box; `paint(regions=...)` instead restricts each subject's words to its region, in the one prompt.

    The authors' settings for a full-size base: learning rate 1e-3 for words and 1e-4 for low-rank changes, rank 4,
    batch 2.

    Settings:
        rank: rank of every change
        word_rate: learning rate of the words, as a multiple of the changes'
        attention_weight: weight of the losses that localise the attention of both words on the mask
        steps: updates
        lr: learning rate of the low-rank changes
        batch: pictures in an update
    """
    own, kind = subject.handle, f"{subject.handle[:-1]}-class>"
    words = tuple(varying_word(word, subject.noun, per_layer()) for word in (own, kind))
    watched = tuple(watched_word(word) for word in (own, kind))
    change = low_rank(rank, layers="attention")
    captions = tuple(caption.format(f"{{}} {kind}") for caption in PHOTO_TEMPLATES)
    source = photos(subject, captions=captions, batch=batch, masks=subject_masks)
    within, of_class = attention_within_mask, attention_within_mask if subject.kind == "face" else attention_on_mask
    return Recipe(
        says=f"{own} {kind}",
        modifiers=(*words, *watched, change),
        stages=(
            Stage(
                train=(at_rate(word_rate, learned(*words)), learned(change)),
                loss=(
                    denoising(source),
                    attention_weight * within(source, watched[0]),
                    attention_weight * of_class(source, watched[1]),
                ),
                steps=steps,
                lr=lr,
            ),
        ),
    )
