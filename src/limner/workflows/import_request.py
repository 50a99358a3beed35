"""The workflow `import`: another tool's file into a concept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder

from .events import ConceptSaved, Event, Message, RunDone
from .opening import open_base

if TYPE_CHECKING:
    from .requests import BaseChoice, ImportRequest


def import_request(request: ImportRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Read the file of a request and save its concept; weights of a method, such as those of an IP-Adapter, go where
    the method finds them. `open_base` may return a base that is open already.

    Raises `FileError` for a file that is not understood.
    """
    from limner.formats import import_file

    check_folder(request.out)
    base = open_base(request.base)
    contents = import_file(
        request.file,
        base,
        name=request.name,
        noun=request.noun,
        says=request.says,
        partial=request.partial,
        overwrite=request.overwrite,
    )
    yield Message(str(contents.report))
    if contents.concept is None:
        yield RunDone({"what": contents.what, "weights": str(contents.weights)}, str(contents.weights))
        return
    path = request.out / f"{contents.concept.handle.strip('<>')}.safetensors"
    if path.resolve() == request.file.resolve():
        path = path.with_name(f"{path.stem}-limner.safetensors")
    contents.concept.save(path, overwrite=request.overwrite)
    yield ConceptSaved(path, contents.concept.cost)
    yield RunDone({"what": contents.what, "concept": str(path), "report": asdict(contents.report)}, str(path))
