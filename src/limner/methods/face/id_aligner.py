"""ID-Aligner — Chen et al., 2024.

Feedback for any host, an identity adapter or a person's LoRA: pictures are painted, a recogniser and a judge of
structure reward them, and the gradient passes the one step that ended the painting and the decoder. An adapter is
aligned once, a LoRA for each subject."""

from functools import partial

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.errors import InputError
from limner.parts.encoders import face_embedding, mean_of
from limner.parts.fusion import decoupled_cross_attention, looked_tokens
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising, face_worths, reward_feedback
from limner.parts.parameters import learned, parts_of
from limner.parts.sources import FACE_TEMPLATES, pairs_of_people, photos, prompts

SCENES = (*FACE_TEMPLATES, "a photo of {} on the beach", "a photo of {} in the city", "a photo of {} in the snow")


@method(
    title="ID-Aligner",
    arxiv="2404.15449",
    scope=("face",),
    full_size={"path": 40, "rank": 64, "lr": 1e-4, "reward_lr": 1e-5, "steps": 100_000, "reward_steps": 10_000},
    same=("host", "scale", "tokens", "identity", "structure", "appeal", "late", "batch"),
    source="path and late of arXiv:2304.05977, on which arXiv:2404.15449 stands; its authors release no code, and all "
    "else is ours",
)
def id_aligner(
    subject: Subject,
    *,
    host: str = "adapter",
    scale: float = 1.0,
    tokens: int = 4,
    rank: int = 8,
    identity: float = 0.1,
    structure: float = 0.02,
    appeal: str = "",
    path: int = 8,
    late: float = 0.25,
    steps: int = 350,
    lr: float = 1e-3,
    reward_steps: int = 40,
    reward_lr: float = 1e-4,
    batch: int = 8,
) -> Recipe:
    """A host taught by denoising, then by denoising and the rewards of what it paints.

    The identity reward is the base's recogniser, which finds the face by itself. The authors train two more models: one
    on people's preferences, which they do not release and which is left out unless a function of yours stands for it;
    and one on bodies whose pose was distorted, for which CLIP stands here, asked in every update for the way from
    references bent out of shape to the same as they are. Numbers are ours.

    Settings:
        host: "adapter": tokens of a face, aligned once; "lora": low-rank changes, aligned on the subject
        scale: strength of the adapter
        tokens: vectors that a face becomes, of the adapter
        rank: of the low-rank changes
        identity: weight of the recogniser's reward
        structure: weight of the reward for an undistorted structure
        appeal: function (base, pictures, prompts) -> numbers as FILE.py:function, or "clip"; empty: none
        path: sampling steps of a picture that is rewarded
        late: share of these steps, the last ones, in one of which it is
        steps: updates of the host
        lr: learning rate of the host
        reward_steps: updates with rewards
        reward_lr: learning rate of those
        batch: pictures in an update; three times as many for the adapter, half as many to be rewarded
    """
    feedback = partial(reward_feedback, worths=face_worths(identity, structure, appeal), steps=path, late=late)
    few = max(1, batch // 2)
    if host == "lora":
        change, own = low_rank(rank), photos(subject, captions=FACE_TEMPLATES, batch=batch)
        asked = prompts([text.format(subject.handle) for text in SCENES], batch=few, subject=subject)
        first = Stage((learned(change),), (denoising(own),), steps, lr)
        second = Stage((learned(change),), (denoising(own), feedback(asked)), reward_steps, reward_lr)
        says = rare_word_and(subject.noun, handle=subject.handle)
        return Recipe(says=says, modifiers=(change,), stages=(first, second))
    if host != "adapter":
        raise InputError(f"the host is 'adapter' or 'lora', not {host!r}")
    states = looked_tokens(subject, mean_of(face_embedding), tokens=tokens, name="face")
    fusion = decoupled_cross_attention(subject, face_embedding, scale=scale, states=states)
    seen = pairs_of_people(batch=3 * batch)
    shown = pairs_of_people(batch=few, name="people to paint", drop_image=0.0, drop_text=0.0, drop_both=0.0)
    first = Stage((learned(fusion),), (denoising(seen),), steps, lr, weight_decay=0.01, warmup=20, decay="cosine")
    aligned = denoising(shown), feedback(shown)
    second = Stage((parts_of(fusion, "key", "value"),), aligned, reward_steps, reward_lr)
    return Recipe(says=subject.noun, modifiers=(fusion,), stages=(first, second), weights="id_aligner")
