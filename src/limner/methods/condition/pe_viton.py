"""PE-VITON — Zhang et al., 2023.

A garment is put on a person in two stages that are trained once: the first controls the shape of the clothed region by
the garment's outline, the second guides its texture by the garment's picture. Nothing is learned per garment.
"""

from typing import Any

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import patch_tokens
from limner.parts.fusion import SILHOUETTE, collage_network, tokens_for_text
from limner.parts.guidance import between
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import beginning, learned
from limner.parts.sources import Hole, pairs_of_garments


@method(
    title="PE-VITON",
    arxiv="2312.15480",
    scope=("condition",),
    reads=("source", "mask"),
    full_size={"rank": 64, "lr": 1e-5, "batch": 16, "shape_steps": 50_000, "steps": 50_000},
    same=("shape_scale", "texture_guidance", "rough"),
    source="not published beyond the abstract, and there is no code; ours",
)
def pe_viton(
    subject: Subject,
    *,
    shape_scale: float = 1.0,
    texture_guidance: float = 1.0,
    rough: float = 0.5,
    rank: int = 8,
    shape_steps: int = 200,
    steps: int = 200,
    lr: float = 1e-3,
    batch: int = 8,
) -> Recipe:
    """A shape control module on the garment's outline; a texture guided module on its picture; two stages of training.

    The subject is the garment, the first of its pictures with its mask. The person is the condition "source" of
    `paint`, and the clothed region is the condition "mask" (`limner try-on PERSON GARMENT --where MASK`). The region is
    hidden from the shape module, a control branch that reads the person and, in the box of the region, the outline of
    the garment. The texture module reads the garment on a ground of its mean colour, as tokens of a self-supervised
    encoder in place of the text, so that the outline and the texture are inputs apart. Prompts say nothing.

    Only the abstract could be read, so all of this but the two modules, their order and their tasks is our choice. The
    paper's human parsing and pose are not inputs here: no base comes with networks for them, and the user's mask and
    the visible rest of the person say where the body is. Its adaptive matching of garment and body is the box and what
    the branch learns. The survey calls the method tuned for each subject, its card pre-trained in stages, as here.

    Settings:
        shape_scale: strength of the shape control module
        texture_guidance: scale of the guidance away from no garment, in place of the base's; 1 is none
        rough: share of rows in which the clothed region is a rough outline, not a box
        rank: rank of the change of the denoiser's decoder in the second stage
        shape_steps: updates of the first stage, which trains the shape module without texture
        steps: updates of the second stage, which trains the texture module
        lr: learning rate of both stages
        batch: pictures in an update of both stages
    """
    tokens = tokens_for_text(subject, patch_tokens, filled=True)
    network = collage_network(tokens, shape_scale, look=SILHOUETTE)
    decoder = low_rank(rank, "decoder", name="pe_viton.decoder")
    about: dict[str, Any] = {"batch": batch, "hole": Hole((1.0, 1.1), rough), "drop_text": 0.0, "drop_both": 0.0}
    shape = pairs_of_garments(name="shapes of garments", drop_image=1.0, **about)
    texture = pairs_of_garments(name="textures of garments", masked=True, **about)
    course: dict[str, Any] = {"lr": lr, "weight_decay": 0.01, "warmup": 20, "decay": "cosine"}
    return Recipe(
        says=subject.noun,
        modifiers=(network, decoder),
        stages=(
            Stage(train=(beginning(network, "control."),), loss=(denoising(shape),), steps=shape_steps, **course),
            Stage(
                train=(beginning(network, "tokens."), learned(decoder)),
                loss=(denoising(texture),),
                steps=steps,
                **course,
            ),
        ),
        painting=Painting(guidance=(between("negative", scale=texture_guidance),)),
        weights="pe_viton",
    )
