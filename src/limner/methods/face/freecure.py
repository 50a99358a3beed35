"""FreeCure — Cai et al., NeurIPS 2025.

Training-free, on top of a model that paints faces: every picture is also painted without the identity, and
self-attention takes the attributes of the prompt (glasses, hair, expressions) from that picture."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.attention import foundation_attention
from limner.parts.encoders import clip_global, each_of
from limner.parts.fusion import fused_words
from limner.parts.modifiers import changed_states, low_rank

ATTRIBUTES = (
    *(
        "glasses",
        "sunglasses",
        "hat",
        "cap",
        "crown",
        "scarf",
        "headphones",
        "necklace",
        "earrings",
        "beard",
        "moustache",
    ),
    *("hair", "curly", "bald", "blond", "smiling", "laughing", "sad", "angry", "surprised"),
)


@method(
    title="FreeCure",
    arxiv="2411.15277",
    scope=("face",),
    same=("strength", "wait", "rank", "released"),
    source="arXiv:2411.15277, whose numbers could not be read: strength and wait are ours",
)
def freecure(
    subject: Subject, *, strength: float = 1.0, wait: float = 0.3, rank: int = 16, released: bool = False
) -> Recipe:
    """FastComposer as the host model, a parallel stream without identity, and attention to that stream at the positions
    of attributes.

    The authors paint both pictures first, find attributes by face parsing, and paint again; here both are painted in
    parallel, and the positions of attributes come from the cross-attention to their words in the identity-free picture.
    Their last stage, which inverts the result and paints it again under prompts for expressions, needs a second
    sampling and is left out: expressions are attributes like the others. The host model is FastComposer with its
    weights unchanged.

    Settings:
        strength: weight of the identity-free picture in self-attention; 0 is the host model
        wait: share of sampling, from its start, in which the host model reads plain text
        rank: rank of the host model's change of the denoiser
        released: FastComposer's weights by its authors, from `limner import FILE`
    """
    making = fused_words(subject, each_of(clip_global), wait=wait, tower="bilinear" if released else "")
    word = changed_states(subject.handle, subject.noun, making, name="fastcomposer")
    change = low_rank(rank, name="fastcomposer.denoiser")
    return Recipe(
        says=subject.handle,
        modifiers=(word, *(() if released else (change,)), foundation_attention(ATTRIBUTES, strength)),
        painting=Painting(parallel_stream=lambda prompt: prompt.replace(subject.handle, subject.noun)),
        weights="fastcomposer.released" if released else "fastcomposer",
    )
