"""HiPer — Han et al., 2023.

The last positions of the prompt's hidden states, which carry little information, are replaced by a learned block for
the subject that does not pass through the text encoder.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import changed_states, last_states
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos

CAPTION = "a photo of {}"


@method(
    title="HiPer",
    arxiv="2303.08767",
    scope=("object",),
    full_size={"states": 5, "steps": 1000, "lr": 5e-3, "batch": 1},
    same=("strength",),
    source="script.sh of HiPer0/HiPer",
)
def hiper(
    subject: Subject,
    *,
    states: int = 3,
    strength: float = 0.8,
    steps: int = 250,
    lr: float = 3e-2,
    batch: int = 4,
) -> Recipe:
    """The class noun in the prompt, and the last states of it learned; they start as those of the source text.

    The authors' settings for a full-size base: one picture, 5 of 77 states, learning rate 5e-3, 1000 to 1500 steps, the
    block at 0.8 of its length during sampling.

    Settings:
        states: number of hidden states learned, the last ones
        strength: share of the learned block's length during sampling
        steps: updates
        lr: learning rate
        batch: pictures in an update
    """
    source = CAPTION.format(subject.noun)
    block = changed_states(subject.handle, subject.noun, last_states(states, source=source, strength=strength))
    own = photos(subject, captions=(CAPTION,), batch=batch)
    return Recipe(
        says=subject.handle,
        modifiers=(block,),
        stages=(Stage(train=(learned(block),), loss=(denoising(own),), steps=steps, lr=lr),),
    )
