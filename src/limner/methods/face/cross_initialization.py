"""Cross Initialization — Pang et al., CVPR 2024.

Textual Inversion of a face. The word starts at the text encoder's output for the mean of names, because learned words
end up near outputs of the text encoder."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import encoded_mean_name, new_word
from limner.parts.objectives import denoising, near_begin
from limner.parts.parameters import words
from limner.parts.sources import FACE_TEMPLATES, photos


@method(
    title="Cross Initialization",
    arxiv="2312.15905",
    scope=("face",),
    full_size={"lr": 5e-3, "steps": 320, "batch": 8},
    same=("names", "anchor_weight"),
    source="README and train_cross_init.py of lyuPang/CrossInitialization, 6.25e-4 times the batch",
)
def cross_initialization(
    subject: Subject,
    *,
    names: str = "",
    anchor_weight: float = 1e-5,
    steps: int = 200,
    lr: float = 2e-2,
    batch: int = 4,
) -> Recipe:
    """A word of two vectors that starts as the text encoder's output for the mean of famous names, with a penalty on
    its distance from there.

    The authors use 691 celebrities; here the list is shorter, and only names of two tokens count. For a base that knows
    no names of people its rare tokens are used. The authors' settings for a full-size base: learning rate 5e-3, which
    is 6.25e-4 for each picture of a batch of 8, 320 updates, weight 1e-5 of the distance.

    Settings:
        names: names of people that the base knows, with commas between them; empty is a list of famous ones
        anchor_weight: weight of the distance to the start of the word
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun, num_vectors=2, begin=partial(encoded_mean_name, names=names))
    own = photos(subject, captions=FACE_TEMPLATES, batch=batch)
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(Stage((words(word),), (denoising(own), anchor_weight * near_begin(own, word)), steps, lr),),
    )
