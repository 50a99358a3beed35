"""Uni-ControlNet — Zhao et al., NeurIPS 2023.

Two adapters for all conditions, trained once and apart from each other: a local one reads every map of structure,
stacked, and modulates a copy of the encoder; a global one turns a picture's embedding into four tokens behind the text.
"""

from typing import Any

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, mean_of
from limner.parts.fusion import context_tokens, looked_tokens
from limner.parts.modifiers import stacked_control
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import STRUCTURE, pairs


@method(
    title="Uni-ControlNet",
    arxiv="2305.16322",
    scope=("condition", "object"),
    reads=("depth", "edges", "lines", "segmentation"),
    full_size={"unit": 64, "hidden": 1024, "steps": 100_000, "lr": 1e-5, "batch": 4},
    same=("strength", "tokens"),
    source="configs and src/train of the authors' code for unit, tokens, rate, batch of a GPU and steps of each adapter; "
    "strength and hidden are ours",
)
def uni_controlnet(
    subject: Subject,
    *,
    strength: float = 0.75,
    tokens: int = 4,
    hidden: int = 256,
    unit: int = 8,
    steps: int = 400,
    lr: float = 5e-4,
    batch: int = 8,
) -> Recipe:
    """A local adapter for stacked maps, and a global adapter for the subject's pictures.

    In prompts the handle becomes the class noun. The conditions "edges", "lines" (soft edges), "depth" and
    "segmentation" are read where they are given, in any combination; absent ones are zeros. Without any, and with
    strength 0, it is the base. The global condition is the mean embedding of the subject's pictures; in training it is
    that of the target itself, as with the authors.

    The authors stack seven maps (Canny, MLSD, HED, sketch, pose, depth, segmentation); here four, which a corpus gives
    without further detectors. Depth is learned where the corpus knows it. The copy keeps the affine part of the
    normalisations that are modulated, so that it starts as the encoder; the authors' normalise without one. At strength
    0 their code reads tokens of zeros, here the text alone is read.

    Settings:
        strength: factor of the global tokens
        tokens: vectors that the embedding becomes
        hidden: width of the perceptron that makes them
        unit: unit of the widths of the maps' features, which are 3, 4, 6 and 8 units
        steps: updates of the one-time training of each adapter
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    local = stacked_control(tuple(STRUCTURE), unit)
    states = looked_tokens(subject, mean_of(clip_global), tokens=tokens, hidden=hidden, name="global")
    whole = context_tokens(subject, states, strength)
    # rows without references are those of the local adapter, half of them without a text
    maps = pairs(batch=batch, conditions=STRUCTURE, drop_image=0.5, drop_text=0.0, drop_both=0.5, name="maps")
    seen = pairs(batch=batch, target="same", drop_image=0.0, drop_text=0.5, drop_both=0.0)
    about: dict[str, Any] = {"steps": steps, "lr": lr, "weight_decay": 0.01, "warmup": 20}
    return Recipe(
        says=subject.noun,
        modifiers=(local, whole),
        stages=(
            Stage((learned(local),), (denoising(maps),), decay="cosine", **about),
            Stage((learned(whole),), (denoising(seen),), decay="cosine", **about),
        ),
        weights="uni_controlnet",
    )
