"""Omni-ID — Qian et al., CVPR 2025.

An encoder of any number of photographs of a person. It is trained once with two decoders that reconstruct other
photographs of the person; then it is frozen, and cross-attention reads its tokens through keys and values of its own.
Nothing is learned per subject."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global
from limner.parts.fusion import decoupled_cross_attention, few_to_many, set_tokens
from limner.parts.objectives import denoising
from limner.parts.parameters import part_of, parts_of
from limner.parts.sources import pairs_of_people


@method(
    title="Omni-ID",
    arxiv="2412.09694",
    scope=("face",),
    same=("scale", "references", "encode_steps", "steps", "lr", "batch"),
    source="arXiv:2412.09694, whose authors release no code",
)
def omni_id(
    subject: Subject,
    *,
    scale: float = 1.0,
    references: int = 3,
    encode_steps: int = 200,
    steps: int = 300,
    lr: float = 1e-3,
    batch: int = 16,
) -> Recipe:
    """A fixed number of tokens by learned queries over all photographs' patches, few-to-many training with two
    decoders, and an adapter.

    Only summaries of the paper were available. The authors' decoders are a masked transformer and a flow-matching model
    of pixels and latents at full size, here two small transformers on sixteen patches of a picture; their encoder is a
    vision transformer trained with the decoders, here queries over a frozen CLIP. The decoders stay in the weights'
    file, unused. All numbers are ours.

    Settings:
        scale: strength of the tokens during sampling; 0 is the base
        references: largest number of input photographs of a person in the one-time training
        encode_steps: updates of the encoder's one-time training
        steps: updates of the adapter's one-time training
        lr: learning rate of both
        batch: pictures in an update of both
    """
    tokens = set_tokens(subject, name="omni")
    fusion = decoupled_cross_attention(subject, clip_global, scale=scale, states=tokens)
    stage = partial(Stage, lr=lr, weight_decay=0.01, warmup=20, decay="cosine")
    seen = partial(pairs_of_people, batch=batch, references=references)
    many = seen(drop_image=0.0, drop_text=0.0, drop_both=0.0, name="people to decode")
    return Recipe(
        says=subject.noun,
        modifiers=(fusion,),
        stages=(
            stage((parts_of(fusion, "encoder", "masked", "flow"),), (few_to_many(many, fusion, tokens),), encode_steps),
            stage(
                (part_of(fusion, ".key"), part_of(fusion, ".value"), part_of(fusion, ".onto")),
                (denoising(seen()),),
                steps,
            ),
        ),
        weights="omni_id",
    )
