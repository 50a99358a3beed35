"""CAFE — Zhou et al., CVPR 2024: a customization assistant.

A multimodal language model reads a picture and a request, and writes conditions for the denoiser together with a
description of the picture to paint.
"""

import functools

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import explanation, like_text_tower, query_states, states_of_multimodal
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising, refinement
from limner.parts.parameters import learned
from limner.parts.sources import corpus_texts, pairs


@method(
    title="CAFE",
    arxiv="2312.03045",
    scope=("object", "face"),
    full_size={
        "align_steps": 300_000,
        "align_lr": 1e-3,
        "steps": 200_000,
        "refine_steps": 20_000,
        "lr": 1e-3,
        "width": 768,
        "batch": 16,
    },
    same=("model", "rank", "explaining"),
    source="not published; those of Kosmos-G, which aligns a language model with the text encoder too; the "
    "second round has a tenth of the first's updates, as on the small base",
)
def cafe(
    subject: Subject,
    *,
    model: str = "",
    rank: int = 16,
    width: int = 384,
    explaining: float = 0.1,
    align_steps: int = 600,
    align_lr: float = 2e-3,
    steps: int = 300,
    refine_steps: int = 30,
    lr: float = 4e-4,
    batch: int = 24,
) -> Recipe:
    """Conditions from output queries of a multimodal model, trained by denoising and by language, then on its own
    pictures.

    Only the abstract and the project page were available. The authors' triplets (reference, request, another picture)
    are painted by an earlier encoder, here they come from the corpus; their explanations come from a larger
    language model, here from a template. The alignment with the text encoder's hidden states at the start, for texts
    and for pictures with known descriptions, is ours. The second round paints pictures in every update.

    Settings:
        model: multimodal model by folder or hub id; empty is the base's own
        rank: rank of the change of the multimodal model; 0 leaves it as it is
        width: width between the output queries and the conditions
        explaining: weight of the language loss beside the denoiser's
        align_steps: updates of the one-time training to read texts and pictures as the text encoder reads words
        align_lr: learning rate of that alignment
        steps: updates of the one-time training on pairs, its first round
        refine_steps: updates of its second round, on pictures of its own
        lr: learning rate of the first round
        batch: pictures in an update; half as many in the second round
    """
    writer = query_states(model=model, rank=rank, width=width)
    fusion = _fusion(writer, subject)
    how = functools.partial(pairs, named=subject.handle, ground="plain")
    first, second = how(batch=batch), how(batch=max(2, batch // 2), drop_image=0.0, drop_text=0.0, drop_both=0.0)
    again = refinement(second, functools.partial(_fusion, writer), subject.handle)
    texts = like_text_tower(corpus_texts(batch=batch), fusion, writer)
    rounds = (
        (texts, like_text_tower(first, fusion, writer)),
        (denoising(first), texts, explaining * explanation(first, fusion, writer)),
        (again, denoising(second), explaining * explanation(second, fusion, writer)),
    )
    counts = zip(rounds, (align_steps, steps, refine_steps), (align_lr, lr, 0.1 * lr), strict=True)
    return Recipe(
        says=subject.handle,
        modifiers=(fusion,),
        stages=tuple(
            Stage((learned(fusion),), loss, count, rate, weight_decay=0.01, warmup=20, decay="cosine")
            for loss, count, rate in counts
        ),
        weights="cafe",
    )


def _fusion(writer: query_states, subject: Subject) -> changed_states:
    making = states_of_multimodal(subject, writer)
    return changed_states(subject.handle, subject.noun, making, name="cafe", negative=True)
