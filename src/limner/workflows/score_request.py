"""The workflow `score`: from a concept's file to its scorecard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder, check_ours

from .events import ConceptScored, Event, RunDone
from .opening import choice_for, open_base, open_encoders, read_concept_choices

if TYPE_CHECKING:
    from pathlib import Path

    from .requests import BaseChoice, ScoreRequest


def score_request(request: ScoreRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Score the concept of a request. `open_base` may return a base that is open already."""
    from limner.core.picture import Pictures, save_sheet

    from .score import score

    sheets = [request.out / name for name in ("with-it.png", "base-alone.png")] if request.out else []
    for path in sheets:
        check_folder(path.parent)
        check_ours(path)
    (concept,) = yield from read_concept_choices(request.concept)
    base = open_base(choice_for(concept, request.base, trust=request.concept.trust))
    learned, held_out = (images_of(folder) for folder in (request.photos, request.held_out))
    card = score(
        base,
        concept,
        training=learned,
        held_out=held_out,
        prompts=request.prompts,
        seeds=tuple(range(request.seed, request.seed + request.count)),
        encoders=open_encoders(request.encoders, device=request.base.device),
    )
    for path, pictures in zip(sheets, (card.pictures, card.base), strict=False):
        save_sheet(Pictures(pictures).grid(request.count), path)
    yield ConceptScored(card.brief, str(card.diagnosis))
    yield RunDone(card.record, str(card))


def images_of(folder: Path | None) -> list[Any]:
    """The pictures of a file or folder, in any layout that `learn` reads."""
    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    if folder is None:
        return []
    if folder.is_dir() or folder.suffix in (".json", ".toml"):
        return [reference.image for reference in recognised(folder).references]
    return [picture.image for picture in Subject.of(folder, noun="thing", handle="rex").pictures]
