"""Subject-Diffusion — Ma et al., SIGGRAPH 2024.

Trained once: each subject's image embedding stands in a clause at the end of the prompt, and its patch tokens with its
box are read by a gated self-attention, so that the box places the subject. Nothing is learned per subject.
"""

import functools

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import alone, clip_before_last, clip_global, each_of, mean_of
from limner.parts.fusion import box_channel, grounding, one_word, words_of_pictures
from limner.parts.guidance import picture_then_text
from limner.parts.modifiers import changed_states, low_rank, watched_word
from limner.parts.objectives import localised, sometimes_masked
from limner.parts.parameters import at_rate, learned, part_of
from limner.parts.sources import jittered, placed

CLAUSE = ", the {noun} is {word}"
# made once for each scale, so that several attached concepts have the very same guidance
shared_guidance = functools.cache(picture_then_text)


def without_text(prompt: str) -> str:
    """The prompt of the branch that has the pictures alone."""
    return ""


@method(
    title="Subject-Diffusion",
    arxiv="2307.11410",
    scope=("multi", "object"),
    full_size={"width": 1024, "rank": 64, "lr": 3e-5, "batch": 8, "steps": 450_000},
    same=("picture_guidance", "localised_weight"),
    source="train.sh, train.py and test.py of OPPO-Mente-Lab/Subject-Diffusion, whose batch is that of each GPU and "
    "whose checkpoint is that of update 450,000; widths and the rank of the low-rank change are ours",
)
def subject_diffusion(
    subject: Subject,
    *,
    picture_guidance: float = 1.5,
    localised_weight: float = 0.01,
    width: int = 48,
    rank: int = 4,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """A placeholder token of the picture in the text, patch tokens with boxes in a gated self-attention, and a channel
    of boxes; the subject's cross-attention is localised on its mask.

    In prompts the class noun replaces the handle, and "the NOUN is TOKEN" follows at the end. The authors train keys
    and values of cross-attention, here as a low-rank change; the whole text encoder, which stays frozen here, since its
    states of other prompts are shared; and the layer that reads the latents, of which the new channel alone is trained
    here. Their pictures have detected boxes and segments; here subjects are cut out of other pictures and pasted into
    boxes, and of two subjects in a picture one has a token in the text. Only the token is localised; theirs localises
    the class noun before it as well, and counts five of the denoiser's seven blocks.

    Regions are those of `paint(regions=..., compose="attention")`. Guidance has three branches, so that regions cannot
    be blended.

    Settings:
        picture_guidance: guidance by the pictures and boxes with an empty prompt
        localised_weight: weight of the token's attention outside of the subject's mask
        width: width of the gated self-attention, a multiple of 4
        rank: rank of the change of keys and values
        steps: updates of the one-time training
        lr: learning rate of the one-time training; the gates have ten times as much
        batch: pictures in an update of the one-time training
    """
    making = words_of_pictures(subject, alone(mean_of(clip_global)), one_word("a"), clause=CLAUSE)
    word = changed_states(subject.handle, like=subject.noun, making=making, name="subject_diffusion")
    places = grounding(subject, alone(each_of(clip_before_last)), width=width, name="subject_diffusion.grounding")
    channel = box_channel(subject, name="subject_diffusion.channel")
    change = low_rank(rank, layers="cross_attention_kv", name="subject_diffusion.change")
    watched = watched_word(subject.handle)
    seen = placed(batch=batch, named=subject.handle, masked=True, changes=(jittered(turn=10.0),))
    gates = at_rate(10.0, part_of(places, "alpha")), at_rate(10.0, part_of(places, "beta"))
    return Recipe(
        says=subject.handle,
        modifiers=(word, places, channel, change, watched),
        stages=(
            Stage(
                train=(learned(word, places, channel, change), *gates),
                # the mean over whole pictures: masks are for localisation alone
                loss=(sometimes_masked(seen, share=0.0), localised_weight * localised(seen, watched)),
                steps=steps,
                lr=lr,
                warmup=20,
                decay="cosine",
            ),
        ),
        painting=Painting(
            guidance=(shared_guidance(picture_guidance),),
            branches={"pictures": without_text},
        ),
        weights="subject_diffusion",
    )
