"""Requests: the input of each workflow, as values that go to JSON and come back equal.

A command line, an HTTP server and a queue make a request and hand it to `limner.workflows.run.run`, which yields
events. Nothing heavy is imported here.
"""

from __future__ import annotations

from .reading import REQUESTS, BaseChoice, ConceptChoice, Request, Settings, plain_data, read_request
from .work import (
    CheckRequest,
    ExportRequest,
    FurtherSubject,
    LearnRequest,
    PaintRequest,
    PretrainRequest,
    PublishRequest,
    ScoreRequest,
    SwapRequest,
    TryOnRequest,
)

__all__ = [
    "REQUESTS",
    "BaseChoice",
    "CheckRequest",
    "ConceptChoice",
    "ExportRequest",
    "FurtherSubject",
    "LearnRequest",
    "PaintRequest",
    "PretrainRequest",
    "PublishRequest",
    "Request",
    "ScoreRequest",
    "Settings",
    "SwapRequest",
    "TryOnRequest",
    "plain_data",
    "read_request",
]
