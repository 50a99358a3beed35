"""MC-TI (multi-class textual inversion) — Wang et al., WACV 2025.

Tokens of several classes are learned together: each reconstructs its own pictures, and a classification loss on CLIP
embeddings tells it apart from the others. The tokens then also classify pictures, by the nearest text embedding.
"""

from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.modifiers import new_word
from limner.parts.objectives import classification, denoising, recognition_answer
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, joined, photos, prior_note, recognition_pictures


@method(
    title="MC-TI",
    arxiv="2410.22317",
    scope=("object", "multi"),
    full_size={"steps": 3100, "lr": 2e-3},
    same=("classification_weight", "sharpness", "num_class_pictures", "batch"),
    source="bash_files/train_arg_person.sh and mcti.py of wangkai930418/mc_ti: a learning rate of 5e-4 times 4 "
    "accumulated steps",
)
def mc_ti(
    subject: Subject,
    *,
    classification_weight: float = 1.0,
    sharpness: float = 10.0,
    num_class_pictures: int = 16,
    steps: int = 250,
    lr: float = 1e-2,
    batch: int = 2,
) -> Recipe:
    """A word for each class, learned together and told apart; the networks stay as they are.

    The classes are the subject and its further ones with pictures of their own (`--beside`, `Subject.beside`). Where
    there are none, class images are the other class, called by the noun. `limner.library.classify` names the class of
    new pictures.

    Settings:
        classification_weight: weight of the loss that tells the classes apart
        sharpness: factor of the cosines in that loss, between classes with pictures of their own
        num_class_pictures: class images that the base paints where no further class is named
        steps: updates
        lr: learning rate
        batch: pictures of each class in an update
    """
    bare = next((one.handle for one in subject.beside if not one.pictures), None)
    if bare is not None and subject.pictures:
        raise InputError(
            f"{bare} has no pictures of its own, by which this method tells the classes apart: give it a folder, as in "
            f"--beside {bare.strip('<>')}=NOUN:FOLDER"
        )
    classes = (subject, *subject.beside)
    learned = tuple(new_word(one.handle, like=one.noun) for one in classes)
    source = joined(*(photos(one, captions=PHOTO_TEMPLATES, batch=batch) for one in classes), name="classes")
    apart = (
        classification(source, classes, sharpness=sharpness)
        if subject.beside
        else recognition_answer(
            recognition_pictures(subject, count=num_class_pictures, batch=4), subject.handle, subject.noun
        )
    )
    return Recipe(
        says=subject.handle,
        also=tuple(Answer(one.handle, one.handle, one.noun) for one in classes[1:]),
        modifiers=learned,
        stages=(
            Stage(
                train=(words(*learned),),
                loss=(denoising(source), classification_weight * apart),
                steps=steps,
                lr=lr,
            ),
        ),
        notes=() if subject.beside else prior_note(classification_weight, num_class_pictures),
    )
