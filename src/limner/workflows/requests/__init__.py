"""Requests: the input of each workflow, as values that go to JSON and come back equal.

A command line, an HTTP server and a queue make a request and hand it to `limner.workflows.run.run`, which yields
events. Nothing heavy is imported here.
"""

from __future__ import annotations

from .reading import REQUESTS, BaseChoice, ConceptChoice, Request, Settings, plain_data, read_plain, read_request
from .studio import CompareRequest, EstimateRequest, ImportRequest, LookRequest, MergeRequest, StatesRequest
from .work import (
    CheckRequest,
    ConverseRequest,
    ExportRequest,
    FurtherSubject,
    LearnRequest,
    PaintRequest,
    PictureChoices,
    PretrainRequest,
    ProtectRequest,
    PublishRequest,
    ScoreRequest,
    SwapRequest,
    TryOnRequest,
)

__all__ = [
    "REQUESTS",
    "BaseChoice",
    "CheckRequest",
    "CompareRequest",
    "ConceptChoice",
    "ConverseRequest",
    "EstimateRequest",
    "ExportRequest",
    "FurtherSubject",
    "ImportRequest",
    "LearnRequest",
    "LookRequest",
    "MergeRequest",
    "PaintRequest",
    "PictureChoices",
    "PretrainRequest",
    "ProtectRequest",
    "PublishRequest",
    "Request",
    "ScoreRequest",
    "Settings",
    "StatesRequest",
    "SwapRequest",
    "TryOnRequest",
    "plain_data",
    "read_plain",
    "read_request",
]
