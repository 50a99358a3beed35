"""One function for all workflows: it takes a request and yields events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .requests import (
    BaseChoice,
    CheckRequest,
    CompareRequest,
    ConverseRequest,
    EstimateRequest,
    ExportRequest,
    ImportRequest,
    LearnRequest,
    LookRequest,
    MergeRequest,
    PaintRequest,
    PretrainRequest,
    PublishRequest,
    Request,
    ScoreRequest,
    StatesRequest,
    SwapRequest,
    TryOnRequest,
)

if TYPE_CHECKING:
    from .controls import Controls
    from .events import Event


def run(
    request: Request,
    *,
    controls: Controls | None = None,
    open_base: Callable[[BaseChoice], Any] | None = None,
) -> Iterator[Event]:
    """Run the workflow of a request and yield its events; the last one is a `RunDone`, or `Paused`.

    `controls` carries wishes of people into learning, painting and comparing; other work is short and ignores them.
    `open_base` opens the base, or returns one that is open already; by default `limner.workflows.opening.open_base`.

    Raises a `LimnerError` where the work fails. Closing the iterator, or an exception in the caller's loop, ends the
    work; the base returns to its former state, and files on disk stay complete. `offline` of a base applies to the base
    alone: a process that must never use the network runs inside of `limner.core.offline.staying_offline`.

    >>> from limner.workflows.requests import read_request
    >>> read_request('{"request": "learn", "pictures": ["rex/"], "noun": "dog"}').noun
    'dog'
    """
    about: dict[str, Any] = {"open_base": open_base} if open_base is not None else {}
    match request:
        case LearnRequest(together=True):
            from .learn_together import learn_together

            return learn_together(request, controls=controls, **about)
        case LearnRequest():
            from .learn_request import learn_subject

            return learn_subject(request, controls=controls, **about)
        case PaintRequest():
            from .paint_request import paint_request

            return paint_request(request, controls=controls, **about)
        case SwapRequest():
            from .swap_request import swap_request

            return swap_request(request, **about)
        case TryOnRequest():
            from .try_on_request import try_on_request

            return try_on_request(request, **about)
        case ScoreRequest():
            from .score_request import score_request

            return score_request(request, **about)
        case CheckRequest():
            from .check_request import check_request

            return check_request(request, **about)
        case ExportRequest():
            from .export_request import export_request

            return export_request(request, **about)
        case PublishRequest():
            from .publish_request import publish_request

            return publish_request(request, **about)
        case PretrainRequest():
            from .pretrain_request import pretrain_request

            return pretrain_request(request, **about)
        case LookRequest():
            from .look_subject import look_subject

            return look_subject(request, **about)
        case EstimateRequest():
            from .estimate import estimate_request

            return estimate_request(request, **about)
        case StatesRequest():
            from .states import states_request

            return states_request(request, controls=controls, **about)
        case CompareRequest():
            from .compare import compare_request

            return compare_request(request, controls=controls, **about)
        case MergeRequest():
            from .merge_request import merge_request

            return merge_request(request, **about)
        case ImportRequest():
            from .import_request import import_request

            return import_request(request, **about)
        case ConverseRequest():
            from .converse_request import converse_request

            return converse_request(request, **about)
    raise TypeError(f"there is no workflow for {type(request).__name__}")
