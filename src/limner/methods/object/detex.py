"""DETEX — Cai et al., AAAI 2024.

Pose and background of each picture get their own tokens, which small networks make from the picture. The subject's
token learns only the traits that all pictures share, and is enough for a prompt.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import background_masks, clip_global, subject_masks
from limner.parts.modifiers import mapped_words, new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import cross_attention_kv, learned, words
from limner.parts.sources import photos


@method(
    title="DETEX",
    arxiv="2312.11826",
    scope=("object",),
    full_size={"steps": 250, "lr": 2e-5},
    same=("foreground_weight", "background_weight", "batch"),
    source="not published: PrototypeNx/DETEX holds a README alone; those of Custom Diffusion "
    "(arXiv:2212.04488), which trains the same layers",
)
def detex(
    subject: Subject,
    *,
    foreground_weight: float = 0.5,
    background_weight: float = 0.5,
    steps: int = 200,
    lr: float = 1e-3,
    batch: int = 2,
) -> Recipe:
    """A shared word, words of pose and background made from each picture, keys and values of cross-attention.

    The whole picture is reconstructed from all three words, the region of the subject from its word alone, and the
    region of the background from its word alone. Captions of the user's own are those of the whole picture, followed by
    its two words. The authors released no code and no settings. Their loss that localises the words' cross-attention is
    left out, since its form and weight are not published.

    Settings:
        foreground_weight: weight of the subject from its word alone
        background_weight: weight of the background from its word alone
        steps: updates
        lr: learning rate
        batch: pictures in an update, for each of the three losses
    """
    word = new_word(subject.handle, like=subject.noun)
    mapped = mapped_words(subject, ("pose", "background"), clip_global)
    numbers = range(len(subject.pictures))

    def whole(k: int, caption: str = "a photo of {}") -> str:
        return f"{caption} {mapped.name('pose', k)} pose {mapped.name('background', k)} background"

    def background(k: int, _: str = "") -> str:
        return f"a photo of {mapped.name('background', k)} background"

    every = photos(subject, batch=batch, describe=lambda *_: [whole(k) for k in numbers], recaption=whole)
    alone = photos(
        subject, batch=batch, masks=subject_masks, recaption=lambda *_: "a photo of {}", name="photos of the subject"
    )
    behind = photos(
        subject,
        batch=batch,
        masks=background_masks,
        describe=lambda *_: [background(k) for k in numbers],
        recaption=background,
        name="photos of the background",
    )
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(word, mapped),
        stages=(
            Stage(
                train=(words(word), learned(mapped), cross_attention_kv()),
                loss=(
                    denoising(every),
                    foreground_weight * denoising(alone),
                    background_weight * denoising(behind),
                ),
                steps=steps,
                lr=lr,
            ),
        ),
    )
