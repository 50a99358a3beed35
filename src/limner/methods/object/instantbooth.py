"""InstantBooth — Shi et al., CVPR 2024.

Trained once: an encoder that turns the mean of the subject's pictures into a word before the class noun, and adapter
layers in which the latents attend to patches of the pictures. Nothing is learned per subject.
"""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import all_of, alone, clip_depths, clip_global, mean_of
from limner.parts.fusion import gated_attention, one_word, words_of_pictures
from limner.parts.modifiers import changed_states
from limner.parts.objectives import denoising
from limner.parts.parameters import at_rate, learned, part_of
from limner.parts.sources import jittered, pairs

DEPTHS = (0.0, 1 / 2, 1.0)  # depths in CLIP, side by side in a patch token


@method(
    title="InstantBooth",
    arxiv="2304.03411",
    scope=("object", "face"),
    full_size={"width": 320, "hidden": 768, "steps": 70_000, "lr": 6.4e-5, "batch": 64},
    same=("beta", "token_norm"),
    source="not published; those of ELITE's first stage (csyxwei/ELITE), which maps a picture to a word too; "
    "widths are ours",
)
def instantbooth(
    subject: Subject,
    *,
    beta: float = 1.0,
    token_norm: float = 0.0,
    width: int = 48,
    hidden: int = 64,
    steps: int = 400,
    lr: float = 1e-3,
    batch: int = 24,
) -> Recipe:
    """A word of CLIP's mean embedding of the subject alone, and gated self-attention to its patches.

    There is no code. The authors train both encoders whole, here they are CLIP's, frozen, each with layers of its own
    behind it, and a patch is what CLIP has of it at three depths. Their target is the masked picture itself, as they
    have no pairs; here it is another picture of the subject. That beta is made smaller and the word shortened while
    painting, to let the text speak, is the paper's; by how much is not known to us, and by default neither is done.
    An adapter layer reads and moves the hidden states as cross-attention's norm passes them on, where the authors' lies
    before that norm: the text is asked with the sum of both rather than with its norm.

    Settings:
        beta: strength of the adapter layers during sampling; 0 leaves them out
        token_norm: length of the word during sampling, in mean lengths of the vocabulary's words; 0 leaves it as it is
        width: width of the adapter layers' attention, an even number
        hidden: width of the features that they read
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    making = words_of_pictures(subject, alone(mean_of(clip_global)), one_word("a", norm=token_norm), like="a")
    word = changed_states(subject.handle, like="a", making=making, name="instantbooth")
    look, name = alone(all_of(clip_depths(DEPTHS))), "instantbooth.adapter"
    patches = gated_attention(subject, look, strength=beta, width=width, hidden=hidden, name=name)
    loss = denoising(pairs(batch=batch, named=f"{subject.handle} {{noun}}", changes=(jittered(),)))
    train = learned(word, patches), at_rate(10.0, part_of(patches, "gamma"))
    return Recipe(
        says=f"{subject.handle} {subject.noun}",
        modifiers=(word, patches),
        stages=(Stage(train, (loss,), steps, lr, weight_decay=0.01, warmup=20, decay="cosine"),),
        weights="instantbooth",
    )
