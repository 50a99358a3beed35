"""StyleAdapter — Wang et al., 2023.

Trained once: patches of several style pictures, whose places in the picture are shuffled, become a few tokens, which
cross-attention reads on a path of its own beside the text. Without places and class token the tokens hold little of
what the pictures show. Nothing is learned per style."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import unplaced_patches
from limner.parts.fusion import decoupled_cross_attention, style_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_styles


@method(
    title="StyleAdapter",
    arxiv="2309.01770",
    scope=("style",),
    full_size={"layers": 3, "width": 1024, "steps": 300_000, "lr": 1e-5},
    same=("scale", "queries", "references", "batch"),
    source="abstracts of both versions of arXiv:2309.01770 confirm the ingredients; layers, queries and learning rate are "
    "recalled, not read there; width, steps, references and batch are not published; ours",
)
def styleadapter(
    subject: Subject,
    *,
    scale: float = 1.0,
    queries: int = 8,
    layers: int = 2,
    width: int = 96,
    references: int = 3,
    steps: int = 600,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """Two-path cross-attention: text, plus a learned weight times the style's tokens.

    In prompts the handle becomes the class noun, which is best what the picture shows. Shuffled places would make the
    tokens hang on the draw in sampling; there, all patches have the mean of the places, and the tokens are the same for
    every order. The picture to paint is among its own references in training, mixed with others of its style where the
    corpus has any. The learned weight is one number for each layer. The paper's full text was not available.

    Settings:
        scale: strength of the style's path; 0 is the base
        queries: tokens that the pictures become
        layers: layers of the transformer that makes them
        width: width of that transformer, a multiple of 4
        references: pictures that are mixed in the one-time training
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    tokens = style_tokens(subject, queries, layers, width)
    fusion = decoupled_cross_attention(subject, unplaced_patches, scale=scale, states=tokens, weighted=True)
    seen = pairs_of_styles(batch=batch, references=references, target="same")
    return Recipe(
        says=subject.noun,
        modifiers=(fusion,),
        stages=(
            Stage((learned(fusion),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
        ),
        weights="styleadapter",
    )
