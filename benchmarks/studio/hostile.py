"""Hostile requests by the thousand against a running studio: how each kind ended, and how honest clients fared.

    python -m benchmarks.studio.hostile --count 1000       # results/studio_hostile.json

Every attack is drawn from a seed and its number, so `--only NUMBER` sends one again and prints the answer. The aim:
each is answered by a status of 4xx that says what is wrong (or does no harm: 2xx, 3xx), none by 5xx, none hangs, no
connection is closed without a status, the server lives on, no address that a client names is asked, no page holds a
script, and honest requests are answered all the while.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx

from .attacks import ATTACKS
from .client import Client, toy_pictures
from .hostile_values import MARK
from .server import Studio, studio, write_results
from .target import CLOSED, HUNG, LEFT, PATIENCE, UNSENT, Outcome, Target, operations

COLUMNS = ("requests", "4xx", "2xx or 3xx", "left", "closed", "5xx", "hung", "unclear", "unsent")
"""`left`: the attacker left before an answer was due. The columns after it are to be 0; `closed` counts connections
that the server closed without a status, and `unsent` attacks that the attacker's own HTTP library did not send."""
HARMFUL = ("closed", "5xx", "hung", "unclear", "unsent")
HONEST = ("/healthz", "/", "/v1/models", "/api/jobs")
SHOWN = 40
"""Examples of harmful answers kept in the results."""


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.studio.hostile", description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="attacks (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other attacks")
    parser.add_argument("--clients", type=int, default=6, help="attackers at the same time (default: 6)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send one attack again and print the answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, studio(Path(folder) / "data") as server, canary() as asked:
        target, before = prepared(server, asked)
        if given.only is not None:
            print(sent(target, given.seed, given.only))
            return 0
        began = time.monotonic()
        with honest_client(server) as served:
            counts, examples = attacked(target, given.count, given.seed, given.clients)
        record = {
            "all": {column: sum(row[column] for row in counts.values()) for column in COLUMNS},
            "by kind": {kind: {column: row[column] for column in COLUMNS} for kind, row in sorted(counts.items())},
            "crashes": int(not server.alive()),
            "addresses asked for clients": asked.hits,
            "pages": looked_at(server),
            "honest requests": served.summary(),
            "the same picture afterwards": Client(server.url).paint(before.concept, seed=1) == before.picture,
            "memory in MB": {"before": before.memory, "after": round(server.memory() / 1e6)},
            "seconds": round(time.monotonic() - began),
            "seed": given.seed,
            "harmful answers": examples,
        }
    print(json.dumps(record, indent=1))
    write_results("hostile", **record)
    return int(not met(record))


def met(record: dict[str, Any]) -> bool:
    """Whether every aim was met."""
    return (
        not any(record["all"][column] for column in HARMFUL)
        and not record["crashes"]
        and not record["addresses asked for clients"]
        and not record["pages"]["with a script"]
        and not record["honest requests"]["failed"]
        and record["the same picture afterwards"]
    )


# ------------------------------------------------------------------------------------------------------------- attacks


def attacked(
    target: Target, count: int, seed: int, clients: int
) -> tuple[dict[str, Counter[str]], list[dict[str, Any]]]:
    """Counters by kind, and examples of harmful answers."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ATTACKS}
    examples: list[dict[str, Any]] = []
    with ThreadPoolExecutor(clients) as pool:
        for number, (kind, outcome) in enumerate(pool.map(lambda k: sent(target, seed, k), range(count))):
            verdict = judged(outcome)
            counts[kind].update(["requests", verdict])
            if verdict in HARMFUL and len(examples) < SHOWN:
                about = {"number": number, "kind": kind, "status": outcome.status, "request": outcome.about}
                examples.append(about | {"answer": outcome.text[:200]})
    return counts, examples


def sent(target: Target, seed: int, number: int) -> tuple[str, Outcome]:
    """Send the attack of a number."""
    chance = random.Random(f"{seed} {number}")
    kind = chance.choices(list(ATTACKS), [weight for _, weight in ATTACKS.values()])[0]
    return kind, ATTACKS[kind][0](target, chance)


def judged(outcome: Outcome) -> str:
    """The column of an outcome. A status of 4xx without a word of explanation is unclear."""
    if outcome.status >= 500:
        return "5xx"
    if outcome.status >= 400:
        return "4xx" if len(re.sub(r"<[^>]*>|\s", "", outcome.text)) >= 8 or "HEAD" in outcome.about else "unclear"
    if outcome.status > 0:
        return "2xx or 3xx"
    return {CLOSED: "closed", HUNG: "hung", LEFT: "left", UNSENT: "unsent"}[outcome.status]


# -------------------------------------------------------------------------------------------------------- surroundings


class Before:
    """The state before the attacks: a concept and one of its pictures."""

    def __init__(self, client: Client, server: Studio) -> None:
        self.concept = client.teach("zippy", toy_pictures(16), noun="car", goal="fast", score=False, check=False)
        self.picture = client.paint(self.concept, seed=1)
        self.memory = round(server.memory() / 1e6)  # with the base open


def prepared(server: Studio, asked: Canary) -> tuple[Target, Before]:
    """An attacker's knowledge: the server's own list of operations, and ids of things that exist."""
    honest = Client(server.url)
    before = Before(honest, server)
    document = httpx.get(f"{server.url}/openapi.json").json()
    client = httpx.Client(timeout=PATIENCE, limits=httpx.Limits(max_connections=None))
    target = Target(server.url, server.port, asked.url, client, list(operations(document)), honest.ids())
    return target, before


class Canary:
    """A server that nothing may ask."""

    def __init__(self) -> None:
        self.hits = 0
        noted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                noted.hits += 1
                self.send_response(200)
                self.end_headers()

            do_HEAD = do_POST = do_PUT = do_OPTIONS = do_GET  # noqa: N815

            def log_message(self, *words: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def canary() -> Iterator[Canary]:
    bird = Canary()
    threading.Thread(target=bird.server.serve_forever, daemon=True).start()
    try:
        yield bird
    finally:
        bird.server.shutdown()


class Served:
    """How an honest client's requests went."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.seconds)
        return {
            "answered": len(ordered),
            "failed": len(self.failed),
            "median seconds": round(statistics.median(ordered), 3),
            "95 % seconds": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
            "longest seconds": round(ordered[-1], 3),
            "examples": self.failed[:5],
        }


@contextmanager
def honest_client(server: Studio) -> Iterator[Served]:
    """A client that asks for health, a page and lists five times a second from an address of its own."""
    served, over = Served(), threading.Event()

    def go_on() -> None:
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=server.url, timeout=15, transport=transport) as client:
            for number in range(10**9):
                if over.wait(0.2):
                    return
                path, began = HONEST[number % len(HONEST)], time.monotonic()
                try:
                    status = client.get(path).status_code
                except httpx.HTTPError as error:
                    served.failed.append(f"{path}: {type(error).__name__}")
                    continue
                if status == 200:
                    served.seconds.append(time.monotonic() - began)
                else:
                    served.failed.append(f"{path}: {status}")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield served
    finally:
        over.set()
        thread.join()


def looked_at(server: Studio, most: int = 80) -> dict[str, Any]:
    """Pages reached by links from the first one: how many, and which hold a script of an attacker as HTML."""
    todo, seen, bad = ["/"], set[str](), list[str]()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while todo and len(seen) < most:
            path = todo.pop(0)
            if path in seen:
                continue
            seen.add(path)
            answer = client.get(path)
            if answer.status_code == 200 and "text/html" in answer.headers.get("content-type", ""):
                if is_live(answer.text):
                    bad.append(path)
                links = re.findall(r'href="(/[^"#]*)"', answer.text)
                todo += [link.replace("&amp;", "&") for link in links if not link.startswith("/static")]
    return {"looked at": len(seen), "with a script": len(bad), "which": bad[:5]}


class Scripts(HTMLParser):
    """Reads a page as a browser does, and notes an attacker's scripts in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.live = False, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        for name, value in attrs:
            acts = name.startswith("on") or name == "srcdoc" or (value or "").strip().startswith("javascript:")
            self.live |= acts and MARK in (value or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.live |= self.inside and MARK in data


def is_live(text: str) -> bool:
    """Whether a page holds an attacker's script that a browser would run."""
    reader = Scripts()
    reader.feed(text)
    return reader.live


if __name__ == "__main__":
    raise SystemExit(main())
