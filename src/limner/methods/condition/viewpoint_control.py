"""Custom Diffusion 360 — Kumari et al., SIGGRAPH Asia 2024.

A subject is learned from pictures with known cameras: beside its word, radiance fields of features inside of the
denoiser render it from the camera that is asked for, while the text describes the rest.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import subject_masks
from limner.parts.fusion import PICTURE, feature_nerf, render_supervision
from limner.parts.modifiers import new_word
from limner.parts.objectives import preserving
from limner.parts.parameters import learned, words
from limner.parts.sources import cubic_times, photos, prior_note


@method(
    title="Custom Diffusion 360",
    arxiv="2404.12333",
    scope=("condition", "object"),
    full_size={
        "blocks": 12,
        "samples": 24,
        "references": 5,
        "width": 640,
        "num_class_pictures": 200,
        "prior_weight": 1.0,
        "steps": 1610,
        "lr": 1e-4,
    },
    same=("colour", "foreground", "background", "drop_image", "drop_text", "fov", "batch"),
    source="configs/train_co3d_concept.yaml and loss.py of the authors' code for rate, steps, samples, references, "
    "dropping, batch of 4 on 4 GPUs and the weights of the losses; blocks, width, fov and prior preservation's are ours",
)
def viewpoint_control(
    subject: Subject,
    *,
    colour: float = 5.0,
    foreground: float = 10.0,
    background: float = 10.0,
    blocks: int = 2,
    samples: int = 8,
    references: int = 3,
    width: int = 32,
    fov: float = 35.0,
    drop_image: float = 0.25,
    drop_text: float = 0.1,
    prior_weight: float = 0.1,
    num_class_pictures: int = 64,
    steps: int = 250,
    lr: float = 5e-4,
    batch: int = 4,
) -> Recipe:
    """A placeholder token with the class noun, and radiance fields of features in transformer blocks.

    `PaintSettings(views={"rex": 90})` turns the subject, away from the first of its pictures; without one it is seen as
    there. Every picture needs its camera (`Subject.of(views=...)`, or a file cameras.json beside the pictures).

    The authors read the references' features in every pass, from references at the same noise; here one pass reads them
    once from clean pictures. Nine tenths of their points of a ray are drawn where density is; here they stand even.
    Their perceptron reads each reference's view by itself and learns how much each counts; here the nearest views count
    most. They take about 50 views. Guidance by text and picture is one, as with them.

    Settings:
        colour: weight of the rendered colours' loss
        foreground: weight of the loss on opacity inside of the subject's mask
        background: weight of the loss on opacity outside of it
        blocks: transformer blocks with a radiance field
        samples: points of a ray
        references: pictures that are read for a view, the nearest
        width: width of the fields
        fov: angle of view of the pictures, degrees
        drop_image: share of rows without the reference images, from 0 to 1
        drop_text: share of rows without a text, from 0 to 1
        prior_weight: weight of the loss on class images; 0 leaves it out
        num_class_pictures: class images that the untouched base paints first
        steps: updates
        lr: learning rate
        batch: pictures of the subject in an update, and as many class images
    """
    word = new_word(subject.handle, like=subject.noun)
    field = feature_nerf(
        subject, subject.handle, blocks=blocks, samples=samples, references=references, width=width, fov=fov
    )
    posed = photos(
        subject,
        batch=batch,
        moves=True,
        masks=subject_masks,
        conditions={PICTURE: lambda base, pixels: pixels},
        drop_image=drop_image,
        drop_text=drop_text,
    )
    own = cubic_times(posed)
    loss = preserving(subject, weight=prior_weight, count=num_class_pictures, batch=batch, own=own)
    rendering = render_supervision(own, colour=colour, foreground=foreground, background=background)
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(word, field),
        stages=(Stage((words(word), learned(field)), (*loss, rendering), steps, lr),),
        notes=prior_note(prior_weight, num_class_pictures),
    )
