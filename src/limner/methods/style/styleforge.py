"""StyleForge — Park, Ko and Jang, 2024.

Multi-StyleForge splits a style into partial attributes, such as its people and its backgrounds. Each has a rare word of
its own, and every training picture names one of them; prompts name all. (Single-StyleForge, with one word, is
StyleBoost.)
"""

from dataclasses import replace

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.encoders import background_masks, subject_masks
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import everything
from limner.parts.sources import auxiliary_note, auxiliary_pictures, called, photos


@method(
    title="StyleForge",
    arxiv="2404.05256",
    scope=("style",),
    full_size={"steps": 1000, "lr": 1e-6, "auxiliary_weight": 1.0, "num_class_pictures": 200, "batch": 1},
    source="not checked against the paper, which published no code: StyleBoost's, of which it is the next version",
)
def styleforge(
    subject: Subject,
    *,
    steps: int = 80,
    lr: float = 7e-4,
    auxiliary_weight: float = 0.5,
    num_class_pictures: int = 64,
    batch: int = 2,
) -> Recipe:
    """A rare token for each attribute of the style, before the class noun; the whole denoiser tuned.

    The attributes are the subject and its further ones (`--beside`, `Subject.beside`), each with a folder of its own,
    and prompts name them together, as in "a dog, <people>, <scenery>". Where there are none, the subject's pictures are
    split by their masks: what they show is learned as `<rex>` and what surrounds it as `<rex-background>`.

    Each attribute has an auxiliary term as in StyleBoost: with its own auxiliary pictures, else the first one's
    (`--auxiliary`), else pictures that the base paints from the class noun alone. The authors also report a variant
    with low-rank changes, which is left out, and split their pictures by hand.

    Settings:
        steps: updates
        lr: learning rate
        auxiliary_weight: weight of the loss on auxiliary pictures; 0 leaves it out
        num_class_pictures: pictures that the base paints where there are no auxiliary ones
        batch: pictures of each attribute in an update, and as many auxiliary ones
    """
    around = replace(called(subject, f"{subject.handle[:-1]}-background>"), beside=())
    parts = [subject, *(subject.beside or (around,))]
    parts = [replace(one, auxiliary=one.auxiliary or subject.auxiliary) for one in parts]
    _check(parts)
    handles = [one.handle for one in parts]
    says = [rare_word_and(one.noun, handle=one.handle, unlike=handles[:k]) for k, one in enumerate(parts)]
    split = dict(zip((subject.handle, around.handle), (subject_masks, background_masks), strict=True))
    masks = {one.handle: None if subject.beside else split[one.handle] for one in parts}
    loss = []
    for one in parts:
        own = photos(one, captions=("{}",), batch=batch, masks=masks[one.handle], name=f"photos of {one.handle}")
        name = f"auxiliary pictures of {one.handle}"
        auxiliary = auxiliary_pictures(one, count=num_class_pictures, batch=batch, name=name)
        loss += [denoising(own), auxiliary_weight * denoising(auxiliary)]
    alone = (f"no further attributes are named (--beside): the surroundings are learned as {around.handle}",)
    return Recipe(
        says=says[0],
        also=tuple(Answer(one.handle, words, one.noun) for one, words in zip(parts[1:], says[1:], strict=True)),
        stages=(Stage(train=(everything(),), loss=tuple(loss), steps=steps, lr=lr, weight_decay=1e-2),),
        notes=(*(() if subject.beside else alone), *auxiliary_note(parts[:1], auxiliary_weight, num_class_pictures)),
    )


def _check(parts: list[Subject]) -> None:
    """Raise `InputError` where a further attribute has no pictures, and where a caption names two attributes."""
    bare = next((one.handle for one in parts[1:] if not one.pictures), None)
    if bare is not None and parts[0].pictures:
        raise InputError(
            f"{bare} has no pictures of its own, and every picture is to teach one attribute of the style: give it a folder "
            "(--beside NAME=NOUN:FOLDER), or name no further attributes to split the pictures by their masks"
        )
    for one in parts:
        others = [other.handle for other in parts if other is not one]
        for picture in one.pictures:
            second = next((handle for handle in others if handle in picture.caption), None)
            if second is not None:
                raise InputError(
                    f"the caption of {picture.name} names {second} beside {one.handle}, and every picture is to teach one "
                    "attribute of the style: leave one of them out"
                )
