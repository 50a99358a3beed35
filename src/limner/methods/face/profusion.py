"""ProFusion — Zhou et al., 2023.

An encoder trained once, PromptNet, reads a picture, the noisy latents and the time, and makes words that depend on all
three, without regularisation. A few updates tune it on the subject. During sampling, a fusion stage mixes the subject
into the latents before each step."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_classes, denoiser_levels, mean_of, side_by_side
from limner.parts.fusion import noise_aware, words_of_pictures
from limner.parts.guidance import fusion_stage, subject_and_words
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people, photos


@method(
    title="ProFusion",
    arxiv="2305.13579",
    scope=("face", "object"),
    full_size={"pretrain_lr": 2e-5, "pretrain_steps": 80_000, "batch": 2},
    same=("words", "repeats", "strength", "subject_guidance", "word_guidance", "steps", "lr"),
    source="README, train.py and pipeline of drboog/ProFusion: 8 pictures in an update of pre-training; the learning "
    "rate and updates of tuning are ours",
)
def profusion(
    subject: Subject,
    *,
    words: int = 2,
    repeats: int = 1,
    strength: float = 0.8,
    subject_guidance: float = 3.0,
    word_guidance: float = 3.0,
    steps: int = 30,
    lr: float = 1e-3,
    pretrain_steps: int = 300,
    pretrain_lr: float = 1e-3,
    batch: int = 4,
) -> Recipe:
    """PromptNet without any regularisation, tuned on the subject's pictures, and fusion sampling.

    The authors' network is a copy of the denoiser's encoder half, which reads the reference's latents beside the noisy
    ones and CLIP's hidden states; here it is a perceptron on the features of the base's own encoder half for both, on
    CLIP's class tokens and on the time. As in the paper, words do not start from the class noun. The length of tuning
    in their notebooks is not recorded; 30 updates are ours.

    Settings:
        words: number of vectors that a picture becomes
        repeats: rounds of fusion before each sampling step; 0 leaves the fusion stage out
        strength: factor of the words in those rounds
        subject_guidance: guidance scale of the prompt with the subject against the negative prompt
        word_guidance: guidance scale of the prompt without the subject
        steps: updates
        lr: learning rate
        pretrain_steps: updates of the one-time training
        pretrain_lr: learning rate of the one-time training
        batch: pictures in an update; the one-time training has four times as many
    """
    look = mean_of(side_by_side((clip_classes, denoiser_levels)))
    mapper = noise_aware(start="any word", words=words, scale=1.0, handle=subject.handle)
    word = changed_states(subject.handle, subject.noun, words_of_pictures(subject, look, mapper), name="profusion")
    seen = pairs_of_people(batch=4 * batch, named=subject.handle, target="same", drop_text=0.0)
    own = photos(subject, batch=batch, seen="all")
    plain = {"words": lambda prompt: prompt.replace(subject.handle, subject.noun)}
    return Recipe(
        says=subject.handle,
        modifiers=(word,),
        stages=(
            Stage(
                (learned(word),),
                (denoising(seen),),
                pretrain_steps,
                pretrain_lr,
                warmup=20,
                decay="cosine",
                average=0.99,
            ),
            Stage((learned(word),), (denoising(own),), steps, lr),
        ),
        painting=Painting(
            guidance=(subject_and_words(subject_guidance, word_guidance),),
            latents=(fusion_stage(subject.handle, repeats=repeats, strength=strength),),
            branches=plain,
        ),
        weights="profusion",
    )
