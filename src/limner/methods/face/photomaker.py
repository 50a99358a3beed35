"""PhotoMaker — Li et al., CVPR 2024.

Trained once on several pictures of each person: the class noun is repeated in the prompt, once for each picture, and
the hidden state of each copy is merged with one picture; the stack of these states is the identity. Nothing is learned
per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import noise_around
from limner.parts.encoders import clip_global, each_of
from limner.parts.fusion import fused_words
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import sometimes_masked
from limner.parts.parameters import at_rate, learned
from limner.parts.sources import pairs_of_people


@method(
    title="PhotoMaker",
    arxiv="2312.04461",
    scope=("face",),
    full_size={"references": 4, "rank": 64, "rest_rate": 0.1, "lr": 1e-4, "batch": 48, "steps": 100_000},
    same=("wait", "masked", "released"),
    source="start_merge_step and LoRA of TencentARC/PhotoMaker's pipeline; the training code is not released: rates, "
    "batch and steps are ours",
)
def photomaker(
    subject: Subject,
    *,
    wait: float = 0.2,
    masked: float = 0.5,
    references: int = 3,
    rank: int = 16,
    rest_rate: float = 1.0,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 16,
    released: bool = False,
) -> Recipe:
    """A stacked identity embedding and a low-rank change of attention; the first sampling steps read plain text.

    Input pictures and target picture always differ. In some input pictures noise replaces everything around the head,
    as it does body and background with the authors. As in their code, the noun is repeated among the tokens before the
    text encoder. The authors train the last layers of CLIP; here CLIP stays frozen, since its features of a subject are
    stored. The InsightFace embedding of their second version is left out, and one CLIP embedding takes the place of
    their two projections, unless their weights are used.

    Settings:
        wait: share of sampling, from its start, that reads plain text (delayed subject conditioning)
        masked: share of rows with a loss inside of the subject's mask alone
        references: largest number of input pictures of a person in the one-time training
        rank: rank of the change of the denoiser's attention
        rest_rate: learning rate of all other weights, as a multiple of the low-rank change's
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
        released: the authors' own weights from `limner import FILE`, with their own image encoder and both projections
    """
    merged = fused_words(subject, each_of(clip_global), stacked=True, wait=wait, tower="bicubic" if released else "")
    stack = changed_states(subject.handle, subject.noun, merged, name="photomaker")
    change = low_rank(rank, name="photomaker.denoiser")
    seen = pairs_of_people(
        batch=batch, references=references, named=subject.handle, masked=True, spare=8,
        drop_image=0.1, drop_text=0.0, drop_both=0.1, changes=(noise_around(0.5),),
    )  # fmt: skip
    train = learned(change), at_rate(rest_rate, learned(stack))
    once = Stage(
        train, (sometimes_masked(seen, share=masked),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"
    )
    return Recipe(
        says=subject.handle,
        modifiers=(stack, change),
        stages=() if released else (once,),
        weights="photomaker.released" if released else "photomaker",
    )
