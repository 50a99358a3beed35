"""ELITE — Wei et al., ICCV 2023.

Two mappings trained once: a global one turns the subject's picture into a word, and a local one adds details beside the
text's cross-attention at the positions that attend to that word. Nothing is learned per subject.
"""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import alone, clip_depths, each_of, placed
from limner.parts.fusion import details_of_depths, local_attention, words_of_depths, words_of_pictures
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising, magnitude
from limner.parts.parameters import learned
from limner.parts.sources import jittered, pairs

DEPTHS = (1, 1 / 6, 1 / 3, 1 / 2, 2 / 3)  # depths in CLIP; the token of the first is kept


@method(
    title="ELITE",
    arxiv="2302.13848",
    scope=("object",),
    full_size={
        "width": 1024,
        "layers": 3,
        "rank": 64,
        "steps": 70_000,
        "local_steps": 200_000,
        "lr": 6.4e-5,
        "local_lr": 3.2e-4,
        "batch": 64,
    },
    same=("local",),
    source="train_global.py, train_local.py and their scripts in csyxwei/ELITE: learning rates of 1e-6 and 1e-5 times "
    "batches of 64 and 32 pictures; the rank is ours",
)
def elite(
    subject: Subject,
    *,
    local: float = 0.8,
    width: int = 48,
    layers: int = 2,
    rank: int = 8,
    steps: int = 450,
    local_steps: int = 300,
    lr: float = 1e-3,
    local_lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """One word from the deepest of five depths of CLIP, with keys and values of its own, and details of the masked
    picture gated by that word's attention.

    The words of the four other depths are there in the first stage alone, to take on what is not the subject. The
    authors train whole copies of the keys and values, here low-rank changes of them; their mappers' layers end in
    leaky rectifiers, here in GELU; their target is the picture itself, cut to its box, here another picture of the
    subject; and their pictures are blurred and bent as well as turned and mirrored.

    Settings:
        local: strength of the details during sampling; 0 leaves them out
        width: width of the mappers' hidden layers
        layers: linear maps of each mapper, 2 or more
        rank: rank of the changes of keys and values
        steps: updates of the first stage of the one-time training, the word
        local_steps: updates of the second stage, the details
        lr: learning rate of the first stage
        local_lr: learning rate of the second stage
        batch: pictures in an update
    """
    depths = clip_depths(DEPTHS)
    making = words_of_pictures(subject, each_of(depths), words_of_depths(subject.noun, width, layers))
    word = changed_states(subject.handle, like=subject.noun, making=making, name="elite")
    keys = low_rank(rank, "cross_attention_kv", name="elite.keys")
    details = local_attention(
        subject, alone(placed(depths)), details_of_depths(width, layers), strength=local, name="elite.local"
    )
    seen = pairs(batch=batch, named=subject.handle, changes=(jittered(),))
    subjects = pairs(batch=batch, named=subject.handle, changes=(jittered(),), masked=True)
    stage = partial(Stage, weight_decay=0.01, warmup=20, decay="cosine")
    word_loss = denoising(seen), 0.01 * magnitude(seen, "picture words")
    local_loss = denoising(subjects), 1e-4 * magnitude(subjects, "elite.local values")
    return Recipe(
        says=subject.handle,
        modifiers=(word, keys, details),
        stages=(
            stage((learned(word, keys),), word_loss, steps, lr),
            stage((learned(details),), local_loss, local_steps, local_lr),
        ),
        weights="elite",
    )
