"""Kosmos-G — Pan et al., ICLR 2024.

A multimodal language model reads the prompt with the subject's picture in the place of its name; an aligner maps its
output to hidden states like those of the text encoder, which the frozen denoiser reads. Nothing is learned per subject,
and no weight of the denoiser changes.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import aligner_net, alignment, states_of_multimodal
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import corpus_texts, pairs


@method(
    title="Kosmos-G",
    arxiv="2310.02992",
    scope=("object", "face", "multi"),
    full_size={
        "layers": 12,
        "width": 768,
        "align_steps": 300_000,
        "align_lr": 1e-3,
        "steps": 200_000,
        "lr": 1e-3,
        "batch": 16,
    },
    same=("model", "rank"),
    source="runalign.sh, runtrain.sh and aligner.py of xichenpan/Kosmos-G, whose batches are those of each of 64 GPUs",
)
def kosmos_g(
    subject: Subject,
    *,
    model: str = "",
    rank: int = 8,
    layers: int = 2,
    width: int = 128,
    align_steps: int = 600,
    align_lr: float = 4e-3,
    steps: int = 700,
    lr: float = 1.5e-3,
    batch: int = 24,
) -> Recipe:
    """The text encoder's states replaced by aligned ones of a multimodal model.

    The authors' three stages: the multimodal model is trained first (the base's own is), the aligner then learns from
    texts alone to replace the text encoder, and in the end both are trained through the frozen denoiser. One row in
    five of the last stage has no picture, and the alignment continues beside it, so that prompts without pictures stay
    as they were. The authors' multimodal model learns whole in the last stage; here a low-rank change of it does. In
    sampling, a prompt may name several subjects, with each one's picture at its place; the authors' last stage shows
    such prompts too (nouns of a caption replaced by pictures cut out of it), here it shows one subject in each.

    Settings:
        model: multimodal model by folder or hub id; empty is the base's own
        rank: rank of the change of the multimodal model; 0 leaves it as it is
        layers: layers of the aligner
        width: width of the aligner, a multiple of 4
        align_steps: updates of the one-time alignment with the text encoder, from texts alone
        align_lr: learning rate of that alignment
        steps: updates of the one-time training through the denoiser
        lr: learning rate of that training
        batch: pictures in an update of that training; twice as many texts in one of the alignment
    """
    net = aligner_net(model=model, width=width, depth=layers, rank=rank)
    fusion = changed_states(
        subject.handle, subject.noun, states_of_multimodal(subject, net), name="kosmos_g", negative=True
    )
    seen = pairs(batch=batch, named=subject.handle, ground="plain", drop_image=0.2, drop_text=0.1)
    texts = corpus_texts(batch=2 * batch)
    kinds = (alignment(texts, fusion, net),), (denoising(seen), alignment(texts, fusion, net, changed=True))
    return Recipe(
        says=subject.handle,
        modifiers=(fusion,),
        stages=tuple(
            Stage((learned(fusion),), loss, count, rate, weight_decay=0.01, warmup=20, decay="cosine")
            for loss, count, rate in zip(kinds, (align_steps, steps), (align_lr, lr), strict=True)
        ),
        weights="kosmos_g",
    )
