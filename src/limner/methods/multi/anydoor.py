"""AnyDoor — Chen et al., CVPR 2024.

Trained once: cross-attention reads a self-supervised encoder's tokens of the subject in place of the text, and a
control branch reads a collage, the scene with the subject's high-frequency details put into the user's box. Nothing is
learned per subject.
"""

from typing import Any

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import relit
from limner.parts.encoders import patch_tokens
from limner.parts.fusion import collage_network, tokens_for_text
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import Hole, jittered, mostly_at, pairs


@method(
    title="AnyDoor",
    arxiv="2307.09481",
    scope=("multi", "object", "condition"),
    reads=("source", "mask"),
    full_size={"rank": 64, "lr": 1e-5, "batch": 16, "steps": 100_000},
    same=("control_scale", "evenly", "rough", "blank"),
    source="run_train_anydoor.py and datasets/base.py of ali-vilab/AnyDoor, whose batch is that of each GPU; rank, steps "
    "and blank are ours",
)
def anydoor(
    subject: Subject,
    *,
    control_scale: float = 1.0,
    evenly: float = 0.3,
    rough: float = 0.7,
    blank: float = 0.2,
    rank: int = 8,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """The subject at a place of a given scene, which is the picture to paint onto.

    There is no text input: prompts say nothing but that the subject is painted. The scene and the place come from
    `limner paint --onto SCENE --where MASK --start 0`, which paints a square around the mask and puts it back, so that
    all other pixels stay; from `Canvas`; or from the conditions "source" and "mask". A region of the handle is a place
    too. Without a scene all around is grey, without a place the subject goes to the middle; for that, a share of the
    training has no scene, which is ours. Several subjects are painted one after the other, as with the authors.

    The first of the subject's pictures is seen. The authors' encoder is DINOv2-g, here the base's self-supervised one.
    They train the decoder half of the denoiser, here a low-rank change of it is trained; the encoder half stays.

    Two pictures of one subject stand for the authors' frames of one clip, and have mostly late times, at which the
    shape is decided; a picture that is its own reference has mostly early times, at which details are. A corpus says
    nothing of clips, so nothing tells a slow clip, whose times they draw evenly, from a coarse one. Their random crops
    of the target, 1.3 to 3 times the box, are left out: the corpus's pictures are seen whole.

    Settings:
        control_scale: strength of the detail extractor, the control branch on the collage
        evenly: share of rows whose times are drawn from all; the others' are late for pairs and early for pictures
        rough: share of rows in which the place is a rough outline of the subject, not a box
        blank: share of rows in which the scene is not shown
        rank: rank of the change of the denoiser's decoder
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training, half of them of each kind
    """
    network = collage_network(tokens_for_text(subject, patch_tokens), control_scale)
    decoder = low_rank(rank, "decoder", name="anydoor.decoder")
    about: dict[str, Any] = {
        "batch": max(1, batch // 2),
        "hole": Hole((1.1, 1.2), rough, blank),
        "changes": (jittered(turn=0.0, zoom=0.0), relit()),
        "drop_text": 0.0,
        "drop_both": 0.0,
    }
    clips = mostly_at(pairs(name="pairs", **about), 0.5, 1.0, evenly=evenly)
    pictures = mostly_at(pairs(target="same", name="pictures", **about), 0.0, 0.5, evenly=evenly)
    return Recipe(
        says=subject.noun,
        modifiers=(network, decoder),
        stages=(
            Stage(
                train=(learned(network, decoder),),
                loss=(0.5 * denoising(clips), 0.5 * denoising(pictures)),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="anydoor",
    )
