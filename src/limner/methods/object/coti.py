"""COTI — Yang et al., 2023.

A word learned from a growing set of pictures: every cycle adds those pictures of an unsorted pool that are most
aesthetic and most like the subject, and the word of the best cycle is used.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import PHOTO_TEMPLATES, growing_pool


@method(
    title="Controllable Textual Inversion",
    arxiv="2304.05265",
    scope=("object",),
    full_size={
        "cycles": 20,
        "queries": 10,
        "vectors": 8,
        "steps": 2000,
        "lr": 5e-4,
        "num_class_pictures": 1000,
        "batch": 2,
    },
    source="test_0.sh and embedding/embedding.py of jnzju/COTI: the first of the five learning rates that are tried",
)
def coti(
    subject: Subject,
    *,
    cycles: int = 4,
    queries: int = 2,
    vectors: int = 3,
    steps: int = 100,
    lr: float = 2e-2,
    num_class_pictures: int = 32,
    batch: int = 4,
) -> Recipe:
    """A stage for every cycle, each scored by a preview; the first sees the subject's pictures alone.

    The pool is the subject's (`--pool`); without one it consists of class images painted by the base, none of which
    shows the subject. The authors query 10 pictures in each of 20 cycles from a web search, and in each cycle try five
    learning rates one after the other, for 2,000 updates each. Their aesthetic scores start from a trained predictor;
    here they start from sharpness beside that of the subject's own pictures.

    Settings:
        cycles: number of cycles
        queries: pictures added in a cycle
        vectors: input vectors of the word
        steps: updates in a cycle
        lr: learning rate
        num_class_pictures: class images that the base paints, to contrast the subject with
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun, num_vectors=vectors)
    pool = growing_pool(subject, queries, cycles, num_class_pictures)
    preview = pool.score(f"a photo of {subject.handle}")
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=tuple(
            Stage(
                train=(words(word),),
                loss=(denoising(pool.photos(cycle, captions=PHOTO_TEMPLATES, batch=batch)),),
                steps=steps,
                lr=lr,
                score=preview,
            )
            for cycle in range(cycles + 1)
        ),
        notes=() if subject.pool else ("there is no pool of pictures to choose from (--pool FOLDER)",),
    )
