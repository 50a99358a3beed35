"""W-Plus-Adapter — Li et al., CVPR 2024.

Trained once: a face's code in the space W+ of a GAN becomes four vectors, read by an attention whose queries are made
of what the attention to the text returned; outside of the face, another code must change nothing. Nothing is learned
per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.augmentations import cut_out
from limner.parts.encoders import gan_latent, mean_of
from limner.parts.fusion import code_tokens, residual_cross_attention
from limner.parts.objectives import denoising, near_base, off_face, sometimes_masked
from limner.parts.parameters import learned, parts_of
from limner.parts.sources import pairs_of_people, references_to_paint


@method(
    title="W-Plus-Adapter",
    arxiv="2311.17461",
    scope=("face",),
    full_size={"face_steps": 100_000, "steps": 100_000, "lr": 1e-4, "batch": 16},
    same=("scale", "disentangle", "preserve"),
    source="train_face.sh and train_wild.sh of csxmli2016/w-plus-adapter, whose batch is that of each of 8 GPUs; steps "
    "are ours",
)
def w_plus_adapter(
    subject: Subject,
    *,
    scale: float = 1.0,
    disentangle: float = 2.0,
    preserve: float = 1.0,
    face_steps: int = 200,
    steps: int = 200,
    lr: float = 1e-3,
    batch: int = 12,
) -> Recipe:
    """W+ codes in residual cross-attention: first on faces alone, then in whole pictures, where masks keep it on them.

    It needs a base with an encoder into W+ of a face GAN (role "w_plus"). In prompts the handle becomes the class noun.
    Stage 1 paints cut-out faces captioned "a photo of a face"; stage 2 whole pictures with their captions, the map of
    codes fixed. The pictures to see are cut around the mask in training; while painting they are read as they are, so
    they should show a face as large. Changed codes move towards other people's in some layers where the authors move
    along their GAN's named directions; edits along such directions while painting are left out, since the base's GAN
    names none.

    Settings:
        scale: strength; 0 is the base
        disentangle: weight of the change of the prediction outside of the face by another code
        preserve: weight of the distance to the base's own prediction
        face_steps: updates on faces alone
        steps: updates on whole pictures
        lr: learning rate of both
        batch: pictures in an update
    """
    adapter = residual_cross_attention(subject, code_tokens(subject, mean_of(gan_latent())), scale)
    seen = pairs_of_people(batch=batch, target="same", masked=True, changes=(cut_out(),))
    faces = references_to_paint(
        pairs_of_people(batch=batch, target="same", masked=True, changes=(cut_out(),), name="faces"),
        "a photo of a face",
    )
    loss = sometimes_masked(seen, share=0.0), disentangle * off_face(seen), preserve * near_base(seen)
    return Recipe(
        says=subject.noun,
        modifiers=(adapter,),
        stages=(
            Stage((learned(adapter),), (denoising(faces),), face_steps, lr, weight_decay=0.01, warmup=20),
            Stage((parts_of(adapter, "query", "key", "value"),), loss, steps, lr, weight_decay=0.01, warmup=20),
        ),
        weights="w_plus_adapter",
    )
