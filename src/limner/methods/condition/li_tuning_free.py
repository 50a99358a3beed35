"""TIGIC (tuning-free image customisation with image and text guidance) — Li et al., ECCV 2024.

Nothing is trained: the subject is pasted into a scene, scene, collage and subject are inverted, and the box is sampled
again with the self-attention of scene and collage, while the prompt changes the subject's attributes.
"""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.parts.modifiers import onto_scene, scene_around, scene_collage


@method(
    title="TIGIC",
    arxiv="2403.12658",
    scope=("condition", "object"),
    reads=("source", "mask"),
    same=("background_until", "reference_from", "reference_until"),
    source="run.py of zrealli/TIGIC; nothing is trained",
)
def li_tuning_free(
    subject: Subject,
    *,
    background_until: float = 0.5,
    reference_from: float = 0.2,
    reference_until: float = 0.5,
) -> Recipe:
    """A collage; three inversions by DPM-Solver++ of order 2; self-attention logits mixed before the softmax.

    The scene is the condition "source" of `paint` and the box is around the condition "mask" (`limner swap PHOTO --with
    rex.safetensors --where MASK`). Without a mask the subject goes where the base's segmenter finds one, or to the
    middle; without a scene all around is grey. In prompts the handle becomes the class noun. After each step the
    scene's latents stay outside of the box, so that the result there is what the autoencoder gives back.

    The sampler is DPM-Solver++ unless another one is named; the authors take 20 steps and a guidance of 5. Their scene
    has an empty prompt, as here. They invert the reference with guidance, here it has none. Their reference is the
    whole picture of the subject; here it is the subject alone, which is also what is pasted.

    Settings:
        background_until: share of the steps in which the scene's logits take part
        reference_from: share of the steps from which the collage's logits take part
        reference_until: share of the steps up to which they do
    """
    collage = scene_collage(subject, background_until, reference_from, reference_until)
    return Recipe(
        says=subject.noun,
        modifiers=(collage,),
        painting=Painting(latents=(onto_scene(collage),), after_steps=(scene_around(collage),), sampler="dpm"),
        notes=("only the first picture is used",) if len(subject.pictures) > 1 else (),
    )
