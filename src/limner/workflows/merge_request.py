"""The workflow `merge`: several concepts' files into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from limner.core.files import check_place
from limner.core.wording import counted, listed
from limner.errors import InputError

from .events import ConceptSaved, Event, Message, RunDone
from .opening import choice_for, open_base, read_concept_choices

if TYPE_CHECKING:
    from .requests import BaseChoice, MergeRequest


def merge_request(request: MergeRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Merge the concepts of a request and save the result. `open_base` may return a base that is open already.

    Raises `InputError` for concepts that cannot be merged, and `WrongBase` for one of another base.
    """
    from .merge import merge

    if not request.concepts:
        raise InputError("merging needs two concepts or more; none is given")
    check_place(request.out, overwrite=request.overwrite)
    concepts = yield from read_concept_choices(*request.concepts)
    base = open_base(choice_for(concepts[0], request.base, trust=request.concepts[0].trust))
    merged = merge(base, concepts, by=request.by, weights=request.weights)
    path = merged.save(request.out, overwrite=request.overwrite)
    handles = listed(merged.handles)
    yield Message(f"merged {counted(len(concepts), 'concept')} by {request.by}; write {handles} in prompts")
    yield ConceptSaved(path, merged.cost)
    yield RunDone({"concept": str(path), "handles": list(merged.handles)}, str(path))
