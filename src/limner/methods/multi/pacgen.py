"""PACGen — Li et al., 2023.

DreamBooth on pictures that are put at random sizes and places, so that the subject is not learned with its place; a
grounding adapter, trained once without the subject, then places it by a box. Outside of the boxes, sampling is guided
away from the collages that such training suggests.
"""

import functools
from collections.abc import Callable

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import grounding
from limner.parts.guidance import guided_by_region
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising, preserving
from limner.parts.parameters import at_rate, everything, learned, part_of
from limner.parts.sources import placed, prior_note, relocated


@functools.cache
def ending_in(words: str) -> Callable[[str], str]:
    """A function of a prompt that appends these words; the very same for equal words."""
    return lambda prompt: f"{prompt}, {words}"


@functools.cache
def always(words: str) -> Callable[[str], str]:
    """A function of a prompt that returns these words; the very same for equal words."""
    return lambda _: words


@method(
    title="PACGen",
    arxiv="2306.17154",
    scope=("multi", "object"),
    full_size={
        "quality": "high quality, color image, dslr",
        "faults": "collage effect, low quality, assemblage",
        "width": 1024,
        "num_class_pictures": 200,
        "prior_weight": 1.0,
        "steps": 1000,
        "lr": 5e-6,
        "batch": 1,
        "ground_steps": 100_000,
        "ground_lr": 5e-5,
        "ground_batch": 64,
    },
    same=("smallest", "brightness"),
    source="not published; DreamBooth's for the subject; GLIGEN's (arXiv:2301.07093) for the grounding, and the prompts, "
    "from memory of the papers; width, smallest size and brightness are ours",
)
def pacgen(
    subject: Subject,
    *,
    quality: str = "good photo",
    faults: str = "collage",
    smallest: float = 0.3,
    brightness: float = 0.1,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    steps: int = 80,
    lr: float = 7e-4,
    batch: int = 4,
    width: int = 48,
    ground_steps: int = 500,
    ground_lr: float = 1e-3,
    ground_batch: int = 16,
) -> Recipe:
    """A rare token and the class noun, the whole denoiser tuned on relocated pictures with prior preservation; boxes by
    a frozen grounding adapter.

    The adapter is GLIGEN's: a token of the class noun's text embedding and the box. It is trained on composed pictures,
    on the untouched base, and does not act in the tuning, whose pictures have no boxes. The authors have published no
    code: that brightness changes a little, that the prompts for quality act outside of the boxes, where they cannot
    change the subject, and that they act in all steps is how we know the paper.

    Regions are those of `paint(regions=..., compose="attention")`, and regional guidance needs them. Its four branches
    cannot be blended with those of other concepts.

    Settings:
        quality: words that regional guidance appends to the prompt outside of the regions
        faults: negative prompt of regional guidance outside of the regions
        smallest: smallest side of a relocated picture, as a share of the canvas's
        brightness: largest change of a relocated picture's brightness, as a share
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        steps: updates of the denoiser
        lr: learning rate of the denoiser
        batch: pictures of the subject in an update, and as many class images
        width: width of the grounding's attention, a multiple of 4
        ground_steps: updates of the one-time training of the grounding
        ground_lr: learning rate of the one-time training; the gates have ten times as much
        ground_batch: pictures in an update of the one-time training
    """
    places = grounding(subject, width=width, name="pacgen.grounding")
    gates = at_rate(10.0, part_of(places, "alpha")), at_rate(10.0, part_of(places, "beta"))
    composed = denoising(placed(batch=ground_batch))
    ground = Stage((learned(places), *gates), (composed,), ground_steps, ground_lr, warmup=20, decay="cosine")
    own = relocated(subject, batch=batch, least=smallest, brightness=brightness)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch, own=own)
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(places,),
        stages=(ground, Stage((everything(),), loss, steps, lr, weight_decay=1e-2)),
        painting=Painting(
            guidance=(guided_by_region(),),
            branches={"quality": ending_in(quality), "faults": always(faults)},
        ),
        weights="pacgen",
        notes=prior_note(prior_weight, num_class_pictures),
    )
