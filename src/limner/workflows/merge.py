"""`merge`: several concepts into one that answers to all their handles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.headers import MERGED, MOST_MEMBERS
from limner.core.subject import BESIDE
from limner.core.versions import versions
from limner.core.wording import counted
from limner.errors import InputError, UnknownName, WrongBase
from limner.library.apart import check_words
from limner.library.concepts import read_concepts
from limner.library.opening import adapter_of
from limner.parts.merging import MERGINGS, Member, member_of, stored_of

from .learn import check_finite

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from limner.core.base import Base


def merge(
    base: Base, concepts: Sequence[Concept | Path | str], *, by: str = "average", weights: Sequence[float] = ()
) -> Concept:
    """Merge several concepts into one without training: it answers to the handle of each, and each has its own words.

        both = limner.merge(base, ["rex.safetensors", "bo.safetensors"], by="gradient-fusion")
        limner.paint(base, "<rex> and <bo> on the beach", concepts=[both])

    Args:
        base: the base that all concepts were learned on.
        concepts: two or more, or their files; the order matters for "continual".
        by: a name of `limner.parts.merging.MERGINGS`: average, weighted, closed-form, gradient-fusion, neurons,
        orthogonal, continual.
        weights: for "weighted", one for each concept.

    Raises `InputError` for concepts with equal handles or tokens and for concepts that do not merge that way, and
    `WrongBase` for a concept of another base.
    """
    if by not in MERGINGS:
        raise UnknownName("way of merging", by, MERGINGS)
    if weights and by != "weighted":
        raise InputError(f"weights are for merging by 'weighted', not by {by!r}")
    known, began = read_concepts(concepts, None), time.monotonic()
    _check_together(base, known)
    adapters = [adapter_of(concept, base) for concept in known]
    check_words(base, [answer for adapter in adapters for answer in adapter.answers])
    members = [member_of(adapter, base) for adapter in adapters]
    _check_own(members)
    merging = MERGINGS[by](weights) if by == "weighted" else MERGINGS[by]()
    change: dict[str, Tensor] = merging(members, base)
    tensors = stored_of(base, {name: value for name, value in change.items() if bool(value.any())})
    for member in members:
        tensors |= member.own
    merged = _concept(known, members, tensors, by, weights)
    merged.cost.update(_cost(tensors, time.monotonic() - began))
    check_finite(merged)
    return merged


def _concept(
    known: Sequence[Concept], members: Sequence[Member], tensors: dict[str, Tensor], by: str, weights: Sequence[float]
) -> Concept:
    first = known[0]
    settings: dict[str, Any] = {"by": by, **{f"weight_{k}": float(weight) for k, weight in enumerate(weights)}}
    entries = [entry for concept, member in zip(known, members, strict=True) for entry in _entries(concept, member)]
    return Concept(
        handle=first.handle,
        method=MERGED,
        settings=settings,
        base=dict(first.base),
        subject=first.subject,
        seed=first.seed,
        tensors=tensors,
        versions=versions(),
        members=tuple(entries),
        trusted=all(concept.trusted for concept in known),
    )


def _entries(concept: Concept, member: Member) -> list[dict[str, Any]]:
    """The header entries of a concept: one, or several for a concept that is a merge itself."""
    if concept.members:
        return [dict(entry) for entry in concept.members]
    names = ("handle", "method", "settings", "subject", "seed", "method_sha256")
    return [{**{name: getattr(concept, name) for name in names}, "keeps": list(member.keeps)}]


def _cost(tensors: dict[str, Tensor], seconds: float) -> dict[str, float]:
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    count = sum(tensor.numel() for tensor in tensors.values())
    return {"seconds": round(seconds, 2), "bytes": size, "parameters": count}


def _check_together(base: Base, concepts: Sequence[Concept]) -> None:
    """Raise `InputError` or `WrongBase` unless there are two concepts or more, of this base, with different handles."""
    if len(concepts) < 2:
        raise InputError(f"merging needs two concepts or more, not {len(concepts)}")
    for concept in concepts:
        if concept.subject.get(BESIDE):
            raise InputError(
                f"{concept.handle} was learned together with {concept.handles[1]} in one concept, which cannot be merged: "
                "merge concepts of one subject each"
            )
        if concept.base["fingerprint"] != base.fingerprint:
            raise WrongBase(
                f"{concept.handle} was learned on {concept.base['name']} (fingerprint "
                f"{concept.base['fingerprint']}), and this is {base.name} "
                f"(fingerprint {base.fingerprint}): only concepts of one base can be merged"
            )
    handles = [handle for concept in concepts for handle in concept.handles]
    twice = [handle for k, handle in enumerate(handles) if handle in handles[:k]]
    if twice:
        raise InputError(f"two of these concepts answer to {twice[0]}; learn one of them again under another --name")
    if len(handles) > MOST_MEMBERS:
        raise InputError(f"{counted(len(handles), 'subject')} are too many for one concept; {MOST_MEMBERS} is the most")


def _check_own(members: Sequence[Member]) -> None:
    """Raise `InputError` where two concepts have a tensor of the same name that cannot be merged."""
    owner_of: dict[str, str] = {}
    for member in members:
        for name in member.own:
            if name in owner_of:
                raise InputError(
                    f"{owner_of[name]} and {member.handle} both hold {name}, and one would be lost; paint with both "
                    "concepts at once (on the command line: --with FILE FILE)"
                )
            owner_of[name] = member.handle
