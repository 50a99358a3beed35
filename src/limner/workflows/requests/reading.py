"""The type of all requests, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from limner.core.untrusted import parse_json
from limner.errors import InputError, UnknownName

R = TypeVar("R", bound="Request")
Settings = Mapping[str, Any]
REQUESTS: dict[str, type[Request]] = {}
"""Every type of request by its kind of work; a class enters itself when it is defined."""


@dataclass(frozen=True, kw_only=True)
class BaseChoice:
    """Which base, and how it is opened."""

    # pocket, a folder, a file or a hub id; empty: the base that the concept was learned on
    name: str = "pocket"
    device: str | None = None  # None: cuda where there is one
    dtype: str = "float32"
    fit: float | None = None  # memory limit in gigabytes
    quantise: str = ""
    offload: bool = False
    tiling: bool = False
    checkpointing: bool = False
    offline: bool = False
    config: str | None = None  # folder or hub id with the settings of a base that is a single file
    faces: str = ""  # networks that find and recognise faces: a folder, or FILE.py:FUNCTION


BASE_OF_CONCEPT = BaseChoice(name="")
"""The base that the concept was learned on, opened as by default."""


@dataclass(frozen=True, kw_only=True)
class ConceptChoice:
    """A concept's file, and how far the file is trusted."""

    path: Path
    method: str = ""  # the user's own method that the file may name, FILE.py:NAME
    trust: bool = False  # run and open everything that the file names


@dataclass(frozen=True, kw_only=True)
class Request:
    """Work to be done. `to_json` and `from_json` are inverses of each other."""

    kind_of_work: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        REQUESTS[cls.kind_of_work] = cls

    @property
    def record(self) -> dict[str, Any]:
        """The request as a JSON object."""
        return {"request": self.kind_of_work, **plain_data(self)}

    def to_json(self) -> str:
        return json.dumps(self.record)

    @classmethod
    def from_json(cls: type[R], text: str | bytes) -> R:
        """The request of a JSON text. Raises `FileError` for text that is not JSON, `UnknownName` for an unknown field,
        and `InputError` for a value of the wrong type and for another kind of request."""
        request = read_request(text)
        if not isinstance(request, cls):
            raise InputError(f"expected a request to {cls.kind_of_work}, not to {request.kind_of_work}")
        return request


def read_request(text: str | bytes) -> Request:
    """The request of a JSON text, of the kind that its field "request" names. Raises as `Request.from_json`."""
    contents = parse_json(text, "the request")
    if not isinstance(contents, dict) or "request" not in contents:
        raise InputError(f'a request is a table of JSON with "request": one of {", ".join(REQUESTS)}')
    kind = contents.pop("request")
    if kind not in REQUESTS:
        raise UnknownName("request", str(kind)[:100], REQUESTS)
    request: Request = read_plain(REQUESTS[kind], contents, f"the request to {kind}")
    return request


def plain_data(value: Any) -> Any:
    """A value in types that JSON can hold: dataclasses become objects, paths become text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain_data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_data(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_data(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def read_plain(kind: Any, value: Any, where: str) -> Any:
    """The inverse of `plain_data`: a JSON value as a dataclass or another type. Raises `InputError` for a value of the
    wrong type and `UnknownName` for an unknown field; `where` names the value in messages."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
        raise InputError(f"{where} must be one of {', '.join(inner)}, not {str(value)[:80]!r}")
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    if origin in (Union, types.UnionType):
        return (
            None if value is None else read_plain(next(each for each in inner if each is not type(None)), value, where)
        )
    if origin is tuple and isinstance(value, list):
        if inner[-1] is Ellipsis:
            return tuple(read_plain(inner[0], each, where) for each in value)
        if len(value) == len(inner):
            return tuple(read_plain(each, one, where) for each, one in zip(inner, value, strict=True))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: read_plain(inner[1], each, f"{key} of {where}") for key, each in value.items()}
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise InputError(f"{where} must be {_named(kind)}, not {str(value)[:80]!r}")


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table, not {str(value)[:80]!r}")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}
    for key in value:
        if key not in known:
            raise UnknownName(f"field of {where}", str(key)[:100], known)
    empty = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in known.items() if n not in value and (f.default, f.default_factory) == empty]
    if missing:
        raise InputError(f"{where} must have a field {missing[0]}")
    return kind(**{key: read_plain(hints[key], each, f"{key} of {where}") for key, each in value.items()})


def _named(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path as text"}
    origin = get_origin(kind)
    return names.get(kind) or ("a list" if origin is tuple else "a table")
