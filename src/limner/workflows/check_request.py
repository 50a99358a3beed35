"""The workflow `check`: from a concept's file to its certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .events import CheckDone, ConceptCertified, Event, RunDone
from .opening import choice_for, open_base, read_concept_choices

if TYPE_CHECKING:
    from .requests import BaseChoice, CheckRequest


def check_request(request: CheckRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Certify the concept of a request. `open_base` may return a base that is open already."""
    from .certify import certify

    (concept,) = yield from read_concept_choices(request.concept)
    base = open_base(choice_for(concept, request.base, trust=request.concept.trust))
    certificate = certify(base, concept, steps=request.steps, seed=request.seed, any_base=request.any_base)
    for check in certificate.checks:
        yield CheckDone(check.what, check.ok, check.finding)
    yield ConceptCertified(certificate.ok, certificate.dtype, certificate.failure)
    rows = [{"what": c.what, "ok": c.ok, "finding": c.finding} for c in certificate.checks]
    yield RunDone(
        {"ok": certificate.ok, "dtype": certificate.dtype, "checks": rows}, str(certificate), certificate.failure
    )
