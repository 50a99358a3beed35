"""Custom Diffusion — Kumari et al., CVPR 2023.

A new word, learned together with the keys and values of cross-attention, while class images keep the model from
forgetting the class.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word, rare_word
from limner.parts.objectives import preserving
from limner.parts.parameters import cross_attention_kv, words
from limner.parts.sources import prior_note, rescaled_photos


@method(
    title="Custom Diffusion",
    arxiv="2212.04488",
    scope=("object", "multi"),
    full_size={"steps": 250, "lr": 2e-5, "prior_weight": 1.0, "num_class_pictures": 200, "batch": 2},
    source="adobe-research/custom-diffusion: a learning rate of 1e-5 times the batch",
)
def custom_diffusion(
    subject: Subject,
    *,
    steps: int = 150,
    lr: float = 2e-3,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """A new word before the class noun, and the keys and values of cross-attention.

    The word starts as a rare token. Pictures of the subject are shown smaller, whole or larger, captions name the size,
    and the loss leaves out the canvas around a smaller picture. The class images are the base's own, as in the authors'
    second variant; their first retrieves real ones by their captions from LAION-400M, which needs an index of it.
    Concepts of several subjects are merged by the paper's constrained optimisation with `limner merge --by closed-form`
    (Sec. 3.3), or attached together. The authors' settings for a full-size base: learning rate 1e-5 times the batch,
    250 steps, 200 class images.

    Settings:
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    word = new_word(subject.handle, like=rare_word(subject.handle))
    own = rescaled_photos(subject, batch=batch)
    loss = preserving(subject, own=own, weight=prior_weight, count=num_class_pictures, batch=batch)
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(word,),
        stages=(Stage(train=(words(word), cross_attention_kv()), loss=loss, steps=steps, lr=lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
