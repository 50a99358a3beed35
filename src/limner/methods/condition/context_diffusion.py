"""Context Diffusion — Najdenkoska et al., ECCV 2024.

Context pictures show how things look and a query picture where they are: tokens of the context are aggregated and stand
behind those of the text, and a control branch reads the query. Trained once; text, context, or both may be given.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.fusion import aggregated_tokens, context_tokens
from limner.parts.modifiers import control_branch, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import any_map, pairs

QUERY = "query"
"""Name of the condition: a map of the picture to paint."""


@method(
    title="Context Diffusion",
    arxiv="2312.03584",
    scope=("condition", "object", "style"),
    reads=("query",),
    full_size={"references": 3, "rank": 64, "steps": 100_000, "lr": 1e-4, "batch": 256},
    source="not published; ours",
)
def context_diffusion(
    subject: Subject,
    *,
    references: int = 2,
    rank: int = 8,
    steps: int = 400,
    lr: float = 5e-4,
    batch: int = 8,
) -> Recipe:
    """The subject's pictures as context, and the condition "query" as structure where it is given.

    In prompts the handle becomes the class noun. A picture's tokens are all of CLIP's last layer through a linear map;
    the context is their mean over the pictures, so that their order does not count. The query is a map of any kind:
    edges, soft edges, depth or the subject's mask. The authors have published no code: a low-rank change of
    cross-attention is our choice for the side that reads the joint context, and the linear map and the mean are ours.
    They also learn the way back, from pictures to maps; here pictures are painted from maps alone.

    Settings:
        references: context pictures of a row in training, at most; 1 to this many are read in an update
        rank: rank of the change of cross-attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    context = context_tokens(subject, aggregated_tokens(subject))
    branch = control_branch(QUERY, optional=True)
    reading = low_rank(rank, "cross_attention", name="context.reading")
    source = pairs(
        batch=batch, references=references, conditions={QUERY: any_map}, drop_image=0.1, drop_text=0.4, drop_both=0.05
    )
    stage = Stage(
        train=(learned(context, branch, reading),),
        loss=(denoising(source),),
        steps=steps,
        lr=lr,
        weight_decay=0.01,
        warmup=20,
        decay="cosine",
    )
    return Recipe(says=subject.noun, modifiers=(context, branch, reading), stages=(stage,), weights="context_diffusion")
