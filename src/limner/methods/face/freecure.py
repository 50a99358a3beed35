"""FreeCure — Cai et al., NeurIPS 2025.

Training-free, on a model that paints faces: every picture is painted once more without the identity, and attributes
that only that one shows as the prompt asks are looked up there, in self-attention."""

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
    same=("strength", "wait", "rank"),
    source="arXiv:2411.15277, whose numbers could not be read: strength and wait are ours",
)
def freecure(subject: Subject, *, strength: float = 1.0, wait: float = 0.3, rank: int = 16) -> Recipe:
    """FastComposer as the host, beside it the same picture without identity, and attention to that where attributes
    are.

    The authors paint both pictures first, find attributes by face parsing, and paint again; here both are painted side
    by side and attributes are where the identity-free one reads their words. Their last stage, which inverts the result
    and paints it anew under other prompts for expressions, takes a second painting and is not here: expressions are
    attributes like the others. The host is FastComposer's weights, which it leaves as they are.

    Settings:
        strength: how many times the identity-free picture counts in self-attention; 0 is the host
        wait: share of painting in which the host reads plain text
        rank: of the host's change of the denoiser
    """
    making = fused_words(subject, each_of(clip_global), wait=wait)
    word = changed_states(subject.handle, subject.noun, making, name="fastcomposer")
    change = low_rank(rank, name="fastcomposer.denoiser")
    return Recipe(
        says=subject.handle,
        modifiers=(word, change, foundation_attention(ATTRIBUTES, strength)),
        painting=Painting(parallel_stream=lambda prompt: prompt.replace(subject.handle, subject.noun)),
        weights="fastcomposer",
    )
