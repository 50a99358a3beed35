"""Multi-object editing by segmentation guidance — Matsuda et al., ICASSP 2024.

Each subject is tied to a colour of a segmentation map, which a control branch reads: the map says which subject is
where. Subjects are learned one after another, and elastic weight consolidation keeps the earlier ones.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.modifiers import COLOURS, painted_in, rare_word_and, segmentation_branch
from limner.parts.objectives import consolidation, fisher, scaled_denoising
from limner.parts.parameters import at_rate, everything, learned
from limner.parts.sources import class_pictures, photos, prior_note, scheduled, with_memory

if TYPE_CHECKING:
    from torch import Tensor


@method(
    title="Matsuda et al. (segmentation guidance with EWC)",
    venue="ICASSP 2024, pp. 8140-8144",
    year=2024,
    scope=("multi", "condition"),
    reads=("segmentation",),
    full_size={"steps": 1000, "lr": 5e-6, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    same=("branch_rate", "guide_start", "guide_end", "ewc_weight", "num_fisher_pictures"),
    source="those of DreamBooth; the authors' own were not found",
)
def matsuda_seg_ewc(
    subject: Subject,
    *,
    guide_start: float = 0.1,
    guide_end: float = 0.5,
    ewc_weight: float = 0.02,
    num_fisher_pictures: int = 16,
    branch_rate: float = 1.0,
    steps: int = 120,
    lr: float = 5e-4,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A rare token and the class noun; the denoiser and a branch for segmentation maps learn.

    The loss is (1 - gamma) times that of DreamBooth plus gamma times denoising under the segmentation map, and gamma
    changes from update to update. The next subject is learned after a concept (`limner learn ... --after FILE`), with
    half of ewc_weight * F * (theta - theta*)^2 added, F the Fisher information of the earlier subjects. In painting,
    the map is the condition "segmentation", with each subject in its colour on black; regions of subjects become such a
    map by themselves.

    The paper could be read in parts alone. The course of gamma, here linear, and all weights are ours; so is the choice
    of pictures for F: the earlier concept and its class as it paints them, because no earlier pictures are stored. The
    branch starts as ControlNet's does, as a copy of the denoiser, and not from one that was trained on segmentation
    maps before.

    Settings:
        guide_start: gamma of the first update, from 0 to 1
        guide_end: gamma of the last update, from 0 to 1
        ewc_weight: weight of elastic weight consolidation, for a subject that is learned after others
        num_fisher_pictures: pictures that the earlier concept paints to estimate the Fisher information
        branch_rate: learning rate of the branch, as a multiple of the denoiser's
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    every = (*subject.before, subject)
    branch = segmentation_branch(tuple(each.handle for each in every))
    colour = dict(zip((each.handle for each in every), COLOURS.items(), strict=False))

    def gamma(step: int) -> float:
        return guide_start + (guide_end - guide_start) * step / max(steps - 1, 1)

    def map_of(handle: str) -> Callable[[Any], Mapping[str, "Tensor"]]:
        return lambda base: {"segmentation": painted_in(subject_masks(base, subject), colour[handle][1])}

    train = (everything(), at_rate(branch_rate, learned(branch)))
    plain = scheduled(photos(subject, batch=batch), lambda step: 1 - gamma(step))
    guides = {"segmentation": lambda base, _: map_of(subject.handle)(base)["segmentation"]}
    guided = scheduled(photos(subject, batch=batch, conditions=guides, name="photos with maps"), gamma)
    classes = class_pictures(subject, count=num_class_pictures, batch=batch)
    loss = [
        scaled_denoising(guided),
        prior_weight * scaled_denoising(scheduled(classes, lambda step: 1 - gamma(step))),
    ]
    if subject.before and ewc_weight:
        prompts = {f"a photo of {each.handle}": map_of(each.handle) for each in subject.before}
        kinds = {f"a photo of a {each.noun}": None for each in subject.before}
        plain = with_memory(plain, fisher({**prompts, **kinds}, train, count=num_fisher_pictures))
        loss.append(ewc_weight * consolidation(plain))
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        modifiers=(branch,),
        stages=(Stage(train=train, loss=(scaled_denoising(plain), *loss), steps=steps, lr=lr),),
        also=tuple(Answer(e.handle, rare_word_and(e.noun, handle=e.handle), e.noun) for e in subject.before),
        notes=(
            *prior_note(prior_weight, num_class_pictures),
            f"in a segmentation map, {subject.handle} is {colour[subject.handle][0]} on black",
        ),
    )
