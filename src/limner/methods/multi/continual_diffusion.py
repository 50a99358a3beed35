"""Continual Diffusion (C-LoRA) — Smith et al., TMLR 2024.

Subjects are learned one after another, and none of their pictures is stored. Each has a random token and a low-rank
change of the keys and values of cross-attention, which avoids the weights that the changes before it moved.
"""

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import low_rank, new_word, random_start
from limner.parts.objectives import denoising, self_regularised
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import PHOTO_TEMPLATES, photos


@method(
    title="Continual Diffusion (C-LoRA)",
    arxiv="2304.06027",
    scope=("multi", "object", "face"),
    full_size={"rank": 16, "forgetting": 1e8, "steps": 1000, "lr": 1e-4, "word_rate": 1.0, "batch": 2},
    source="rank 16 and the weight 1e8 are those of arXiv:2304.06027 as we remember them; steps, rates and batch are "
    "not published; ours",
)
def continual_diffusion(
    subject: Subject,
    *,
    rank: int = 8,
    forgetting: float = 300.0,
    word_rate: float = 5.0,
    steps: int = 150,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """A random token without the class noun and a low-rank change for each subject; the sum of all changes acts.

    The next subject is learned after a concept (`limner learn … --after FILE`, `learn(..., after=concept)`): the
    changes and tokens of earlier subjects stay as they are, and the new change pays for each weight by the square of
    what they moved it. No class images and no pictures of earlier subjects are used, as in the paper. All subjects of
    one concept have one rank. On a small base, a dog learned first loses a third of its gain as a car follows, and
    without the loss more than half (150 updates each).

    Settings:
        rank: rank of every change
        forgetting: weight of the loss that keeps a new change away from the weights that earlier ones moved
        word_rate: learning rate of the token, as a multiple of the change's
        steps: updates
        lr: learning rate of the low-rank change
        batch: pictures in an update
    """
    every = (*subject.before, subject)
    tokens = [new_word(each.handle, like=each.noun, begin=random_start(each.handle)) for each in every]
    changes = [
        low_rank(rank, layers="cross_attention_kv", name=f"low_rank_{number}" if number else "low_rank")
        for number in range(len(every))
    ]
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch)
    loss = [denoising(source)]
    if subject.before:
        loss.append(forgetting * self_regularised(source, changes[-1], changes[:-1]))
    train = (at_rate(word_rate, words(tokens[-1])), learned(changes[-1]))
    return Recipe(
        says=subject.handle,
        modifiers=(*tokens, *changes),
        stages=(Stage(train=train, loss=tuple(loss), steps=steps, lr=lr),),
        also=tuple(Answer(each.handle, each.handle, each.noun) for each in subject.before),
    )
