"""Conditions of paintings: checked before the work is queued, so that a picture of edges is not sent in vain."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limner.bases.common.extra_channels import read_by_base
from limner.bases.common.loading import facts_of
from limner.core.headers import MERGED
from limner.core.wording import listed
from limner.errors import InputError
from limner.methods import card, methods
from limner.workflows.requests import BaseChoice

from .tables import Concept

COMPUTED = ("edges", "lines", "source")
"""Conditions that are computed from a picture without a network."""


@dataclass(frozen=True)
class Networks:
    """The networks that a server's operator adds to its bases. Clients name conditions, never a folder.

    controls: condition -> folder of the ControlNet or T2I-Adapter that reads it
    estimators: condition -> folder of the network that computes it from a picture
    """

    controls: Mapping[str, str] = field(default_factory=dict)
    estimators: Mapping[str, str] = field(default_factory=dict)

    def computed_for(self, base: str) -> tuple[str, ...]:
        """Conditions that this server computes from a picture, for paintings on a base of this name."""
        return tuple(dict.fromkeys((*COMPUTED, *facts_of(base).estimators, *self.estimators)))


NONE = Networks()


def read_by(concept: Concept) -> tuple[str, ...] | None:
    """The conditions that a concept reads, after the cards of its methods; None where a method is not limner's own, so
    that nothing is known before it is opened."""
    header = concept.header or {}
    method = header.get("method") or concept.method
    names = [str(each.get("method", "")) for each in header.get("members", ())] if method == MERGED else [method]
    if any(".py" in name for name in names):
        return None
    known = methods()
    return tuple(dict.fromkeys(one for name in names if name in known for one in card(known[name]).reads))


def networks_for(
    given: Collection[str], computed: Sequence[str], concepts: Sequence[Concept], choice: BaseChoice, networks: Networks
) -> dict[str, Any]:
    """The fields of a request to paint that name the server's networks for these conditions.

    given: names of the conditions that are given as pictures
    computed: names of those that are computed from a picture
    concepts: the concepts that are painted with
    choice: the base
    networks: the server's

    Raises `InputError` for a condition that nothing reads, and for one that this server does not compute.
    """
    computable = networks.computed_for(choice.name)
    for name in computed:
        if name not in computable:
            raise InputError(
                f"this server computes {listed(computable)} of a picture, not {name!r}: send a picture of it as "
                f"the condition {name}"
            )
    wanted = sorted({*given, *computed})
    reads = [read_by(concept) for concept in concepts] + [read_by_base(choice.name)]
    own = {name for names in reads if names is not None for name in names}
    if None not in reads:
        _check_read(wanted, own, concepts, choice, networks)
    of_base = set(reads[-1] or ())
    if of_base & set(wanted) and (missing := sorted(of_base - set(wanted))):
        others = listed(sorted(of_base & set(wanted)))
        raise InputError(f"{choice.name} reads the condition {missing[0]!r} beside {others}: give a picture of it, too")
    controls = {name: networks.controls[name] for name in wanted if name in networks.controls and name not in own}
    estimators = {name: networks.estimators[name] for name in computed if name in networks.estimators}
    return {**({"controls": controls} if controls else {}), **({"estimators": estimators} if estimators else {})}


def _check_read(
    wanted: Sequence[str], own: Collection[str], concepts: Sequence[Concept], choice: BaseChoice, networks: Networks
) -> None:
    known = sorted({*own, *networks.controls})
    unread = [name for name in wanted if name not in known]
    if not unread:
        return
    whose = listed([choice.name, *(concept.handle for concept in concepts)])
    others = f"they read {listed(known)}" if known else "they read none"
    able = sorted(name for name, function in methods().items() if unread[0] in card(function).reads)
    advice = f"paint with a likeness learned by {' or '.join(able[:4])}, or " if able else ""
    raise InputError(
        f"nothing reads the condition {unread[0]!r} among {whose}: {others}. Leave it out, {advice}start the server with "
        f"a control branch for it (limner studio --control {unread[0]}=FOLDER)"
    )
