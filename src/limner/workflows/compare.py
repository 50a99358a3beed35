"""The workflow `compare`: several concepts and the plain base on the same prompts and seeds, with scores."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.wording import counted, shortened
from limner.errors import InputError, PromptError

from .controls import PAUSE, STOP, Controls
from .events import CellPainted, Event, Message, Paused, RunDone
from .opening import choice_for, open_base, open_encoders, read_concept_choices
from .score_request import images_of

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.picture import Picture

    from .requests import BaseChoice, CompareRequest

PLAIN = "plain base"
"""Name of the row without a concept."""


@dataclass(frozen=True)
class Row:
    """A row of the comparison: a concept, or the plain base."""

    name: str
    concept: Concept | None

    def text(self, template: str, noun: str) -> str:
        """A prompt of this row, from one with {} for the subject."""
        from limner.evaluation.datasets import fill_prompt

        return fill_prompt(template, [noun]) if self.concept is None else template.replace("{}", self.concept.handle)


def compare_request(
    request: CompareRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Paint and score the cells of a comparison, row by row. `open_base` may return a base that is open already. A
    pause or stop that `controls` carry takes effect once the pictures of the current row and seed are painted; after a
    pause, the same request with `resume` paints the others.

    Raises `PromptError` for a prompt that does not name the subject, and `WrongBase` for a concept of another base.
    """
    check_folder(request.out)
    if not request.concepts or not request.prompts or not request.seeds:
        raise InputError("a comparison needs a concept, a prompt and a seed, or more of each")
    concepts = yield from read_concept_choices(*request.concepts)
    templates = [template_of(prompt, concepts) for prompt in request.prompts]
    base = open_base(choice_for(concepts[0], request.base, trust=request.concepts[0].trust))
    rows = [Row(str(choice.path), concept) for choice, concept in zip(request.concepts, concepts, strict=True)]
    rows = [*([Row(PLAIN, None)] if request.plain else []), *rows]
    yield Message(f"{counted(len(rows), 'row')} of {counted(len(templates) * len(request.seeds), 'picture')}")
    cells: list[CellPainted] = []
    controls = controls or Controls()
    for part in _parts(request, base, rows, templates, str(concepts[0].subject["noun"])):
        cells += part
        yield from part
        if len(cells) == len(rows) * len(templates) * len(request.seeds):
            break
        if controls.take(PAUSE):
            yield Paused(done=len(cells))
            return
        if controls.take(STOP):
            yield Message(f"stopped after {counted(len(cells), 'picture')}")
            break
    table = [_summary(row, [cell for cell in cells if cell.row == k]) for k, row in enumerate(rows)]
    yield RunDone({"rows": table, "cells": [cell.record for cell in cells]}, "\n".join(map(_line, table)))


def template_of(prompt: str, concepts: Sequence[Concept]) -> str:
    """The prompt with {} for the subject, which it names by {} or by the handle of any of the concepts."""
    for concept in concepts:
        prompt = prompt.replace(concept.handle, "{}")
    if "{}" not in prompt:
        handles = " or ".join(dict.fromkeys(concept.handle for concept in concepts))
        raise PromptError(f"the prompt {shortened(prompt)!r} does not name the subject; write {{}} or {handles} in it")
    return prompt


def _parts(
    request: CompareRequest, base: Any, rows: Sequence[Row], templates: Sequence[str], noun: str
) -> Iterator[list[CellPainted]]:
    """The cells of each row and seed, painted in one batch and scored; with `resume`, those that an earlier run painted
    are read from their files."""
    from limner.engine.sample import PaintSettings

    from .paint import paint
    from .painted_before import painted_before
    from .picture_scores import picture_scores

    settings = PaintSettings(request.steps, request.guidance, "", request.negative)
    references = images_of(request.references)
    encoders = open_encoders(request.encoders, device=request.base.device)
    judged = next(row.concept for row in rows if row.concept is not None)
    for k, row in enumerate(rows):
        own = row.concept
        texts = [row.text(template, noun) for template in templates]
        attached, handles = ([own], own.handles) if own is not None else ([], ())
        for seed in request.seeds:
            paths = [request.out / f"{k:02}-{column:02}-{seed}.png" for column in range(len(texts))]
            about: dict[str, Any] = {"base": base, "handles": handles, "seed": seed, "settings": settings}
            pictures: Sequence[Picture] = painted_before(paths, texts, **about) if request.resume else []
            if not pictures:
                more: dict[str, Any] = {"seed": seed, "settings": settings, "any_base": request.any_base}
                pictures = paint(base, texts, concepts=attached, **more)
                for picture, path in zip(pictures, paths, strict=True):
                    picture.save(path, overwrite=request.overwrite or request.resume)
            images = [picture.image for picture in pictures]
            scores = picture_scores(base, own or judged, images, texts, references=references, encoders=encoders)
            yield [
                CellPainted(row.name, request.prompts[column], seed, path, score, text, k, column)
                for column, (path, score, text) in enumerate(zip(paths, scores, texts, strict=True))
            ]


def _summary(row: Row, cells: Sequence[CellPainted]) -> dict[str, Any]:
    """The means of a row's scores."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.scores))
    values = {name: [cell.scores[name] for cell in cells if name in cell.scores] for name in names}
    means = {name: round(statistics.fmean(each), 4) for name, each in values.items()}
    method = row.concept.method if row.concept is not None else ""
    return {"concept": row.name, "method": method, "pictures": len(cells), "scores": means}


def _line(row: dict[str, Any]) -> str:
    scores = "  ".join(f"{name} {value:.3f}" for name, value in row["scores"].items())
    return f"{row['concept']} {row['method']}: {scores}"
