"""Face-Diffuser — Wang et al., CVPR 2024.

Two denoisers, trained once: one paints scenes from text, one paints people from text and a picture. During sampling the
first has the early steps and the second the late ones; in between, each position takes the prediction of the denoiser
to which it matters more. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, each_of
from limner.parts.fusion import fused_words
from limner.parts.guidance import saliency_fusion
from limner.parts.modifiers import branch_low_rank, changed_states, watched_word
from limner.parts.objectives import denoising, localised, sometimes_masked
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people, without_references


@method(
    title="Face-Diffuser",
    arxiv="2311.10329",
    scope=("face",),
    full_size={"rank": 64, "steps": 150_000, "scene_steps": 150_000, "lr": 1e-4, "batch": 32, "scene_batch": 16},
    same=("scene_until", "both_until", "localised_weight"),
    source="scripts of CodeGoat24/Face-diffuser, batches over its 4 GPUs, with 1e-5 for each whole denoiser; rank and "
    "learning rate of the low-rank changes are ours",
)
def face_diffuser(
    subject: Subject,
    *,
    scene_until: float = 0.3,
    both_until: float = 0.6,
    localised_weight: float = 1e-3,
    rank: int = 16,
    steps: int = 250,
    scene_steps: int = 120,
    lr: float = 1e-3,
    batch: int = 16,
    scene_batch: int = 12,
) -> Recipe:
    """A scene denoiser and a subject denoiser, and saliency-adaptive noise fusion between them.

    The subject denoiser is trained as FastComposer is, the scene denoiser on the same captions without references. Each
    of the authors' denoisers is a whole copy of the base; here each is a low-rank change of the base's attention. Their
    pictures show up to four people; here they show one, with the head as the segment, and one subject is painted in a
    picture, since the guidance acts on whole pictures. The scene's prediction is guided away from the negative prompt,
    and the subject's away from the same prompt with the class noun; in a picture without the subject it is guided away
    from the empty prompt. The authors paint at guidance scale 5.

    Settings:
        scene_until: share of sampling, from its start, that the scene denoiser has alone
        both_until: share of sampling, from its start, after which the subject denoiser is alone
        localised_weight: weight of the word's attention outside of the subject's segment
        rank: rank of each of the two changes of the denoiser's attention
        steps: updates of the subject denoiser in the one-time training
        scene_steps: updates of the scene denoiser in the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the subject denoiser
        scene_batch: pictures in an update of the scene denoiser
    """
    making = fused_words(subject, each_of(clip_global))
    word = changed_states(subject.handle, subject.noun, making, name="face_diffuser")
    person = branch_low_rank(rank, ("text", "plain"), shown=True, name="face_diffuser.subject")
    scene = branch_low_rank(rank, ("scene", "negative"), shown=False, name="face_diffuser.scene")
    watched = watched_word(subject.handle)
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", ground="swapped", masked=True,
        drop_image=0.1, drop_text=0.0, drop_both=0.1,
    )  # fmt: skip
    captions = without_references(pairs_of_people(batch=scene_batch, drop_image=0.0, drop_text=0.1, drop_both=0.0))
    of_person = sometimes_masked(seen), localised_weight * localised(seen, watched)
    by_saliency = saliency_fusion(
        begin=round(1000 * (1 - scene_until)), end=round(1000 * (1 - both_until)), scene="scene"
    )
    return Recipe(
        says=subject.handle,
        modifiers=(word, person, scene, watched),
        stages=(
            Stage((learned(word, person),), of_person, steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),
            Stage((learned(scene),), (denoising(captions),), scene_steps, lr, weight_decay=0.01, decay="cosine"),
        ),
        painting=Painting(
            guidance=(by_saliency,),
            branches={
                "scene": lambda prompt: prompt.replace(subject.handle, subject.noun),
                "plain": lambda prompt: (
                    prompt.replace(subject.handle, subject.noun) if subject.handle in prompt else ""
                ),
            },
        ),
        weights="face_diffuser",
    )
