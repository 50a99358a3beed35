"""CustomContrast — Chen et al., AAAI 2025.

Every attention layer reads its own tokens of the subject, made from the pictures and the class noun. Training, done
once, makes them similar for two pictures of one subject and different for two subjects, so that they do not encode
view, pose and background.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import QueryFormer, clip_places, each_of
from limner.parts.fusion import layered_attention
from limner.parts.objectives import appearance_contrast, denoising, semantic_contrast
from limner.parts.parameters import learned
from limner.parts.sources import pairs


@method(
    title="CustomContrast",
    arxiv="2409.05606",
    scope=("object",),
    full_size={"layers": 12, "width": 768, "heads": 12, "hidden": 3072, "steps": 1_000_000, "lr": 1e-4, "batch": 64},
    same=("scale", "tokens", "location", "semantic", "appearance"),
    source="not published; the shape of BLIP-2's Querying Transformer (arXiv:2301.12597), trained as "
    "IP-Adapter is (arXiv:2308.06721)",
)
def custom_contrast(
    subject: Subject,
    *,
    scale: float = 1.0,
    tokens: int = 2,
    location: float = 0.5,
    semantic: float = 0.02,
    appearance: float = 0.05,
    layers: int = 2,
    width: int = 96,
    heads: int = 4,
    hidden: int = 192,
    steps: int = 450,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """Tokens for each layer from one Querying Transformer over CLIP's patch tokens and the class noun, through keys and
    values of their own; two contrastive losses between pictures of one subject and others. With both weights at 0 this
    is a plain adapter.

    Only the abstract and citing papers were available; there is no code. Taken from there: a space of words for each
    layer, both contrasts, suppression outside of the subject by time. Ours are the architecture of the encoder, the
    weights, the class text as the text of the semantic contrast, and the noun's own attention map as the guide of the
    suppression.

    Settings:
        scale: strength of the tokens; 0 is the base
        tokens: number of tokens for each attention layer
        location: strength, at the end of sampling, of the limit of tokens to the noun's attention; 0 is no limit
        semantic: weight of the contrast between pictures and class texts
        appearance: weight of the contrast between pictures, layer by layer
        layers: layers of the Querying Transformer
        width: width of its hidden states
        heads: heads of its attention
        hidden: width within its feed-forward layers
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training, two of each subject
    """
    former = QueryFormer(layers=layers, width=width, heads=heads, hidden=hidden)
    seen = each_of(clip_places)
    fusion = layered_attention(subject, seen, former, tokens, scale, location, name="custom_contrast")
    corpus = pairs(batch=batch, named=subject.handle, alike=2)
    loss = (denoising(corpus), semantic * semantic_contrast(corpus), appearance * appearance_contrast(corpus))
    return Recipe(
        says=subject.handle,
        modifiers=(fusion,),
        stages=(Stage((learned(fusion),), loss, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="custom_contrast",
    )
