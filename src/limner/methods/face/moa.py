"""Mixture-of-Attention — Wang et al., SIGGRAPH Asia 2024.

Trained once: every attention layer gets a personal branch beside the frozen prior branch, and a router that weighs the
two at each position; the prior branch preserves the rest of the picture. Nothing is learned per subject."""

from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.parts.encoders import clip_global, mean_of
from limner.parts.fusion import attention_mixture, router_prior
from limner.parts.modifiers import watched_word
from limner.parts.objectives import localised, sometimes_masked
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(
    title="Mixture-of-Attention",
    arxiv="2404.11565",
    scope=("face", "multi"),
    same=("prior_alone", "routing", "localised_weight", "rank", "steps", "lr", "batch"),
    source="arXiv:2404.11565, whose authors release no code",
)
def moa(
    subject: Subject,
    *,
    prior_alone: bool = False,
    routing: float = 0.1,
    localised_weight: float = 1e-3,
    rank: int = 16,
    steps: int = 300,
    lr: float = 1e-3,
    batch: int = 10,
) -> Recipe:
    """Two attention branches, a router and a subject token that depends on picture, time and layer.

    The authors' personal branch is a whole copy of the layers; here it is the layers' own weights with a low-rank
    change. No code is released, so the sizes of the router, the weights of the losses, learning rate and batch are
    ours. Several subjects are learned one by one.

    Settings:
        prior_alone: use the prior branch alone during sampling, which is the base to the bit
        routing: weight of the router's personal share outside of the subject
        localised_weight: weight of the word's attention outside of the subject
        rank: rank of the change that makes the personal branch
        steps: updates of the one-time training
        lr: learning rate of the one-time training
        batch: pictures in an update of the one-time training
    """
    mixture = attention_mixture(subject, mean_of(clip_global), rank=rank, prior_alone=prior_alone, name="moa")
    seen = pairs_of_people(
        batch=batch, named=subject.handle, target="same", ground="swapped", masked=True, drop_image=0.1, drop_text=0.0,
        drop_both=0.1,
    )  # fmt: skip
    drawn = localised_weight * localised(seen, watched_word(subject.handle))
    return Recipe(
        says=subject.handle,
        modifiers=(mixture,),
        stages=(
            Stage(
                train=(learned(mixture),),
                loss=(sometimes_masked(seen, share=1.0), routing * router_prior(seen), drawn),
                steps=steps,
                lr=lr,
                weight_decay=0.01,
                warmup=20,
                decay="cosine",
            ),
        ),
        weights="moa",
    )
