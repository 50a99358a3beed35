"""Domain-agnostic tuning-encoder — Arar et al., SIGGRAPH Asia 2023.

An encoder trained once turns a picture of anything into a word near the words that the base knows, and a hypernetwork
turns it into low-rank changes of attention. Both are tuned for a dozen updates, beside a second path of the base with
the nearest real word.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_classes, mean_of
from limner.parts.fusion import dual_path, noise_aware, tunable, words_of_pictures
from limner.parts.modifiers import changed_states, predicted_low_rank
from limner.parts.objectives import among_words, denoising, short
from limner.parts.parameters import all_but, part_of
from limner.parts.sources import pairs, photos


@method(
    title="Domain-agnostic tuning-encoder",
    arxiv="2307.06925",
    scope=("object", "face", "style"),
    full_size={
        "width": 1024,
        "hyper_width": 256,
        "rank": 16,
        "lr": 5e-6,
        "pretrain_steps": 100_000,
        "pretrain_lr": 1.6e-5,
        "batch": 2,
    },
    same=("blend", "contrast", "short_words", "steps"),
    source="updates for a subject: the abstract of arXiv:2307.06925; the rest is not published, and is E4T's "
    "(mkshing/e4t-diffusion), which it extends; widths and rank are ours",
)
def domain_agnostic(
    subject: Subject,
    *,
    blend: float = 0.75,
    contrast: float = 0.01,
    short_words: float = 0.001,
    rank: int = 4,
    width: int = 192,
    hyper_width: int = 64,
    steps: int = 12,
    lr: float = 1e-2,
    pretrain_steps: int = 400,
    pretrain_lr: float = 1e-3,
    batch: int = 4,
) -> Recipe:
    """A predicted word near real words, predicted low-rank changes, and attention along two paths.

    No class label is used: the word is an offset from the mean of all words. Tuning adds a shift to the predicted word
    and to the cores of the low-rank changes. The authors' weights of the terms, count of neighbours and blend are not
    known to us; they predict whole low-rank factors (see `predicted_low_rank`) for keys, values, queries and outputs,
    here not for outputs.

    Settings:
        blend: share of the adapted path in attention; 0 is the base reading the nearest real word
        contrast: weight of the pull of words to their nearest real words, away from those of other pictures
        short_words: weight of the words' squared length, in that of real words
        rank: rank of the predicted changes
        width: width of the encoder's hidden layer
        hyper_width: width of the hypernetwork's hidden layer
        steps: updates
        lr: learning rate
        pretrain_steps: updates of the one-time training
        pretrain_lr: learning rate of the one-time training
        batch: pictures in an update; eight times as many in the one-time training
    """
    look, mapper = mean_of(clip_classes), tunable(noise_aware(start="any word", width=width))
    making = words_of_pictures(subject, look, mapper)
    word = changed_states(subject.handle, subject.noun, making, name="domain_agnostic")
    changes = predicted_low_rank(subject, look, rank, hyper_width)
    many, own = pairs(batch=8 * batch, named=subject.handle), photos(subject, batch=batch, seen="all")
    among, small = among_words(many, word=subject.handle), short(many, "picture words")
    loss = (denoising(many), contrast * among, short_words * small)
    trained = (all_but(word, "shift"), all_but(changes, "shift"))
    corpus = Stage(trained, loss, pretrain_steps, pretrain_lr, weight_decay=0.01, warmup=20, decay="cosine")
    tuning = Stage((part_of(word, "shift"), part_of(changes, "shift")), (denoising(own),), steps, lr)
    modifiers = (word, changes, dual_path(subject, blend))
    return Recipe(subject.handle, modifiers, (corpus, tuning), weights="domain_agnostic")
