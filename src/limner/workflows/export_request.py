"""The workflow `export`: from a concept's file to files for another tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.interrupts import standing

from .events import Event, Note, RunDone
from .opening import choice_for, open_base, read_concept_choices

if TYPE_CHECKING:
    from .requests import BaseChoice, ExportRequest

WEIGHTS = "ip_adapter"
"""The word that stands for that method's pre-trained weights in the place of a concept's file."""


def export_request(request: ExportRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Write the concept of a request for another tool. `open_base` may return a base that is open already."""
    from limner.formats import export

    out = request.out or Path("out/export") / request.to
    check_folder(out)
    standing(lambda: "no file is half written; the same command with --overwrite writes all of them")
    if str(request.concept.path) == WEIGHTS:
        yield _weights(request, out, open_base)
        return
    (concept,) = yield from read_concept_choices(request.concept)
    base = open_base(choice_for(concept, request.base, trust=request.concept.trust))
    done = export(concept, base, out, to=request.to, rank=request.rank, overwrite=request.overwrite)
    yield from map(Note, done.notes)
    files = [str(path) for path in done.files]
    yield RunDone({"files": files, "notes": done.notes}, "\n".join(files))


def _weights(request: ExportRequest, out: Path, open_base: Callable[[BaseChoice], Any]) -> RunDone:
    """Write the weights of IP-Adapter in its authors' layout."""
    from limner.core.weights import shipped
    from limner.formats.exporting import export_adapter

    base = open_base(replace(request.base, name=request.base.name or "pocket"))
    path = out / f"ip-adapter-{base.name.replace('/', '-')}.safetensors"
    path = export_adapter(base, shipped(WEIGHTS, base), path, overwrite=request.overwrite)
    return RunDone({"files": [str(path)]}, str(path))
