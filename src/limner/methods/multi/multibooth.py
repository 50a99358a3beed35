"""MultiBooth — Zhu et al., AAAI 2025.

A multi-modal encoder reads a subject's pictures and class noun and makes one token, as long as the noun's. It is tuned
for each subject with a low-rank change. Several subjects are painted together by box: in cross-attention, each box
attends through its own subject's change.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import QueryFormer
from limner.parts.fusion import multimodal_word
from limner.parts.modifiers import regional_low_rank
from limner.parts.objectives import denoising, picture_text, squared_length
from limner.parts.parameters import at_rate, learned, parts_of
from limner.parts.sources import PHOTO_TEMPLATES, captioned, photos


@method(
    title="MultiBooth",
    arxiv="2404.14239",
    scope=("multi", "object"),
    full_size={
        "queries": 16,
        "layers": 12,
        "width": 768,
        "hidden": 3072,
        "projector": 3072,
        "encoder_rate": 0.1,
        "align_steps": 250_000,
        "steps": 900,
        "lr": 1e-4,
        "batch": 1,
    },
    same=("rank", "length_weight"),
    source="not published; ours, with the encoder's shape and first training of BLIP-2 (arXiv:2301.12597)",
)
def multibooth(
    subject: Subject,
    *,
    queries: int = 8,
    layers: int = 2,
    width: int = 96,
    hidden: int = 192,
    projector: int = 256,
    rank: int = 4,
    encoder_rate: float = 0.5,
    length_weight: float = 1e-3,
    align_steps: int = 200,
    steps: int = 150,
    lr: float = 2e-3,
    batch: int = 4,
) -> Recipe:
    """A token by a Querying Transformer with adaptive concept normalisation, and a low-rank change of cross-attention.

    The encoder is trained once to align pictures with captions, as BLIP-2's is, and tuned for every subject. Several
    subjects are painted with `paint(regions=...)` and `PaintSettings(compose="attention")` (`--compose attention`):
    one run for all, the regional customisation module. With "blend", every region has a run of its own.

    A concept's file holds the tuned encoder and the features of the pictures rather than the one vector that they
    make: the same token, in more bytes. The authors' encoder also reads the noun by a text encoder of its own, and
    each box has a prompt of its own; here the noun's vectors are the base's, and all boxes read one prompt.

    Settings:
        queries: queries of the encoder, whose mean is the token
        layers: layers of the encoder
        width: width of its hidden states
        hidden: width within its feed-forward layers
        projector: width within its projector
        rank: rank of every change
        encoder_rate: learning rate of the encoder, as a multiple of the changes'
        length_weight: weight of the squared length of the token before it is normalised
        align_steps: updates of the one-time training of the encoder, on pictures and captions
        steps: updates for every subject
        lr: learning rate
        batch: pictures in an update
    """
    former = QueryFormer(queries, layers, width, max(4, width // 64), hidden)
    part = multimodal_word(subject, former, projector, name="multibooth")
    change = regional_low_rank(subject.handle, rank)
    once = Stage(
        train=(learned(part),),
        loss=picture_text(captioned(batch=6 * batch), part, former),
        steps=align_steps,
        lr=1e-3,
        weight_decay=0.01,
        warmup=20,
        decay="cosine",
    )
    encoder = parts_of(part, "queries", "positions", "places", "norm", "words", "layers", "out", "projector")
    source = photos(subject, captions=PHOTO_TEMPLATES, batch=batch, seen="all")
    own = Stage(
        train=(at_rate(encoder_rate, encoder), learned(change)),
        loss=(denoising(source), length_weight * squared_length(source, "customised embedding")),
        steps=steps,
        lr=lr,
    )
    return Recipe(says=subject.handle, modifiers=(part, change), stages=(once, own), weights="multibooth")
