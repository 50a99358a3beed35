"""Events on the terminal: progress on the error stream while the work runs, the result on the output at its end."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from limner.core.wording import counted, with_article
from limner.errors import CheckError, InputError
from limner.workflows.events import (
    CheckDone,
    ConceptCertified,
    ConceptScored,
    Event,
    FleetUpdateDone,
    Message,
    Note,
    PicturesRead,
    RunDone,
    UpdateDone,
    WeightsUpdateDone,
)
from limner.workflows.progress import Line, fleet_line, update_line

from .common import out, say

if TYPE_CHECKING:
    from limner.workflows.requests import Request


def render(request: Request, given: argparse.Namespace, *, quiet: tuple[type[Event], ...] = ()) -> None:
    """Run a request and print its events. Events of the kinds in `quiet` are part of the result and not printed before.

    Raises `CheckError` for a concept that fails its certificate, and `InputError` where another part of the work
    failed; both after the result is printed.
    """
    from limner.workflows.run import run

    certified = True
    for event in _drawn(run(request)):
        if isinstance(event, quiet):
            continue
        match event:
            case Message(text):
                say(text)
            case Note(text):
                say(f"note: {text}")
            case PicturesRead(name, noun, _, count):
                say(f"{counted(count, 'picture')} of {name}, {with_article(noun)}")
            case ConceptScored(_, diagnosis):
                say(diagnosis)
            case CheckDone(what, ok, finding):
                say(f"{'ok ' if ok else 'BAD'}  {what}: {finding}")
            case ConceptCertified(ok):
                certified = ok
            case RunDone(result, text, failure):
                out(given, result, text)
                if failure:
                    raise InputError(failure) if certified else CheckError(failure)


def _drawn(events: Iterator[Event]) -> Iterator[Event]:
    """Yield the events; draw a line of progress for each update instead of yielding it."""
    line = Line()
    try:
        for event in events:
            if isinstance(event, UpdateDone | WeightsUpdateDone):
                line.show(update_line(event), now=event.last)
            elif isinstance(event, FleetUpdateDone):
                line.show(fleet_line(event.done, event.learning, event.waiting, event.loss, event.seconds))
            else:
                line.end()
                yield event
    finally:
        line.end()
