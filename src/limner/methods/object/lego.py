"""Lego — Motamed et al., 2023.

The concept is separated from its bearer: the subject has a token of its own, learned from pictures without the concept,
and words name the concept's near and far meanings.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import contrast, denoising
from limner.parts.parameters import words
from limner.parts.sources import class_pictures, photos


@method(
    title="Lego",
    arxiv="2311.13833",
    scope=("object", "semantic"),
    full_size={"steps": 6100, "lr": 2e-2},
    same=("near", "far", "context_weight", "num_class_pictures", "batch"),
    source="not published: sam-motamed/Lego holds a README alone; Textual Inversion's (arXiv:2208.01618), on "
    "which it stands: a learning rate of 5e-3 times the batch",
)
def lego(
    subject: Subject,
    *,
    near: str = "",
    far: str = "",
    context_weight: float = 0.1,
    steps: int = 240,
    lr: float = 1e-2,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A word for the concept and one for its bearer; the bearer alone is learned from pictures without the concept.

    Those are the pictures without the concept (`--without`), or class images painted by the base. For an action,
    relation or style the handle is the concept's token alone; for anything else the class noun follows. In captions of
    the user's own, the bearer's token precedes the handle. The authors published no code and no settings.

    Settings:
        near: words near to the concept, with spaces between; empty is the class noun
        far: words far from the concept, with spaces between; empty is everyday words unlike the near ones
        context_weight: weight of the contrast between those; 0 leaves it out
        steps: updates
        lr: learning rate
        num_class_pictures: class images that the base paints where there are none without the concept
        batch: pictures of each kind in an update
    """
    bare = subject.kind in ("action", "relation", "style")
    concept = new_word(subject.handle, like=near.split()[0] if near.split() else subject.noun)
    bearer = new_word(f"{subject.handle[:-1]}-bearer>", like=subject.noun)
    clean = f"a photo of {bearer.word}" + ("" if bare else f" {subject.noun}")
    shown = photos(
        subject,
        captions=(f"a photo of {bearer.word} {{}}",),
        batch=batch,
        recaption=lambda _, caption: caption.replace("{}", f"{bearer.word} {{}}"),
    )
    alone = (
        photos(subject.contrast, captions=(clean,), batch=batch, recaption=lambda *_: clean, name="without it")
        if subject.without
        else class_pictures(subject, count=num_class_pictures, batch=batch, training_caption=clean)
    )
    meaning = contrast(shown, word=subject.handle, near=near.split() or [subject.noun], far=far.split())
    return Recipe(
        says=subject.handle if bare else f"{subject.handle} {subject.noun}",
        modifiers=(concept, bearer),
        stages=(
            Stage(
                train=(words(concept, bearer),),
                loss=(denoising(shown), denoising(alone), context_weight * meaning),
                steps=steps,
                lr=lr,
            ),
        ),
    )
