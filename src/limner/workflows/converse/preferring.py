"""More like this, less like that: a few updates of a concept's own tensors from pairs of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.recipe import Stage


@dataclass(frozen=True)
class PreferenceSettings:
    """How far a concept moves for one sentence."""

    steps: int = 8
    rate: float = 0.05  # learning rate, as a share of that of the method's last stage
    batch: int = 2  # pairs in an update
    beta: float = 2000.0


Pair = tuple["Image.Image", "Image.Image", str]
"""The preferred picture, the other one, and the prompt of both."""


def prefer(
    base: Base, concept: Concept, pairs: Sequence[Pair], *, seed: int = 0, settings: PreferenceSettings | None = None
) -> Concept:
    """The concept after a few updates of Diffusion-DPO (arXiv:2311.12908) on pairs of pictures, the tensors of the
    given one being the fixed reference. It is a new value: the given concept stays, bit for bit.

    Raises `InputError` for a concept whose method trains nothing for a subject, and for one that was merged or
    imported, of which no training is known.
    """
    from limner.engine.checkpoint import finish, run_updates
    from limner.library.opening import adapter_of
    from limner.workflows.learn import check_finite

    settings = settings or PreferenceSettings()
    adapter = adapter_of(concept, base)
    stage = _stage(concept, adapter.recipe.tuning, pairs, settings)
    running = run_updates(base, adapter, (stage,), seed, header={"preference": concept.handle})
    tensors, losses = finish(running)
    own = {
        name: tensor.detach().cpu()
        for name, tensor in tensors.items()
        if name in concept.tensors or name not in adapter.stored or not tensor.equal(adapter.stored[name])
    }
    count = concept.cost.get("preference_steps", 0) + len(losses)
    cost = {**concept.cost, "preference_steps": count}
    changed = replace(concept, tensors={**concept.tensors, **own}, cost=cost, scores={}, sha256="")
    check_finite(changed)
    return changed


def _stage(concept: Concept, stages: Sequence[Stage], pairs: Sequence[Pair], settings: PreferenceSettings) -> Stage:
    """The stage of a preference: what the method's last stage trains, with another objective."""
    from limner.core.recipe import Stage
    from limner.parts.objectives import preference
    from limner.parts.sources import preferred

    if not stages or stages[-1].search or stages[-1].optimizer == "sign":
        raise InputError(
            f"{concept.handle} was made by {concept.method}, which trains no parameters of the subject by gradients, so "
            "no preference can change them: learn the subject by a method that does, such as lora_dreambooth"
        )
    last = stages[-1]
    return Stage(
        train=last.train,
        loss=(preference(preferred(pairs, batch=settings.batch), beta=settings.beta),),
        steps=settings.steps,
        lr=last.lr * settings.rate,
        clip=last.clip,
        after=last.after,
        momentum=1.0,
    )
