"""Identity-Preserving Aging — Banerjee et al., IJCB 2023.

DreamBooth for a face, with prior preservation on other people whose captions say their age: the words for ages are
learned from them, and act on the subject too. A further term holds each prediction to its own noise, or the face to its
embedding."""

from limner.core.method import method
from limner.core.recipe import Objective, Recipe, Source, Stage
from limner.core.subject import Subject
from limner.errors import UnknownName
from limner.parts.modifiers import rare_word_and
from limner.parts.objectives import denoising, face_distance, noise_contrast, noise_cosine
from limner.parts.parameters import everything
from limner.parts.sources import people_by_age, photos

TERMS = {"contrastive": noise_contrast, "cosine": noise_cosine, "biometric": face_distance}


@method(
    title="Identity-Preserving Aging",
    arxiv="2307.08585",
    scope=("face",),
    full_size={"steps": 800, "lr": 1e-6, "prior_weight": 1.0, "people": 612, "batch": 1},
    same=("term", "term_weight"),
    source="v1-finetune_contrastiveloss.yaml and README of sudban3089/ID-Preserving-Facial-Aging",
)
def banerjee_aging(
    subject: Subject,
    *,
    term: str = "contrastive",
    term_weight: float = 0.1,
    prior_weight: float = 0.3,
    people: int = 64,
    steps: int = 80,
    lr: float = 7e-4,
    batch: int = 4,
) -> Recipe:
    """A rare word and the class noun, the whole denoiser tuned, age-captioned people beside, and one of three terms.

    An age is asked for in the prompt ("a photo of <name> as an old person"). The authors' other people are 612 of
    CelebA-Dialog; here they are the base's own people, or the base paints six ages. A subject of one age gives no
    picture of itself at another, so what changes is learned from the others. Their biometric term is put on the
    autoencoder's reconstructions, which no weight of the denoiser changes; here it is on what the denoiser's prediction
    decodes to. The contrastive term needs two pictures in an update: with their batch of one it is 0.

    Settings:
        term: "contrastive" or "cosine", of predictions and their noise, or "biometric", of the face
        term_weight: its weight; 0 leaves it out
        prior_weight: weight of the loss on other people
        people: how many other people
        steps: updates
        lr: learning rate
        batch: pictures of the subject in an update, and as many of other people
    """
    if term not in TERMS:
        raise UnknownName("term", term, TERMS)
    own = photos(subject, batch=batch, flip=0.5, seen=True, captions=("a photo of a {}",))
    loss = denoising(own), prior_weight * denoising(people_by_age(subject, count=people, batch=batch))
    return Recipe(
        says=rare_word_and(subject.noun, handle=subject.handle),
        stages=(Stage((everything(),), (*loss, term_weight * _term(term, own)), steps, lr, weight_decay=1e-2),),
    )


def _term(name: str, source: Source) -> Objective:
    return TERMS[name](source)
