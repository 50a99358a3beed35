"""DisenBooth — Chen et al., ICLR 2024.

In training, each picture's own vector explains the details of that picture, so that the word and the low-rank changes
learn only the traits that all pictures share.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.modifiers import changed_states, image_added, low_rank, rare_word
from limner.parts.objectives import apart, denoising, without_picture
from limner.parts.parameters import learned
from limner.parts.sources import photos


@method(
    title="DisenBooth",
    arxiv="2305.03374",
    scope=("object",),
    full_size={"rank": 4, "steps": 2000, "lr": 1e-4, "batch": 1},
    same=("weak_weight", "apart_weight"),
    source="train_disenbooth.py of forchchch/DisenBooth",
)
def disenbooth(
    subject: Subject,
    *,
    rank: int = 8,
    weak_weight: float = 0.01,
    apart_weight: float = 0.001,
    steps: int = 200,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun, low-rank changes of attention, and a vector of each picture that is left out
    when painting.

    The authors' image features are as wide as their hidden states of the text; where a base's are not, they are cut, or
    filled with zeros, on their way past the adapter, whose layers here have no biases. The authors' settings for a
    full-size base: rank 4, learning rate 1e-4, batch 1, 2000 steps, weights 0.01 and 0.001.

    Settings:
        rank: rank of every change
        weak_weight: weight of denoising from the text alone
        apart_weight: weight of the cosine between text and picture's vector
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    picture = changed_states(subject.handle, rare_word(subject.handle), image_added(clip_global))
    change = low_rank(rank)
    source = photos(subject, batch=batch, seen=True)
    loss = (denoising(source), weak_weight * without_picture(source), apart_weight * apart(source))
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(picture, change),
        stages=(Stage(train=(learned(picture, change),), loss=loss, steps=steps, lr=lr),),
    )
