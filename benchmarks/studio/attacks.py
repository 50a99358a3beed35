"""Hostile requests to the studio, by kind. Each is a function of a target and a random generator, so that a seed and a
number name it."""

from __future__ import annotations

import json
import random
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from .hostile_values import CLIMBS, PICTURES, SCRIPTS, odd_value
from .target import CLOSED, HUNG, LEFT, PATIENCE, Outcome, Target, answer_of, ask, filled, raw, request

Attack = Callable[[Target, random.Random], Outcome]
ATTACKS: dict[str, tuple[Attack, int]] = {}
"""Kind of attack -> the function that makes one, and how often it is drawn beside the others."""


def attack(weight: int) -> Callable[[Attack], Attack]:
    def put(function: Attack) -> Attack:
        ATTACKS[function.__name__] = (function, weight)
        return function

    return put


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
        return request(target, "GET", f"/?q={'a' * 200_000}", {})
    return request(target, "GET", "/", {f"X-{k}": "a" * 4000 for k in range(60)})


@attack(3)
def slow(target: Target, chance: random.Random) -> Outcome:
    """A client that sends a byte now and then until the server has had enough, one that leaves before, and one that
    asks and does not read for some seconds."""
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    which = chance.choice(("head", "body", "leaves", "reads late"))
    text = {
        "head": "GET / HT",
        "body": f"{head}Content-Length: 5000\r\n\r\n{{",
        "leaves": f"{head}Content-Length: 5000\r\n\r\n{{",
        "reads late": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    }[which]
    until = time.monotonic() + (PATIENCE if which in ("head", "body") else chance.uniform(2, 8))
    try:
        with socket.create_connection(("127.0.0.1", target.port), timeout=5) as line:
            line.sendall(text.encode())
            line.settimeout(0.5)
            while time.monotonic() < until:
                if which == "reads late":
                    time.sleep(0.5)
                    continue
                try:
                    return answer_of(line, line.recv(4096), f"slow: {which}")
                except TimeoutError:
                    line.sendall(b"a")
            if which == "reads late":
                return answer_of(line, line.recv(4096), f"slow: {which}")
            return Outcome(LEFT if which == "leaves" else HUNG, "", f"slow: {which}")
    except OSError as error:
        return Outcome(CLOSED, str(error), f"slow: {which}")


@attack(6)
def bad_events(target: Target, chance: random.Random) -> Outcome:
    """Streams of events that do not exist, from places that do not exist, left at once."""
    streams = [each for each in target.operations if each.method == "GET" and "event" in each.path]
    path = chance.choice(streams).path if streams else "/api/jobs/{job_id}/events"
    since = chance.choice(("-1", "9" * 40, "abc", "\t1", "1; DROP", "1e9", ""))
    about = urlencode({"after": since, "since": since})
    head = {"Accept": "text/event-stream", "Last-Event-ID": since}
    return request(target, "GET", f"{filled(path, chance, target.ids)}?{about}", head)


@attack(8)
def bad_cookies(target: Target, chance: random.Random) -> Outcome:
    """Cookies and tokens that nobody gave."""
    value = chance.choice(("a" * 6000, "session=", "limner=1; limner=2", "session=%00", "=;=;=", 'session="\\"', "é"))
    token = chance.choice(("Bearer ", "Bearer x", "Basic YTpi", "Bearer " + "a" * 5000, "bearer\t1", "Digest"))
    path = chance.choice(("/", "/v1/models", "/api/jobs", "/healthz"))
    return request(target, "GET", path, {"Cookie": value, "Authorization": token})


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
