"""One function for all workflows: it takes a request and yields events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
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
    ProtectRequest,
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

WORKFLOWS: Mapping[type[Request], str] = {
    LearnRequest: "learn_request:learn_subject",
    PaintRequest: "paint_request:paint_request",
    SwapRequest: "swap_request:swap_request",
    TryOnRequest: "try_on_request:try_on_request",
    ProtectRequest: "protect_request:protect_request",
    ScoreRequest: "score_request:score_request",
    CheckRequest: "check_request:check_request",
    ExportRequest: "export_request:export_request",
    PublishRequest: "publish_request:publish_request",
    PretrainRequest: "pretrain_request:pretrain_request",
    LookRequest: "look_subject:look_subject",
    EstimateRequest: "estimate:estimate_request",
    StatesRequest: "states:states_request",
    CompareRequest: "compare:compare_request",
    MergeRequest: "merge_request:merge_request",
    ImportRequest: "import_request:import_request",
    ConverseRequest: "converse_request:converse_request",
}
"""Type of request -> module and function of its workflow. They are imported when they run, because most load torch."""
TOGETHER = "learn_together:learn_together"
"""The workflow of a `LearnRequest` for many subjects in one pass."""
CONTROLLED = (LearnRequest, PaintRequest, ProtectRequest, StatesRequest, CompareRequest)
"""Requests whose workflows take `controls`."""


def run(
    request: Request,
    *,
    controls: Controls | None = None,
    open_base: Callable[[BaseChoice], Any] | None = None,
) -> Iterator[Event]:
    """Run the workflow of a request and yield its events; the last one is a `RunDone`, or `Paused`.

    `controls` carries wishes of people into learning, painting, protecting, states and comparing; other work is short
    and ignores them.
    `open_base` opens the base, or returns one that is open already; by default `limner.workflows.opening.open_base`.

    Raises a `LimnerError` where the work fails. Closing the iterator, or an exception in the caller's loop, ends the
    work; the base returns to its former state, and files on disk stay complete. `offline` of a base applies to the base
    alone: a process that must never use the network runs inside of `limner.core.offline.staying_offline`.

    >>> from limner.workflows.requests import read_request
    >>> read_request('{"request": "learn", "pictures": ["rex/"], "noun": "dog"}').noun
    'dog'
    """
    about: dict[str, Any] = {"open_base": open_base} if open_base is not None else {}
    if isinstance(request, CONTROLLED):
        about["controls"] = controls
    return workflow_of(request)(request, **about)


def workflow_of(request: Request) -> Callable[..., Iterator[Event]]:
    """The function that does the work of a request. Raises `TypeError` for a request without a workflow."""
    if type(request) not in WORKFLOWS:
        raise TypeError(f"there is no workflow for {type(request).__name__}")
    name = TOGETHER if isinstance(request, LearnRequest) and request.together else WORKFLOWS[type(request)]
    module, function = name.split(":")
    workflow: Callable[..., Iterator[Event]] = getattr(import_module(f".{module}", __package__), function)
    return workflow
