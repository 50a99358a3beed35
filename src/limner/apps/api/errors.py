"""Errors as answers: {"error": {"message", "type", "param", "code"}} for programs, a page for browsers."""

from __future__ import annotations

import errno
import json
import re
import tempfile
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from limner.apps.jobs.access import NotFound
from limner.apps.jobs.gather import Busy, Closed
from limner.apps.jobs.quotas import QuotaExceeded
from limner.apps.jobs.tables import new_id
from limner.errors import (
    CheckError,
    FileError,
    InputError,
    LimnerError,
    MissingExtra,
    PaintingError,
    TeachingError,
    UnknownName,
    WrongBase,
)

log = structlog.get_logger("limner.api")

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
"""Type of an error by status; any other below 500 is an invalid request."""


class ApiError(LimnerError):
    """A request that is answered by an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})


def not_found(noun: str) -> ApiError:
    """The answer for a thing that does not exist, or that belongs to another user: both read the same."""
    return ApiError(404, "not_found", f"there is no such {noun}")


STATUS: tuple[tuple[type[LimnerError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (QuotaExceeded, 429, "quota_exceeded"),
    (Closed, 503, "stopping"),
    (WrongBase, 409, "wrong_base"),
    (UnknownName, 400, "unknown_name"),
    (InputError, 400, "invalid_input"),
    (FileError, 400, "invalid_file"),
    (CheckError, 422, "check_failed"),
    (MissingExtra, 501, "missing_extra"),
    (TeachingError, 500, "training_failed"),
    (PaintingError, 500, "painting_failed"),
    (LimnerError, 400, "invalid_request"),
)


def as_api_error(error: LimnerError) -> ApiError:
    """The error of a workflow as an answer."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        wait = {"Retry-After": str(max(1, round(error.retry_after)))}
        return ApiError(503, "busy", str(error), headers=wait)
    status, code = next((status, code) for kind, status, code in STATUS if isinstance(error, kind))
    return ApiError(status, code, without_paths(str(error)))


def without_paths(message: str) -> str:
    """A message without paths of this machine: clients need not know where files lie."""
    message = re.sub(r"(?<![\w/])/(?:[\w.@+-]+/)+([\w.@+-]+)", r"\1", message)
    return message.replace(tempfile.gettempdir(), "").strip() or "the request failed"


def is_for_programs(path: str) -> bool:
    return path.startswith(("/v1", "/api", "/healthz", "/readyz", "/metrics", "/openapi.json"))


def error_body(error: ApiError) -> dict[str, Any]:
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def error_response(scope: Mapping[str, Any], error: ApiError) -> Response:
    """The answer to a request that fails: JSON for programs; `app.state.error_page` draws the page for browsers."""
    if is_for_programs(scope.get("path", "")):
        return JSONResponse(error_body(error), error.status, headers=error.headers)
    response: Response = scope["app"].state.error_page(Request(dict(scope)), error)
    response.headers.update(error.headers)
    return response


def failure_response(scope: Mapping[str, Any], error: Exception) -> Response:
    """The answer to a request at which the server failed: the log has the traceback, the client its id."""
    number = new_id()[:12]
    log.error("request.failed", id=number, path=scope.get("path"), method=scope.get("method"), exc_info=error)
    if isinstance(error, OperationalError):
        text = "the database is too busy or away; try again in a few seconds"
        return error_response(scope, ApiError(503, "database_busy", text, headers={"Retry-After": "5"}))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "the server's disk is full; tell its operator, or delete pictures and concepts"
        return error_response(scope, ApiError(507, "disk_full", text))
    message = f"the server failed at this request; its log has the reason under the id {number}"
    return error_response(scope, ApiError(500, "internal_error", message))


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception of a route."""

    @app.exception_handler(LimnerError)
    async def answer_limner(request: Request, error: LimnerError) -> Response:
        api_error = as_api_error(error)
        if api_error.status >= 500:
            log.error("request.failed", path=request.url.path, exc_info=error)
        return error_response(request.scope, api_error)

    @app.exception_handler(RequestValidationError)
    async def answer_fields(request: Request, error: RequestValidationError) -> Response:
        return error_response(request.scope, _describe_fields(error))

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request"}
        texts = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method} is not answered here"}
        text = texts.get(error.status_code, str(error.detail))
        code = codes.get(error.status_code, "http_error")
        return error_response(request.scope, ApiError(error.status_code, code, text, headers=error.headers))


def _describe_fields(error: RequestValidationError) -> ApiError:
    """The first wrong field, in words."""
    first = error.errors()[0]
    place = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path", "header")]
    name = ".".join(place)[:200]
    if first.get("type") == "json_invalid":
        return ApiError(400, "invalid_json", "the body is not JSON")
    given = first.get("input")
    shown = f", not {json.dumps(given, default=str)[:80]}" if isinstance(given, (str, int, float, bool)) else ""
    words = str(first.get("msg", "is wrong")).removeprefix("Value error, ")
    words = words[:1].lower() + words[1:]
    return ApiError(400, "invalid_field", f"{name or 'the body'}: {words}{shown}", param=name or None)
