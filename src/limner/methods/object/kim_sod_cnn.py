"""SOD preprocessing and CNN local features — Kim et al., 2023.

The subject, cut out of its background, becomes a word and, through convolutions, details beside cross-attention; of
several painted candidates, the one most like the subject is returned. Nothing is learned per subject.
"""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.candidates import nearest
from limner.parts.encoders import alone, clip_global, mean_of, pictures_alone
from limner.parts.fusion import details_of_pixels, local_attention, one_word, words_of_pictures
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs

NAME = "kim_sod_cnn"
SHARES = (3, 6, 10, 12)  # channels of each level, in twelfths of the last's


@method(
    title="SOD + CNN local features",
    venue="Electronics 12(22):4707",
    year=2023,
    scope=("object",),
    full_size={
        "width": 1024,
        "channels": 384,
        "rank": 64,
        "steps": 70_000,
        "local_steps": 200_000,
        "lr": 6.4e-5,
        "batch": 64,
    },
    same=("local", "candidates"),
    source="not found: we read the abstract alone (mdpi.com/2079-9292/12/22/4707); ELITE's (csyxwei/ELITE), "
    "whose two stages and mapper's width it has; channels and rank are ours",
)
def kim_sod_cnn(
    subject: Subject,
    *,
    local: float = 0.8,
    candidates: int = 3,
    width: int = 256,
    channels: int = 96,
    rank: int = 8,
    steps: int = 300,
    local_steps: int = 300,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """A word of the salient object, details of it by convolutions, and the nearest of several candidates.

    Only the abstract was available: the mask of a salient object as the first step, a concept embedding in the prompt,
    local features of a CNN, a filter by similarity. The rest is as in ELITE: keys and values learn with the word
    (low-rank changes of them), then the details, where the loss counts on the subject alone; they are gated by the
    word's attention. The mask is the subject's own or that of the base's segmenter, the similarity CLIP's.

    Settings:
        local: strength of the details during sampling; 0 leaves them out
        candidates: number of candidates for each picture, of which the nearest to the subject is returned
        width: width of the word mapping's hidden layer
        channels: channels of the last convolution, a multiple of 96
        rank: rank of the changes of keys and values
        steps: updates of the first stage of the one-time training, the word
        local_steps: updates of the second stage, the details
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    making = words_of_pictures(subject, alone(mean_of(clip_global)), one_word(subject.noun, width))
    word = changed_states(subject.handle, like=subject.noun, making=making, name=NAME)
    keys = low_rank(rank, "cross_attention_kv", name=f"{NAME}.keys")
    details = local_attention(
        subject,
        pictures_alone(),
        details_of_pixels(tuple(channels * share // 12 for share in SHARES)),
        strength=local,
        name=f"{NAME}.local",
    )
    whole = denoising(pairs(batch=batch, named=subject.handle))
    masked = denoising(pairs(batch=batch, named=subject.handle, masked=True))
    stage = partial(Stage, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(
        says=subject.handle,
        modifiers=(word, keys, details),
        stages=(
            stage((learned(word, keys),), (whole,), steps, lr),
            stage((learned(details),), (masked,), local_steps, lr),
        ),
        painting=Painting(candidates=nearest(candidates, clip_global, word, f"states.{NAME}.features")),
        weights=NAME,
    )
