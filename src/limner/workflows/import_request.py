"""The workflow `import`: another tool's file, or a concept of another limner, into a concept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder, header_marks

from .events import ConceptSaved, Event, Message, RunDone
from .opening import choice_for, open_base

if TYPE_CHECKING:
    from .requests import BaseChoice, ImportRequest

CONCEPT = "limner"
"""Key of the header in a concept's file."""


def import_request(request: ImportRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Read the file of a request and save its concept; weights of a method, such as those of an IP-Adapter, go where
    the method finds them. A concept of limner keeps its handle and its class, and the request's name becomes that of
    its file. `open_base` may return a base that is open already.

    Raises `FileError` for a file that is not understood, and `WrongBase` for a concept of another base.
    """
    from limner.formats import import_file

    check_folder(request.out)
    if CONCEPT in header_marks(request.file):
        yield from _concept(request, open_base)
        return
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


def _concept(request: ImportRequest, open_base: Callable[[BaseChoice], Any]) -> Iterator[Event]:
    """Save a copy of a concept, after its base, method and settings are checked."""
    from limner.core.concept import Concept
    from limner.library.opening import adapter_of

    concept = Concept.load(request.file)
    adapter_of(concept, open_base(choice_for(concept, request.base)))
    yield Message(f"{request.file.name} is a concept of limner: {concept.handle}, by {concept.method}")
    path = request.out / f"{request.name or concept.handle.strip('<>')}.safetensors"
    if path.resolve() != request.file.resolve():
        concept.save(path, overwrite=request.overwrite)
    yield ConceptSaved(path, concept.cost)
    yield RunDone({"what": "concept", "concept": str(path)}, str(path))
