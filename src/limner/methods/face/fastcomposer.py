"""FastComposer — Xiao et al., IJCV 2024.

Trained once: an image embedding is merged into the subject's word after the text encoder, and the word's
cross-attention is localised on the subject, so that several subjects do not mix. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, each_of
from limner.parts.fusion import fused_words
from limner.parts.modifiers import changed_states, low_rank, watched_word
from limner.parts.objectives import localised, sometimes_masked
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="FastComposer",
    arxiv="2305.10431",
    scope=("face", "multi"),
    full_size={"wait": 0.2, "rank": 64, "lr": 1e-4, "batch": 128, "steps": 150_000},
    same=("localised_weight", "released"),
    source="scripts/run_training.sh of mit-han-lab/fastcomposer, with 1e-5 for the whole denoiser; rank and learning "
    "rate of the low-rank change are ours",
)
def fastcomposer(
    subject: Subject,
    *,
    wait: float = 0.3,
    localised_weight: float = 1e-3,
    rank: int = 16,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
    released: bool = False,
) -> Recipe:
    """The class noun merged with CLIP's embedding of the picture by two perceptrons; the first sampling steps read
    plain text.

    The authors train the whole denoiser and CLIP's last two layers. Here low-rank changes of the denoiser's attention
    are trained, and CLIP stays frozen, since its features of a subject are stored with the concept. Their pictures show
    up to four people, each with a segment; here they show one, with the head as its segment, and several subjects are
    learned one by one. As in their code, the input is the target picture, on another background, and for half of the
    rows the loss counts inside of the segment alone.

    Settings:
        wait: share of sampling, from its start, that reads plain text (delayed subject conditioning)
        localised_weight: weight of the word's attention outside of the subject's segment
        rank: rank of the change of the denoiser's attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
        released: the authors' own weights from `limner import FILE`: their whole denoiser and image encoder
    """
    merged = fused_words(subject, each_of(clip_global), wait=wait, tower="bilinear" if released else "")
    word = changed_states(subject.handle, subject.noun, merged, name="fastcomposer")
    change, watched = low_rank(rank, name="fastcomposer.denoiser"), watched_word(subject.handle)
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", ground="swapped", masked=True,
        drop_image=0.1, drop_text=0.0, drop_both=0.1,
    )  # fmt: skip
    loss = sometimes_masked(seen), localised_weight * localised(seen, watched)
    once = Stage((learned(word, change),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine")
    return Recipe(
        says=subject.handle,
        modifiers=(word,) if released else (word, change, watched),
        stages=() if released else (once,),
        weights="fastcomposer.released" if released else "fastcomposer",
    )
