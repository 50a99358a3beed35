"""One function for all workflows: it takes a request and yields events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .requests import (
    CheckRequest,
    ConverseRequest,
    ExportRequest,
    LearnRequest,
    PaintRequest,
    PretrainRequest,
    PublishRequest,
    Request,
    ScoreRequest,
    SwapRequest,
    TryOnRequest,
)

if TYPE_CHECKING:
    from .events import Event


def run(request: Request) -> Iterator[Event]:
    """Run the workflow of a request and yield its events; the last one is a `RunDone`.

    Raises a `LimnerError` where the work fails. Closing the iterator, or an exception in the caller's loop, ends the
    work; the base returns to its former state, and files on disk stay complete. `offline` of a base applies to the base
    alone: a process that must never use the network runs inside of `limner.core.offline.staying_offline`.

    >>> from limner.workflows.requests import read_request
    >>> read_request('{"request": "learn", "pictures": ["rex/"], "noun": "dog"}').noun
    'dog'
    """
    match request:
        case LearnRequest(together=True):
            from .learn_together import learn_together

            return learn_together(request)
        case LearnRequest():
            from .learn_request import learn_subject

            return learn_subject(request)
        case PaintRequest():
            from .paint_request import paint_request

            return paint_request(request)
        case SwapRequest():
            from .swap_request import swap_request

            return swap_request(request)
        case TryOnRequest():
            from .try_on_request import try_on_request

            return try_on_request(request)
        case ScoreRequest():
            from .score_request import score_request

            return score_request(request)
        case CheckRequest():
            from .check_request import check_request

            return check_request(request)
        case ExportRequest():
            from .export_request import export_request

            return export_request(request)
        case PublishRequest():
            from .publish_request import publish_request

            return publish_request(request)
        case PretrainRequest():
            from .pretrain_request import pretrain_request

            return pretrain_request(request)
        case ConverseRequest():
            from .converse_request import converse_request

            return converse_request(request)
    raise TypeError(f"there is no workflow for {type(request).__name__}")
