"""LyCORIS LoHa — Yeh et al., ICLR 2024.

A change of every weight as the element-wise product of two low-rank matrices: twice the numbers of a low-rank change,
but its rank may be the square.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import changed_weights, hadamard, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="LyCORIS: LoHa",
    arxiv="2309.14859",
    scope=("object", "style"),
    full_size={"steps": 1000, "lr": 2e-4, "batch": 8},
    same=("rank", "alpha", "layers"),
    source="loha_config.toml of KohakuBlueleaf/LyCORIS, whose preset leaves convolutions out; the number of updates "
    "is ours",
)
def lycoris_loha(
    subject: Subject,
    *,
    rank: int = 8,
    alpha: float = 4.0,
    layers: str = "everything",
    steps: int = 200,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, Hadamard products of low-rank matrices in linear layers and convolutions.

    The library's settings for a full-size base: rank 8, alpha 4, learning rate 2e-4, batch 8. The library trains the
    text encoder too, at the same rate; here it stays as it is, since several subjects' changes can be trained in one
    pass of the denoiser alone. Its example changes attention and feed-forward layers alone and decays weights by 0.1;
    here convolutions change as well, and nothing decays.

    Settings:
        rank: rank of either factor of every change
        alpha: the change is scaled by alpha over rank
        layers: which layers change: "attention", or "everything" (convolutions as well)
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    change = changed_weights(hadamard(rank, alpha=alpha), layers=layers)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(change,),
        stages=(Stage(train=(learned(change),), loss=(denoising(photos(subject, batch=batch)),), steps=steps, lr=lr),),
    )
