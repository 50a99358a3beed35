"""DemoCaricature — Chen et al., CVPR 2024.

A word and, in chosen cross-attention layers, an explicit rank-one edit of keys and values at that word. Both are
learned from one portrait with random patches hidden. A sketch gives the shape while painting."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.modifiers import explicit_rank_one, new_word
from limner.parts.objectives import denoising, near_anchor
from limner.parts.parameters import at_rate, learned, words
from limner.parts.sources import FACE_TEMPLATES, photos, with_hidden_patches

STYLE_TEMPLATES = ("a picture in the style of {}", "a drawing in the style of {}", "a painting in the style of {}")


@method(
    title="DemoCaricature",
    arxiv="2312.04364",
    scope=("face", "condition", "style"),
    full_size={"batch": 1, "steps": 300},
    same=("hidden_share", "patches", "similarity", "edited_blocks", "anchor_weight", "word_rate", "lr"),
    source="not published; ours: the authors' training is not released. That all cross-attention layers are edited for "
    "an identity is from their sampling code",
)
def democaricature(
    subject: Subject,
    *,
    hidden_share: float = 0.25,
    patches: int = 4,
    similarity: str = "covariance",
    edited_blocks: str = "",
    anchor_weight: float = 0.1,
    word_rate: float = 0.2,
    steps: int = 200,
    lr: float = 1e-2,
    batch: int = 4,
) -> Recipe:
    """A new word, learned keys and values at its hidden state, random masks, and the class noun as an anchor.

    One portrait is enough. A style is learned in the same way as a subject of kind "style", in the up blocks, and a
    prompt may name a person and a style at once: edits of two words add up. The sketch is read by a published
    T2I-Adapter, as with the authors: `limner paint --control edges=FOLDER --condition edges=FILE`. Theirs is left out
    in the last 35 % of the sampling times; here it acts in all. Hidden patches are zero in the latents. Concept
    regularisation is the squared difference between hidden states of a prompt with the word and with the class noun;
    the authors' own form could not be read.

    Settings:
        hidden_share: probability that a patch of a picture is hidden, from 0 to below 1
        patches: patches along a side of the picture
        similarity: share of the edit of each hidden state: "covariance", as in the formula of the edit, or "cosine", as
            in the authors' sampling code, at the word alone
        edited_blocks: blocks of the network that are edited, of down, mid and up, with spaces between; empty: all of
            them for an identity, up for a style
        anchor_weight: weight of the distance to the class noun
        word_rate: learning rate of the word as a share of that of the edit
        steps: updates
        lr: learning rate of the edit
        batch: pictures in an update
    """
    style = subject.kind == "style"
    chosen = edited_blocks.split() or (["up"] if style else ["down", "mid", "up"])
    word = new_word(subject.handle, like=subject.noun)
    edit = explicit_rank_one(subject.handle, subject.noun, similarity=similarity, blocks=tuple(chosen))
    shown = photos(subject, captions=STYLE_TEMPLATES if style else FACE_TEMPLATES, batch=batch, flip=0.5)
    own = with_hidden_patches(shown, share=hidden_share, patches=patches)
    anchor = near_anchor(own, word=subject.handle, anchors=(subject.noun,))
    return Recipe(
        says=subject.handle,
        modifiers=(word, edit),
        stages=(
            Stage(
                train=(at_rate(word_rate, words(word)), learned(edit)),
                loss=(denoising(own), anchor_weight * anchor),
                steps=steps,
                lr=lr,
            ),
        ),
    )
