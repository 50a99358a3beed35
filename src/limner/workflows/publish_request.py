"""The workflow `publish`: from a concept's file to a repository of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.interrupts import standing

from .events import Event, Message, RunDone
from .opening import choice_for, open_base, read_concept_choices

if TYPE_CHECKING:
    from .requests import BaseChoice, PublishRequest


def publish_request(request: PublishRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Write the repository of a request, and upload it where the request says so. `open_base` may return a base that is
    open already."""
    from .publish import check_account, publish

    (concept,) = yield from read_concept_choices(request.concept)
    choice = choice_for(concept, request.base, trust=request.concept.trust)
    if request.upload:
        check_account(request.to)
    base = open_base(choice)
    folder = request.out or Path("out/publish") / concept.handle.strip("<>")
    check_folder(folder)
    standing(lambda: f"{folder} is incomplete; delete that folder, and the same command starts from the beginning")
    lines: list[str] = []
    address = publish(
        concept,
        base,
        request.to,
        folder,
        formats=request.formats,
        licence=request.licence,
        pictures=request.pictures,
        upload=request.upload,
        private=request.private,
        say=lines.append,
    )
    yield from map(Message, lines)
    yield RunDone({"folder": str(folder), "address": address}, address or str(folder))
