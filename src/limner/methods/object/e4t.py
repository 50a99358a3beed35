"""E4T, the tuning-encoder — Gal et al., SIGGRAPH 2023.

An encoder trained once turns a picture into a word, a small offset from its class noun, while weight offsets prepare
the denoiser for such words; a few updates on the subject's own pictures do the rest.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_classes, mean_of
from limner.parts.fusion import noise_aware, words_of_pictures
from limner.parts.modifiers import changed_states, changed_weights, low_rank, multiplied
from limner.parts.objectives import denoising, short
from limner.parts.parameters import learned
from limner.parts.sources import pairs, photos


@method(
    title="E4T",
    arxiv="2302.12228",
    scope=("object", "face", "style"),
    full_size={"width": 1280, "lr": 5e-6, "pretrain_steps": 100_000, "pretrain_lr": 1.6e-5, "batch": 2},
    same=("scale", "short_words", "steps", "rank"),
    source="README and encoder.py of mkshing/e4t-diffusion, which is not the authors'; there 16 pictures an update in "
    "tuning as well",
)
def e4t(
    subject: Subject,
    *,
    scale: float = 0.1,
    short_words: float = 0.01,
    width: int = 192,
    steps: int = 15,
    lr: float = 2e-3,
    rank: int = 8,
    pretrain_steps: int = 500,
    pretrain_lr: float = 1e-3,
    batch: int = 4,
) -> Recipe:
    """A word that an encoder makes of CLIP's class tokens, the noisy latents and the time; weights that grow or shrink
    by outer products; then everything, and a low-rank change, tuned.

    The authors tune the whole denoiser on one picture and train on one class of things (faces, cats, art); here the
    whole is a low-rank change, and the encoder knows all classes of its corpus, whose noun each word starts from. They
    train on a picture and itself; here the picture to paint is another of the same subject. The offset's length is
    measured in those of real words. Scale, weights, rates and steps for a full-size base are from
    mkshing/e4t-diffusion, which is not the authors'; there each layer of CLIP has a map of its own, and their mean is
    read, where here one hidden layer reads all of them.

    Settings:
        scale: factor of the encoder's output
        short_words: weight of the offset's squared length in the one-time training; ten times as much in tuning
        width: width of the encoder's hidden layer
        steps: updates
        lr: learning rate
        rank: rank of the low-rank change of attention that is tuned
        pretrain_steps: updates of the one-time training
        pretrain_lr: learning rate of the one-time training
        batch: pictures in an update; eight times as many in the one-time training
    """
    making = words_of_pictures(subject, mean_of(clip_classes), noise_aware(width=width, scale=scale))
    word = changed_states(subject.handle, like=subject.noun, making=making, name="e4t")
    offsets, change = changed_weights(multiplied()), low_rank(rank)
    many, own = pairs(batch=8 * batch, named=subject.handle), photos(subject, batch=batch, seen="all")
    corpus = Stage(
        train=(learned(word), learned(offsets)),
        loss=(denoising(many), short_words * short(many, "word offset")),
        steps=pretrain_steps,
        lr=pretrain_lr,
        weight_decay=0.01,
        warmup=20,
        decay="cosine",
    )
    tuning = Stage(
        train=(learned(word), learned(offsets), learned(change)),
        loss=(denoising(own), 10 * short_words * short(own, "word offset")),
        steps=steps,
        lr=lr,
    )
    return Recipe(says=subject.handle, modifiers=(word, offsets, change), stages=(corpus, tuning), weights="e4t")
