"""MIGC — Zhou et al., CVPR 2024.

A controller trained once: each instance is shaded alone, by attention to its own phrase inside of its box, and the
shadings are put together with weights at every position. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import alone, clip_global, mean_of
from limner.parts.fusion import instance_shading
from limner.parts.objectives import denoising, inhibition
from limner.parts.parameters import learned
from limner.parts.sources import jittered, placed


@method(
    title="MIGC",
    arxiv="2402.05408",
    scope=("multi",),
    full_size={"width": 768, "slots": 30, "lr": 1e-4, "batch": 320, "steps": 110_000},
    same=("until", "inhibition_weight", "tokens", "drop_image"),
    source="migc_arch.py and inference_single_image.py of limuloo/MIGC for slots and steps of sampling; rate, batch, "
    "the 300 epochs of COCO that the steps are, and the weight of inhibition from memory of the paper; width and tokens "
    "are ours",
)
def migc(
    subject: Subject,
    *,
    until: float = 0.5,
    inhibition_weight: float = 0.1,
    tokens: int = 2,
    width: int = 48,
    slots: int = 8,
    drop_image: float = 0.3,
    steps: int = 500,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """Instance shading with enhancement attention, layout attention and the shading aggregation controller; a loss that
    inhibits attention in the background.

    An instance's phrase is the class noun with the words before its handle, so "a red <rex>" is "a red dog". MIGC has
    phrases alone, and no subject; as MIGC++ (arXiv:2407.02329) does for images of instances, tokens of the subject's
    image embedding join the grounded tokens, and are left out in a share of the rows. The authors learn from COCO with
    detected instances; here one or two subjects are cut out of other pictures and pasted into boxes. In layers without
    the controller, their later code weights plain attention by box; here it is unchanged, as in the paper.

    Regions are those of `paint(regions=...)`: with compose="attention" all instances are aggregated in one pass. A
    subject without a region has the whole picture.

    Settings:
        until: share of sampling, from its start, with the controller
        inhibition_weight: weight of the loss on attention to instances in the background
        tokens: tokens of a subject's image embedding
        width: width of both added attentions, a multiple of 4
        slots: places for the background, the template and the instances
        drop_image: share of rows in pre-training with phrases and without reference images
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    instances = instance_shading(subject, alone(mean_of(clip_global)), tokens, width, slots, until, name="migc")
    patterns = "a {noun}", "{looks}"
    seen = placed(batch=batch, named=patterns, beside=patterns, drop_image=drop_image, changes=(jittered(turn=10.0),))
    return Recipe(
        says=subject.handle,
        modifiers=(instances,),
        stages=(
            Stage(
                train=(learned(instances),),
                loss=(denoising(seen), inhibition_weight * inhibition(seen)),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="migc",
    )
