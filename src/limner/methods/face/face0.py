"""Face0 — Valevski et al., SIGGRAPH Asia 2023.

Trained once: a face's embedding becomes three tokens that replace the last ones of the prompt. During sampling, the
prediction from face and text together is mixed with the predictions from each alone. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Painting, Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import face_embedding, mean_of
from limner.parts.fusion import last_tokens
from limner.parts.guidance import mixed_conditions
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="Face0",
    arxiv="2306.06638",
    scope=("face",),
    same=("tokens", "face", "text", "rank", "steps", "lr", "batch"),
    source="arXiv:2306.06638, whose authors release no code: weights of the conditions, learning rate and batch are "
    "not "
    "published",
)
def face0(
    subject: Subject,
    *,
    tokens: int = 3,
    face: float = 0.2,
    text: float = 0.2,
    rank: int = 16,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """Tokens of a face in the place of the prompt's last ones, and three conditions in every sampling step.

    The authors train the whole denoiser, here a low-rank change of its attention is trained. In prompts the handle is
    the class noun. There is no released code to verify the weights of the conditions: 0.2 each for face and text alone
    are ours, as are learning rate and batch. As with the authors, the input face is cut from the target picture.

    Settings:
        tokens: number of tokens that the face becomes
        face: weight of the prediction from the face alone; face and text together have the rest to 1
        text: weight of the prediction from the text alone
        rank: rank of the change of the denoiser's attention
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    making = last_tokens(subject, mean_of(face_embedding), count=tokens)
    word = changed_states(subject.handle, subject.noun, making, name="face0")
    change = low_rank(rank, name="face0.denoiser")
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", drop_image=0.1, drop_text=0.1, drop_both=0.1
    )
    branches = {
        "face": lambda prompt: subject.handle if subject.handle in prompt else prompt,
        "words": lambda prompt: prompt.replace(subject.handle, subject.noun),
    }
    return Recipe(
        says=subject.handle,
        modifiers=(word, change),
        stages=(
            Stage(
                (learned(word, change),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"
            ),
        ),
        painting=Painting(guidance=(mixed_conditions({"face": face, "words": text}),), branches=branches),
        weights="face0",
    )
