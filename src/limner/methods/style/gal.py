"""GAL (Generative Active Learning) — Zhang et al., ACM MM 2024.

The whole denoiser is tuned in rounds, each from the base. After a round the model paints a list of prompts, the
anchors; those at which it is least certain whether it overfits give pictures to learn from in the next rounds, with a
small weight that all pictures of one round share.
"""

from typing import Any

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import content_captions, structured_captions
from limner.parts.encoders.captions import PLACES
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import clip_reward, denoising, scaled_denoising
from limner.parts.parameters import everything
from limner.parts.sources import class_pictures, photos, prior_note, uncertain

CONTENTS = (
    "a tie", "a hat", "a chair", "a lamp", "a boat", "a car", "a mug", "a house", "a rabbit", "a truck", "a robot",
    "a teapot", "a potted plant", "a penguin", "an elephant", "a balloon", "a leaf", "a drum", "a lantern", "a kite",
)  # fmt: skip
"""Contents of the anchors of a style."""


@method(
    title="GAL",
    arxiv="2403.14987",
    scope=("style", "object"),
    full_size={
        "cycles": 4,
        "samples": 10,
        "openness": 0.005,
        "sampling_steps": 50,
        "prior_weight": 1.0,
        "steps": 800,
        "lr": 5e-6,
        "num_class_pictures": 200,
        "batch": 1,
    },
    same=("top",),
    source="scripts/run_obj_gal.sh of zhangxulu1996/GAL4Personalization (for styles it has 500 updates of 2 pictures); "
    "number of class images ours",
)
def gal(
    subject: Subject,
    *,
    cycles: int = 3,
    top: int = 3,
    samples: int = 4,
    openness: float = 0.5,
    sampling_steps: int = 10,
    prior_weight: float = 0.1,
    steps: int = 60,
    lr: float = 7e-4,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """Rounds of the whole denoiser; a style is its class noun in plain words, a thing a rare token and the class noun.

    The anchors of a style are contents, as in "a chair in <sty>", and those of a thing places, as in "<rex> in the
    snow"; the lists are ours. A sample is overfit where CLIP finds it as near to the prompt of a reference image as to
    its own. That prompt is the picture's caption, as in "a cat in <sty>". Where a picture has none, CLIP names what a
    style's picture shows, and the place of a thing (`structured_captions`).

    Where fewer than the wanted anchors are uncertain, the authors stop with the model of the round before; here the
    next round trains again on the pictures so far. On the small base the openness has a factor larger than theirs,
    since its batches mix pictures of both weights. Class images are for things alone, as the authors' are.

    Settings:
        cycles: rounds
        top: anchors selected after a round
        samples: pictures painted of each anchor, which the test compares, 2 or more
        openness: factor of the weight of selected pictures
        sampling_steps: sampling steps of the painted pictures
        prior_weight: weight of the loss on class images; 0 leaves it out
        steps: updates in a round
        lr: learning rate
        num_class_pictures: class images that the untouched base paints first
        batch: pictures in an update, and as many class images
    """
    style = subject.kind == "style"
    anchors = [f"{content} in {{}}" for content in CONTENTS] if style else [f"a photo of {{}} {p}" for p in PLACES]
    describe = content_captions if style else structured_captions
    own = photos(subject, describe=describe, batch=batch)
    about: dict[str, Any] = {"top": top, "samples": samples, "openness": openness, "steps": sampling_steps}
    grown = uncertain(subject, anchors, describe=describe, nearness=clip_reward, batch=batch, **about)
    prior = class_pictures(subject, count=num_class_pictures, batch=batch)
    weight = 0.0 if style else prior_weight
    first, later = (denoising(own), weight * denoising(prior)), (scaled_denoising(grown), weight * denoising(prior))
    return Recipe(
        says=subject.noun if style else rare_word_and(subject.noun, handle=subject.handle),
        stages=tuple(
            Stage((everything(),), later if cycle else first, steps, lr, weight_decay=1e-2, anew=True)
            for cycle in range(cycles)
        ),
        notes=prior_note(weight, num_class_pictures),
    )
