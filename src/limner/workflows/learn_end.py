"""The last part of the workflow `learn`: scores, previews, page and certificate of a trained concept."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from limner.core.interrupts import breaking

from .events import CheckDone, ConceptCertified, ConceptSaved, ConceptScored, Event, Message, PreviewsPainted
from .learn_files import PAGE, SHEET
from .preview_prompts import preview_prompts

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.picture import Pictures
    from limner.evaluation.score import Scorecard

    from .learn_plan import LearnRun


def keep_best(run: LearnRun, concept: Concept) -> Generator[Event, None, Concept]:
    """Return the best state of the training where the run keeps the best, and save it in the place of the last."""
    judge = run.judge
    keeper = run.watches.keeper
    if keeper is None or judge is None or "kept_after" in concept.scores:
        return concept
    yield Message("scoring the states of the training")
    lines: list[str] = []
    with breaking(run.watches.at_break):
        concept = keeper.best(concept, lambda c: _harmonic(judge(c)), say=lines.append)
    yield from map(Message, lines)
    concept.save(run.target, overwrite=True)
    yield ConceptSaved(run.target, concept.cost)
    return concept


def _harmonic(card: Scorecard) -> float:
    return card.tradeoff.harmonic if card.tradeoff is not None else -1.0


def score_concept(run: LearnRun, concept: Concept) -> Generator[Event, None, tuple[Concept, Scorecard | None]]:
    """Return the concept with its scores, and the scorecard."""
    if run.judge is None:
        return concept, None
    yield Message("scoring")
    with breaking(run.watches.at_break):
        card = run.judge(concept)
    concept = concept.scored({"with it": card.brief})
    concept.save(run.target, overwrite=True)
    yield ConceptScored(concept.scores, str(card.diagnosis))
    return concept, card


def paint_previews(run: LearnRun, concept: Concept, card: Scorecard | None) -> Iterator[Event]:
    """Paint previews, and write their sheet and the page."""
    from limner.core.picture import Pictures, save_sheet

    from .page import write_page
    from .paint import paint

    request, paths = run.request, []
    pictures: Pictures = Pictures([])
    if request.preview:
        prompts = preview_prompts(run.subject)
        with breaking(run.watches.at_break):
            pictures = paint(run.base, prompts, concepts=[concept], count=request.preview, seed=request.seed)
        paths = pictures.save(run.page, overwrite=True)
        save_sheet(pictures.grid(request.preview), run.page / SHEET)
    write_page(run.page / PAGE, concept, subject=run.subject, pictures=pictures, card=card, overwrite=True)
    yield PreviewsPainted(run.page / PAGE, tuple(paths))


def certify_concept(run: LearnRun, concept: Concept) -> Generator[Event, None, str]:
    """Return the failed checks with their remedies; empty where none failed, or no check is wanted."""
    from .certify import certify

    if not run.request.check:
        return ""
    with breaking(run.watches.at_break):
        certificate = certify(run.base, concept, seed=run.request.seed)
    for check in certificate.checks:
        yield CheckDone(check.what, check.ok, check.finding)
    yield ConceptCertified(certificate.ok, certificate.dtype, certificate.failure)
    return certificate.failure
