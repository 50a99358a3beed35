"""CoRe — Wu et al., 2024.

A placeholder token should not change the meaning of the words around it: their hidden states and attention maps are
held near those beside the class noun, with prompts that need no pictures.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import new_word
from limner.parts.objectives import context_maps, context_states, denoising
from limner.parts.parameters import everything, words
from limner.parts.sources import photos


@method(
    title="CoRe",
    arxiv="2408.15914",
    scope=("object", "face"),
    full_size={"word_steps": 6100, "word_lr": 2e-2, "steps": 1000, "lr": 5e-6},
    same=("states_weight", "maps_weight", "batch"),
    source="not published; the word as in Textual Inversion (arXiv:2208.01618), at 5e-3 times the batch, the denoiser "
    "as in DreamBooth (arXiv:2208.12242)",
)
def core(
    subject: Subject,
    *,
    states_weight: float = 0.1,
    maps_weight: float = 1.0,
    word_steps: int = 120,
    word_lr: float = 1e-2,
    steps: int = 60,
    lr: float = 5e-4,
    batch: int = 4,
) -> Recipe:
    """A word with as many vectors as the class noun and in their length, regularised by its context, then the denoiser.

    The authors publish no weights and no code; known are the two stages and the fixed length.

    Settings:
        states_weight: weight of the hidden states around the word
        maps_weight: weight of the attention maps of the words around it
        word_steps: updates of the word alone
        word_lr: its learning rate
        steps: updates of the denoiser
        lr: learning rate of the denoiser
        batch: pictures in an update
    """
    word = new_word(subject.handle, like=subject.noun, num_vectors=0, keep_length=True)
    source = photos(subject, batch=batch)
    about = {"word": subject.handle, "noun": subject.noun}
    pulls = (states_weight * context_states(source, **about), maps_weight * context_maps(source, **about))
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(train=(words(word),), loss=(denoising(source), *pulls), steps=word_steps, lr=word_lr),
            Stage(train=(everything(),), loss=(denoising(source),), steps=steps, lr=lr, weight_decay=1e-2),
        ),
    )
