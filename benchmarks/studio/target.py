"""The server under attack: its operations by its own OpenAPI document, and ways to send it a request."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from .hostile_values import CLIMBS, SCRIPTS

PATIENCE = 60.0
"""Seconds without an answer after which a request counts as hanging."""


CLOSED, HUNG, LEFT, UNSENT = 0, -1, -2, -3
"""Outcomes without a status: the server closed the connection; it was silent for too long; the attacker left before an
answer was due; and the attacker's own HTTP library refused to send the request."""


@dataclass(frozen=True)
class Outcome:
    """The server's answer: an HTTP status, or one of the outcomes without one."""

    status: int
    text: str = ""
    about: str = ""  # the request, in words


@dataclass
class Target:
    """Where requests go, and what an attacker knows of it."""

    url: str
    port: int
    canary: str  # address of a server that nothing may ask
    client: httpx.Client
    operations: list[Operation]
    ids: dict[str, str] = field(default_factory=dict)  # noun -> id of a thing that exists

    def some(self, chance: random.Random, kind: str) -> Operation:
        """An operation whose body is of this kind: "json", "form", or "" for any."""
        return chance.choice([each for each in self.operations if not kind or each.body == kind])


@dataclass(frozen=True)
class Operation:
    """One row of the server's own OpenAPI document."""

    method: str
    path: str
    body: str  # "json", "form" or ""
    fields: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]  # (name, "path" or "query")


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Every operation of an OpenAPI document."""
    schemas = document.get("components", {}).get("schemas", {})

    def fields(schema: dict[str, Any]) -> tuple[str, ...]:
        known = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        return tuple(known.get("properties", {}))

    for path, methods in document["paths"].items():
        for method, about in methods.items():
            content = about.get("requestBody", {}).get("content", {})
            media = next(iter(content), "")
            yield Operation(
                method.upper(),
                path,
                "json" if "json" in media else "form" if media else "",
                fields(content[media].get("schema", {})) if media else (),
                tuple((each["name"], each["in"]) for each in about.get("parameters", []) if "in" in each),
            )


def filled(path: str, chance: random.Random, ids: dict[str, str]) -> str:
    """A path of the OpenAPI document with its parameters given: often a known thing's id, else hostile."""
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        noun = before.strip("/").rpartition("/")[2].removesuffix("s") if name == "number" else name
        known = ids.get(noun, "0" * 32)
        odd = quote(str(chance.choice((*CLIMBS, *SCRIPTS, "0", "-1", "é" * 40, "f" * 33))), safe="%")
        path = f"{before}{known if chance.random() < 0.6 else odd}{after}"
    return path


def ask(target: Target, method: str, path: str, **more: Any) -> Outcome:
    """Send a request and read the answer's start; a stream of events is left after its first bytes."""
    about = f"{method} {path[:120]}"
    try:
        with target.client.stream(method, f"{target.url}{path}", **more) as answer:
            text = next(answer.iter_text(4096), "") if answer.headers.get("content-type", "") else ""
            return Outcome(answer.status_code, text[:4096], about)
    except httpx.TimeoutException:
        return Outcome(HUNG, "", about)
    except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, ValueError) as error:
        return Outcome(UNSENT, f"{type(error).__name__}: {error}", about)
    except httpx.HTTPError as error:
        return Outcome(CLOSED, f"{type(error).__name__}: {error}", about)


def raw(target: Target, text: str) -> Outcome:
    """Send bytes as they are, and read what comes back until the server closes or is silent."""
    about = text.splitlines()[0][:120] if text.strip() else "blank"
    try:
        with socket.create_connection(("127.0.0.1", target.port), timeout=10) as line:
            with contextlib.suppress(OSError):  # the server may answer, and close, before it has read everything
                line.sendall(text.encode("latin-1", "replace"))
            line.settimeout(20)
            return answer_of(line, line.recv(4096), about)
    except TimeoutError:
        return Outcome(HUNG, "", about)
    except OSError as error:
        return Outcome(CLOSED, str(error), about)


def request(target: Target, method: str, path: str, headers: Mapping[str, str]) -> Outcome:
    """Send a request without a body, with headers that no HTTP library would send."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in ({"Host": "127.0.0.1"} | dict(headers)).items())]
    return raw(target, "\r\n".join([*lines, "Connection: close", "", ""]))


def answer_of(line: socket.socket, received: bytes, about: str) -> Outcome:
    """The outcome of an answer that begins with these bytes."""
    line.settimeout(1)  # the body may come in a packet of its own
    with contextlib.suppress(OSError):
        while received and len(received) < 20_000 and (more := line.recv(4096)):
            received += more
    return Outcome(status_of(received), received.decode("latin-1").partition("\r\n\r\n")[2], about)


def status_of(answer: bytes) -> int:
    words = answer.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0
