"""Scores of single pictures, quick enough to stand beside every picture that is painted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.evaluation.encoders import bench_encoders
from limner.evaluation.score import fidelity_role

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.subject import Subject
    from limner.evaluation.encoders import Encoders


def picture_scores(
    base: Base,
    concept: Concept | Subject | None,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    *,
    references: Sequence[Image.Image] = (),
    encoders: Encoders | None = None,
) -> list[dict[str, float]]:
    """Scores of each picture; an empty table for each where nothing can judge this base's pictures.

    likeness: 0 for another individual of the class, 1 for a picture as like the references as these are among
        themselves. Only with references.
    prompt_accuracy: mean probability, as the base's own judge reads it, of the attributes that the prompt asks for, in
        [0, 1]. Missing where the prompt asks for nothing that the judge reads, and on bases without a judge.
    clip_t: cosine of the picture and the prompt as CLIP sees them
    copy: cosine to the nearest reference as DINO sees it; 1 is a copy. Only with references.

    Args:
        base: the base that painted them.
        concept: the concept that they show, or its subject; None for pictures of the base alone.
        images: the pictures.
        prompts: the prompt of each.
        references: real pictures of the subject, held-out ones best.
        encoders: encoders by role; None takes the base's own judges.
    """
    if len(images) != len(prompts):
        raise InputError(f"there are {len(images)} pictures and {len(prompts)} prompts; expected one each")
    encoders = encoders or bench_encoders(base.capabilities.bench)
    if not encoders or not images:
        return [{} for _ in images]
    handle, noun, kind = _about(concept)
    plain = [prompt.replace(handle, noun) if handle else prompt for prompt in prompts]
    columns = _likenesses(base, images, references, encoders, noun, kind) if references else {}
    columns |= _accuracies(base, images, plain, encoders)
    return [
        {name: round(value, 4) for name, values in columns.items() if (value := values[k]) is not None}
        for k in range(len(images))
    ]


def _about(concept: Concept | Subject | None) -> tuple[str, str, str]:
    """Handle, class noun and kind of the subject of a concept."""
    if concept is None:
        return "", "", "object"
    about = concept.subject if hasattr(concept, "subject") else concept.card()
    return concept.handle, str(about["noun"]), str(about["kind"])


def _likenesses(
    base: Base,
    images: Sequence[Image.Image],
    references: Sequence[Image.Image],
    encoders: Encoders,
    noun: str,
    kind: str,
) -> dict[str, Sequence[float | None]]:
    """The columns about the subject."""
    from limner.evaluation.metrics.copying import nearest_reference
    from limner.evaluation.metrics.fidelity import similarity

    see = encoders[fidelity_role(encoders, kind)].pictures
    real = see(references)
    floor, top = _anchors(base, real, see, noun)
    columns: dict[str, Sequence[float | None]] = {
        "likeness": ((similarity(see(images), real) - floor) / (top - floor)).tolist()
    }
    if "dino" in encoders:
        dino = encoders["dino"].pictures
        columns["copy"] = nearest_reference(dino(images), dino(references)).tolist()
    return columns


def _anchors(
    base: Base, real: Tensor, see: Callable[[Sequence[Image.Image]], Tensor], noun: str
) -> tuple[float, float]:
    """Cosines to the references that likeness calls 0 and 1: of other individuals of the class where the base's bench
    has some, else 0; and of the references among themselves, or 1 for a single one."""
    from limner.evaluation.metrics.fidelity import similarity
    from limner.evaluation.tradeoff import LEAST_GAP, ceiling

    try:
        top = ceiling(real, real[:0])
    except InputError:  # a single reference, or copies of one
        top = 1.0
    bench = base.capabilities.bench
    others = bench.others(noun) if bench is not None and bench.others is not None else ()
    floor = float(similarity(see(others), real).mean()) if others else 0.0
    return (floor, top) if top - floor >= LEAST_GAP else (0.0, top)


def _accuracies(
    base: Base, images: Sequence[Image.Image], plain: Sequence[str], encoders: Encoders
) -> dict[str, Sequence[float | None]]:
    """The columns about the prompts, which have the class noun in the handle's place."""
    from limner.core.pixels import to_tensor
    from limner.evaluation.metrics.alignment import clip_t

    columns: dict[str, Sequence[float | None]] = {}
    bench = base.capabilities.bench
    if bench is not None and bench.obeyed is not None:
        columns["prompt_accuracy"] = bench.obeyed(to_tensor(images, base.picture_size), plain)
    if "clip" in encoders:
        clip = encoders["clip"]
        columns["clip_t"] = clip_t(clip.pictures(images), clip.texts(plain)).tolist()
    return columns
