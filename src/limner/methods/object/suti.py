"""SuTI — Chen et al., NeurIPS 2023.

One apprentice model is trained once on the pictures that many subject-specific experts paint; then a few demonstrations
of a new subject are enough. Nothing is learned per subject.
"""

from dataclasses import replace

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import in_context
from limner.parts.guidance import between, interleaved
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import expert_pairs, photos


@method(
    title="SuTI",
    arxiv="2304.00186",
    scope=("object",),
    full_size={
        "width": 320,
        "rank": 64,
        "expert_steps": 500,
        "expert_lr": 1e-4,
        "gain": 0.02,
        "lr": 1e-4,
        "batch": 64,
    },
    same=("demonstrations", "demonstration_guidance", "share", "experts", "steps"),
    source="gain: Sec. 3 of arXiv:2304.00186; the experts' rate is that of low-rank changes in diffusers, "
    "the apprentice's IP-Adapter's (arXiv:2308.06721); there is no code of the authors'; width and rank are those "
    "of Re-Imagen here",
)
def suti(
    subject: Subject,
    *,
    demonstrations: int = 3,
    demonstration_guidance: float = 4.0,
    share: float = 0.5,
    experts: int = 24,
    expert_steps: int = 100,
    expert_lr: float = 4e-3,
    gain: float = 0.0,
    width: int = 64,
    rank: int = 4,
    steps: int = 150,
    lr: float = 5e-4,
    batch: int = 12,
) -> Recipe:
    """Re-Imagen's architecture and weights, trained further to imitate experts. An example has pictures of a subject,
    an unseen prompt, and the picture that an expert trained on the subject painted for it, if CLIP scores it high for
    the prompt.

    The authors keep half a million pictures of experts that are whole networks; here two dozen experts are low-rank
    changes of the base. In prompts the handle becomes the class noun.

    Settings:
        demonstrations: pictures of the subject to look at
        demonstration_guidance: guidance by what the demonstrations add, at the steps that drop them
        share: share of the steps with guidance that drops the text; the others drop the demonstrations
        experts: number of subjects of the corpus, with one expert trained for each
        expert_steps: updates of every expert
        expert_lr: learning rate of every expert
        gain: least gain of an expert's picture over the demonstrations in CLIP's similarity to the prompt
        width: width of the new attention, an even number, as in the weights of Re-Imagen
        rank: rank of the change of the denoiser, as in those weights
        steps: updates of the apprentice, once
        lr: learning rate of the apprentice
        batch: pictures in an update of the apprentice
    """
    network = in_context(replace(subject, pictures=subject.pictures[:demonstrations]), width=width, rank=rank)

    def expert(member: Subject) -> Recipe:
        change, loss = low_rank(8, layers="everything"), denoising(photos(member, batch=2))
        stage = Stage((learned(change),), (loss,), expert_steps, expert_lr)
        return Recipe(rare_word_and(member.noun, handle=member.handle), (change,), (stage,))

    source = expert_pairs(
        expert=expert,
        settings={"steps": expert_steps, "lr": expert_lr},
        experts=experts,
        gain=gain,
        demonstrations=demonstrations,
        batch=batch,
    )
    both = interleaved(between("negative"), between("words", scale=demonstration_guidance), share=share)
    stage = Stage((learned(network),), (denoising(source),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(
        says=subject.noun,
        modifiers=(network,),
        stages=(stage,),
        painting=Painting(guidance=(both,), branches={"words": lambda prompt: prompt}),
        weights="suti",
        begins="re_imagen",
    )
