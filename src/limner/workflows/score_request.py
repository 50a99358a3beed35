"""The workflow `score`: from a concept's file to its scorecard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder, check_ours
from limner.errors import InputError

from .events import ConceptScored, Event, PictureScored, RunDone
from .opening import choice_for, open_base, open_encoders, read_concept_choices

if TYPE_CHECKING:
    from pathlib import Path

    from limner.core.concept import Concept

    from .requests import BaseChoice, ScoreRequest


def score_request(request: ScoreRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Score the concept of a request, or given pictures by it. `open_base` may return a base that is open already.

    Raises `InputError` for another number of prompts than of given pictures.
    """
    from limner.core.picture import Pictures, save_sheet

    from .score import score

    sheets = [request.out / name for name in ("with-it.png", "base-alone.png")] if request.out else []
    for path in sheets:
        check_folder(path.parent)
        check_ours(path)
    prompts = _prompts_of_pictures(request) if request.pictures else ()
    (concept,) = yield from read_concept_choices(request.concept)
    base = open_base(choice_for(concept, request.base, trust=request.concept.trust))
    learned, held_out = (images_of(folder) for folder in (request.photos, request.held_out))
    if request.pictures:
        yield from _scored(request, base, concept, prompts, held_out or learned)
        return
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


def _prompts_of_pictures(request: ScoreRequest) -> tuple[str, ...]:
    """A prompt for each given picture; an empty one stands for "a photo of" the subject."""
    count, prompts = len(request.pictures), request.prompts or ("",)
    if len(prompts) not in (1, count):
        raise InputError(f"there are {count} pictures and {len(prompts)} prompts: give one for all, or one for each")
    return prompts * count if len(prompts) == 1 else prompts


def _scored(
    request: ScoreRequest, base: Any, concept: Concept, prompts: Sequence[str], references: Sequence[Any]
) -> Iterator[Event]:
    """Score the given pictures of a request, one after the other."""
    from limner.core.subject import read_picture

    from .picture_scores import picture_scores

    rows: list[dict[str, Any]] = []
    encoders = open_encoders(request.encoders, device=request.base.device)
    for number, (path, prompt) in enumerate(zip(request.pictures, prompts, strict=True)):
        prompt = prompt or f"a photo of {concept.handle}"
        image: Any = read_picture(path)[0].image
        (scores,) = picture_scores(base, concept, [image], [prompt], references=references, encoders=encoders)
        if not scores:
            raise InputError(
                f"nothing can judge pictures of {base.name}: the built-in encoders know toys; name others (--clip, --dino)"
            )
        rows.append({"prompt": prompt, "scores": scores})
        yield PictureScored(number, path, prompt, scores)
    names = sorted({name for row in rows for name in row["scores"]})
    means = {name: round(fmean(row["scores"][name] for row in rows if name in row["scores"]), 4) for name in names}
    lines = [_line(path.name, row["scores"]) for path, row in zip(request.pictures, rows, strict=True)]
    text = "\n".join([*lines, _line("mean", means)])
    yield RunDone({"scored": rows, "mean": means}, text)


def _line(name: str, scores: Mapping[str, float]) -> str:
    return f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in scores.items())}"


def images_of(folder: Path | None) -> list[Any]:
    """The pictures of a file or folder, in any layout that `learn` reads."""
    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    if folder is None:
        return []
    if folder.is_dir() or folder.suffix in (".json", ".toml"):
        return [reference.image for reference in recognised(folder).references]
    return [picture.image for picture in Subject.of(folder, noun="thing", handle="rex").pictures]
