"""DCI with ICO — Zhu et al., ECCV 2024.

In training, every picture has its own context words, which painting leaves out, so that the subject's word does not mix
with them. The first sampling steps have two branches, with the subject and without, which are integrated position by
position.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import branch_integration, new_word, picture_words, rare_word
from limner.parts.objectives import preserving
from limner.parts.parameters import at_rate, cross_attention_kv, learned, words
from limner.parts.sources import photos, prior_note


@method(
    title="DCI with ICO",
    arxiv="2412.04831",
    scope=("object",),
    full_size={
        "steps": 900,
        "lr": 2e-5,
        "context_rate": 10.0,
        "prior_weight": 1.0,
        "num_class_pictures": 200,
        "batch": 2,
    },
    same=("until", "favour"),
    source="sample.py and finetune_addtoken.yaml of jinjianRick/DCI_ICO; the contexts' rate is ours",
)
def dci(
    subject: Subject,
    *,
    until: float = 0.3,
    favour: float = 0.0,
    context_rate: float = 1.0,
    steps: int = 150,
    lr: float = 2e-3,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    batch: int = 4,
) -> Recipe:
    """Custom Diffusion with image-specific context words, and two branches in the first part of painting.

    The contexts take the place of templates, and stand before captions of the user's own. The authors' settings for a
    full-size base: learning rate 1e-5 times the batch of 2, ten times that for contexts, up to 900 steps, the first 0.3
    of painting in two branches with favour 0. On a small base contexts at ten times the rate learn the subject as well.

    Settings:
        until: share of sampling with two branches; 0 paints plainly
        favour: added to the subject's branch before the softmax; from -2 to 2
        context_rate: learning rate of the contexts as a multiple of the others'
        steps: updates
        lr: learning rate
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        batch: pictures of the subject in an update, and as many class images
    """
    word, contexts = new_word(subject.handle, like=rare_word(subject.handle)), picture_words(subject)
    own = photos(
        subject,
        batch=batch,
        describe=lambda *_: [f"{contexts.name(k)} a {{}}" for k in range(len(subject.pictures))],
        recaption=lambda k, caption: f"{contexts.name(k)} {caption}",
    )
    loss = preserving(subject, own=own, weight=prior_weight, count=num_class_pictures, batch=batch)
    branches = branch_integration(subject.handle, subject.noun, until=until, favour=favour)
    phrase = f"{subject.handle} {subject.noun}"
    return Recipe(
        says=phrase,
        modifiers=(word, contexts, branches),
        stages=(
            Stage(
                train=(words(word), cross_attention_kv(), at_rate(context_rate, learned(contexts))),
                loss=loss,
                steps=steps,
                lr=lr,
            ),
        ),
        painting=Painting(parallel_stream=(lambda prompt: prompt.replace(phrase, subject.noun)) if until else None),
        notes=prior_note(prior_weight, num_class_pictures),
    )
