"""Hostile requests to the studio, by kind. Each is a function of a target and a random generator, so that a seed and a
number name it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

MARK = "limnerxss"
"""Part of every script that a page must never hold unescaped."""
PATIENCE = 60.0
"""Seconds without an answer after which a request counts as hanging."""


@dataclass(frozen=True)
class Outcome:
    """The server's answer: an HTTP status, or 0 where it closed the connection without one."""

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


Attack = Callable[[Target, random.Random], Outcome]
ATTACKS: dict[str, tuple[Attack, int]] = {}
"""Kind of attack -> the function that makes one, and how often it is drawn beside the others."""


def attack(weight: int) -> Callable[[Attack], Attack]:
    def put(function: Attack) -> Attack:
        ATTACKS[function.__name__] = (function, weight)
        return function

    return put


# ------------------------------------------------------------------------------------------------------------- values

SCRIPTS = (
    f"<script>{MARK}()</script>",
    f"<img src=x onerror={MARK}()>",
    f'"><svg onload={MARK}()>',
    f"javascript:{MARK}()",
    f"'-{MARK}()-'",
    f"{{{{ {MARK}.__class__ }}}}",
    f"</title><script>{MARK}()</script>",
    f"<zippy><iframe srcdoc='<script>{MARK}()</script>'>",
)
CLIMBS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "..\\..\\windows\\win.ini",
    "%00",
    "~/.ssh/id_rsa",
    "studio.db",
    "/proc/self/environ",
    "a" * 3000,
)


def odd_value(chance: random.Random) -> Any:
    """A value of the wrong kind, size or sign."""
    nested: Any = 1
    for _ in range(chance.choice((5, 60))):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    return chance.choice(
        (
            None,
            True,
            -1,
            0,
            10**30,
            -(10**30),
            1e308,
            0.1,
            "",
            "\x00",
            "a" * 10_000,
            "‮\u202e\ufeff",
            "\ud7ff",
            [],
            {},
            [None] * 500,
            nested,
            chance.choice(SCRIPTS),
            chance.choice(CLIMBS),
            "'; DROP TABLE users; --",
            "9" * 400,
            {"$ne": None},
            "NaN",
            "<zippy>" * 500,
        )
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
        return Outcome(-1, "", about)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Outcome(0, f"{type(error).__name__}: {error}", about)


# -------------------------------------------------------------------------------------------------------------- kinds


@attack(18)
def wrong_fields(target: Target, chance: random.Random) -> Outcome:
    """A JSON body with fields of wrong types, sizes and names."""
    to = target.some(chance, "json")
    body: Any = {name: odd_value(chance) for name in to.fields if chance.random() < 0.7}
    if chance.random() < 0.15:
        body = odd_value(chance)
    text = json.dumps(body) if chance.random() < 0.9 else json.dumps(body)[: chance.randrange(1, 40)]
    head = {"Content-Type": "application/json"}
    return ask(
        target, to.method, filled(to.path, chance, target.ids), content=text.encode("utf-8", "replace"), headers=head
    )


@attack(12)
def climbing_paths(target: Target, chance: random.Random) -> Outcome:
    """Paths, ids and query values that lead out of the server's folders."""
    climb = chance.choice(CLIMBS)
    if chance.random() < 0.5:
        place = chance.choice(("/static/", "/files/", "/api/pictures/", "/api/concepts/", "/v1/images/", "/"))
        return raw(
            target, f"GET {place}{climb.replace(' ', '%20')} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
    to = target.some(chance, "")
    query = {name: climb for name, where in to.parameters if where == "query"}
    return ask(target, to.method, filled(to.path, chance, {}), params=query)


@attack(8)
def foreign_addresses(target: Target, chance: random.Random) -> Outcome:
    """Addresses and paths in every field: the server must open none of them."""
    to = target.some(chance, chance.choice(("json", "form")))
    link = chance.choice((f"{target.canary}/{to.path.count('/')}", f"//{target.canary[7:]}/x", "file:///etc/passwd"))
    fields = dict.fromkeys(to.fields, link) | {"url": link, "image": link, "lora": {"name": link, "path": link}}
    if to.body == "json":
        return ask(target, to.method, filled(to.path, chance, target.ids), json=fields | {"prompt": "a dog"})
    plain = dict.fromkeys(fields, link)
    return ask(target, to.method, filled(to.path, chance, target.ids), data=plain)


@attack(8)
def scripts_in_names(target: Target, chance: random.Random) -> Outcome:
    """Scripts as names, classes, captions and prompts; that pages escape them is looked at after the run."""
    script = chance.choice(SCRIPTS)
    to = target.some(chance, "json")
    fields: dict[str, Any] = dict.fromkeys(to.fields, script)
    return ask(target, to.method, filled(to.path, chance, target.ids), json=fields)


@attack(6)
def oversized(target: Target, chance: random.Random) -> Outcome:
    """Bodies, headers and addresses that are far too large."""
    to = target.some(chance, "json")
    path = filled(to.path, chance, target.ids)
    which = chance.randrange(4)
    if which == 0:
        return ask(target, to.method, path, content=b'{"prompt": "' + b"a" * 3_000_000 + b'"}')
    if which == 1:
        return ask(target, to.method, path, content=(b"a" * 65_536 for _ in range(200)))  # chunked, 13 MB
    if which == 2:
        return ask(target, "GET", f"/?q={'a' * 200_000}")
    return ask(target, "GET", "/", headers={f"X-{k}": "a" * 4000 for k in range(60)})


@attack(3)
def slow(target: Target, chance: random.Random) -> Outcome:
    """A client that sends, or reads, a byte now and then, and leaves in the end."""
    which, about = chance.randrange(3), "slow"
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    text = ("GET / HT", f"{head}Content-Length: 5000\r\n\r\n{{", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")[which]
    try:
        with socket.create_connection(("127.0.0.1", target.port), timeout=5) as line:
            line.sendall(text.encode())
            for _ in range(chance.randrange(4, 16)):
                time.sleep(0.5)
                line.sendall(b"a" if which < 2 else b"")
            return Outcome(status_of(line.recv(200)) if which == 2 else 0, "", about)
    except OSError as error:
        return Outcome(0, str(error), about)


@attack(6)
def bad_events(target: Target, chance: random.Random) -> Outcome:
    """Streams of events that do not exist, from places that do not exist, left at once."""
    streams = [each for each in target.operations if each.method == "GET" and "event" in each.path]
    path = chance.choice(streams).path if streams else "/api/jobs/{job_id}/events"
    since = chance.choice(("-1", "9" * 40, "abc", "\t1", "1; DROP", "1e9", ""))
    head = {"Accept": "text/event-stream", "Last-Event-ID": since}
    return ask(target, "GET", filled(path, chance, target.ids), headers=head, params={"after": since, "since": since})


@attack(8)
def bad_cookies(target: Target, chance: random.Random) -> Outcome:
    """Cookies and tokens that nobody gave."""
    value = chance.choice(("a" * 6000, "session=", "limner=1; limner=2", "session=%00", "=;=;=", 'session="\\"', "é"))
    token = chance.choice(("Bearer ", "Bearer x", "Basic YTpi", "Bearer " + "a" * 5000, "bearer\t1", "Digest"))
    head = {"Cookie": value.encode("utf-8"), "Authorization": token}
    return ask(target, "GET", chance.choice(("/", "/v1/models", "/api/jobs", "/healthz")), headers=head)


@attack(12)
def bad_pictures(target: Target, chance: random.Random) -> Outcome:
    """Uploads that are no pictures, or whose header promises billions of pixels."""
    name, data = chance.choice(PICTURES)(chance)
    to = chance.choice([each for each in target.operations if each.body == "form"] or target.operations)
    fields = dict.fromkeys(to.fields, "zippy")
    files = [
        (each, (name, data, "image/png")) for each in ("image", "images", "file", "files", "pictures", "photos", "mask")
    ]
    return ask(target, to.method, filled(to.path, chance, target.ids), data=fields, files=files)


@attack(8)
def bad_requests(target: Target, chance: random.Random) -> Outcome:
    """Bytes that are hardly HTTP: request smuggling, wrong lengths, garbage."""
    body = '{"prompt": "a"}'
    post = "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return raw(
        target,
        chance.choice(
            (
                "\x16\x03\x01\x02\x00\x01\x00",
                "GET\r\n\r\n",
                "GET / HTTP/9.9\r\n\r\n",
                f"{post}Content-Length: 4\r\nContent-Length: 40\r\n\r\n{body}",
                f"{post}Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
                f"{post}Content-Length: -1\r\n\r\n{body}",
                f"{post}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{body}\r\n0\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
                "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
                "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
                "".join(chr(chance.randrange(1, 255)) for _ in range(300)) + "\r\n\r\n",
            )
        ),
    )


@attack(9)
def foreign_origins(target: Target, chance: random.Random) -> Outcome:
    """Requests that a page of another site, or a name that leads here, makes a browser send."""
    to = chance.choice([each for each in target.operations if each.method != "GET"])
    head = chance.choice(
        (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": f"127.0.0.1.evil.example:{target.port}"},
            {"Origin": f"http://127.0.0.1:{target.port + 1}", "Sec-Fetch-Site": "same-site"},
        )
    )
    path = filled(to.path, random.Random(0), target.ids)
    answered = ask(target, to.method, path, headers={**head, "Content-Type": "text/plain"}, content=b'{"prompt": "a"}')
    forged = f"{answered.about} as {head}"
    return Outcome(answered.status if answered.status < 200 or answered.status >= 300 else 599, answered.text, forged)


@attack(6)
def wrong_methods(target: Target, chance: random.Random) -> Outcome:
    """Methods, content types and encodings that a route does not take."""
    to = target.some(chance, "")
    method = chance.choice(("PUT", "PATCH", "TRACE", "PROPFIND", "DELETE", "OPTIONS", "FOO"))
    coded = chance.choice(
        ({"Content-Encoding": "gzip"}, {"Content-Type": "multipart/form-data"}, {"Content-Type": "a/b; c"})
    )
    packed = zlib.compress(b"0" * 10_000_000)
    path = filled(to.path, chance, {})
    return ask(target, method if chance.random() < 0.5 else to.method, path, content=packed, headers=coded)


# ------------------------------------------------------------------------------------------------------------- helpers


def raw(target: Target, text: str) -> Outcome:
    """Send bytes as they are, and read what comes back until the server closes or is silent."""
    about = text.splitlines()[0][:120] if text.strip() else "blank"
    try:
        with socket.create_connection(("127.0.0.1", target.port), timeout=10) as line:
            line.sendall(text.encode("latin-1", "replace"))
            line.settimeout(20)
            received = line.recv(4096)
            line.settimeout(1)  # the body may come in a packet of its own
            with contextlib.suppress(TimeoutError):
                while len(received) < 20_000 and (more := line.recv(4096)):
                    received += more
            return Outcome(status_of(received), received.decode("latin-1").partition("\r\n\r\n")[2], about)
    except TimeoutError:
        return Outcome(-1, "", about)
    except OSError as error:
        return Outcome(0, str(error), about)


def status_of(answer: bytes) -> int:
    words = answer.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _honest(chance: random.Random) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: tuple[Callable[[random.Random], tuple[str, bytes]], ...] = (
    lambda c: ("bomb.png", png(60_000, 60_000, zlib.compress(b"\0" * 20_000_000))),
    lambda c: ("huge.png", png(2**31 - 1, 2**31 - 1, b"")),
    lambda c: ("zero.png", png(0, 0, b"")),
    lambda c: ("cut.png", _honest(c)[: c.randrange(1, 400)]),
    lambda c: ("noise.jpg", bytes(c.randrange(256) for _ in range(2000))),
    lambda c: ("empty.png", b""),
    lambda c: ("drawing.svg", f"<svg xmlns='http://www.w3.org/2000/svg' onload='{MARK}()'/>".encode()),
    lambda c: ("page.html", f"<script>{MARK}()</script>".encode()),
    lambda c: ("pickle.safetensors", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
    lambda c: ("long.safetensors", struct.pack("<Q", 2**62) + b"{}"),
    lambda c: ("../../../tmp/x.png", _honest(c)[:-20]),
    lambda c: (f"{SCRIPTS[1]}.png", b"GIF89a" + bytes(40)),
    lambda c: ("a" * 400 + ".png", b"\xff\xd8\xff\xe0" + bytes(50)),
    lambda c: ("archive.zip", b"PK\x03\x04" + bytes(60)),
    lambda c: ("deep.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(200)),
)
