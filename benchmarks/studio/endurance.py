"""Eight clients on one studio for twenty minutes: is a job lost, does a client ever get another's picture, does memory
grow?

    python -m benchmarks.studio.endurance --minutes 20      # results/studio_endurance.json

Each client is a user with a token, a toy and a concept. Before all begin, the concept paints a picture for each of a
few seeds while nobody else asks for anything; from then on every picture must be the same: bit for bit where the server
painted it alone, within rounding where it was painted in a batch with other users' (a sum is then taken in another
order), and in any case nearer to it than to any other user's. Clients also teach, score, read their lists and ask for
things that are another's, which they must not get.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from .client import Client, Taught, toy_pictures
from .server import Studio, studio, write_results

SEEDS = (1, 2, 3)
ROUNDING = 3
"""Largest difference of a pixel, of 255, that counts as rounding."""
FLAT = 0.05
WARM = 0.2
"""Share of the time at the start that memory may grow in: caches fill."""
PLAN = (("paint", 70), ("look", 14), ("pry", 10), ("teach", 4), ("paint by job", 2))
"""Acts of a client, and how often each comes in a hundred."""


@dataclass
class Tally:
    """Counts of all clients."""

    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # for each painted picture
    equal: int = 0  # pictures equal bit for bit
    rounded: int = 0  # pictures equal within rounding
    crossed: int = 0  # pictures nearer to another user's
    lost: int = 0  # jobs that did not end as done
    seen: int = 0  # things of others that a client got


@dataclass
class Person:
    """A user of the studio with a concept, and its pictures painted alone."""

    client: Client
    concept: Taught
    subject: str
    alone: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.studio.endurance", description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="how long (default: 20)")
    parser.add_argument("--clients", type=int, default=8, help="users at the same time (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other choices")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, studio(Path(folder) / "data", login=True) as server:
        people = [arrived(server, number) for number in range(given.clients)]
        tally, memory = endured(server, people, given.minutes * 60, given.seed)
        alive = server.alive()
        code = server.stop()
    record = {
        "minutes": given.minutes,
        "clients": given.clients,
        "lost jobs": tally.lost,
        "pictures of another": tally.crossed,
        "things of others that were shown": tally.seen,
        "faults": tally.faults[:20],
        "server alive": alive,
        "exit code": code,
        "pictures": {
            "painted": tally.equal + tally.rounded + tally.crossed,
            "equal bit for bit": tally.equal,
            "equal within rounding": tally.rounded,
            "a minute": round((tally.equal + tally.rounded) / given.minutes, 1),
            "median seconds": round(statistics.median(tally.seconds), 2),
            "95 % seconds": round(sorted(tally.seconds)[int(0.95 * (len(tally.seconds) - 1))], 2),
        },
        "requests": dict(sorted(tally.done.items())),
        "memory in MB": flatness(memory),
        "seed": given.seed,
    }
    print(json.dumps(record, indent=1))
    write_results("endurance", **record)
    return int(bool(tally.lost or tally.crossed or tally.seen or tally.faults or not alive))


def arrived(server: Studio, number: int) -> Person:
    """A new user, a toy taught in seconds, and its pictures painted alone."""
    client = Client(server.url, server.new_user(f"user-{number}"))
    pictures = toy_pictures(12 + number, ("dog", "car", "robot", "cat", "teapot")[number % 5])
    noun = ("dog", "car", "robot", "cat", "teapot")[number % 5]
    subject = client.subject(f"toy{number}", pictures, noun=noun)
    concept = client.learn(subject, goal="fast", score=False, check=False)
    return Person(client, concept, subject, {seed: array(client.picture(concept, seed=seed)) for seed in SEEDS})


def array(image: Any) -> np.ndarray[Any, Any]:
    return np.asarray(image, dtype=np.int16)


def endured(server: Studio, people: list[Person], seconds: float, seed: int) -> tuple[Tally, list[float]]:
    """All clients at work until the time is over; their counts, and the server's memory every two seconds."""
    tally, over, lock = Tally(), threading.Event(), threading.Lock()
    threads = [
        threading.Thread(target=live, args=(person, people, random.Random(f"{seed} {k}"), tally, over, lock))
        for k, person in enumerate(people)
    ]
    memory, began = list[float](), time.monotonic()
    for thread in threads:
        thread.start()
    while time.monotonic() - began < seconds and server.alive():
        memory.append(server.memory() / 1e6)
        time.sleep(2)
    over.set()
    for thread in threads:
        thread.join()
    return tally, memory


def live(
    me: Person, people: list[Person], chance: random.Random, tally: Tally, over: threading.Event, lock: threading.Lock
) -> None:
    """One client at work until the time is over."""
    acts = {"paint": paint, "look": look, "pry": pry, "teach": teach, "paint by job": paint_by_job}
    while not over.is_set():
        act = chance.choices([name for name, _ in PLAN], [weight for _, weight in PLAN])[0]
        try:
            acts[act](me, people, chance, tally, lock)
            with lock:
                tally.done[act] += 1
        except (httpx.HTTPError, RuntimeError, KeyError, StopIteration) as error:
            with lock:
                tally.faults.append(f"{act}: {type(error).__name__}: {error}"[:300])
                tally.lost += act in ("teach", "paint by job", "paint")
        time.sleep(chance.uniform(0, 0.3))


def paint(me: Person, people: list[Person], chance: random.Random, tally: Tally, lock: threading.Lock) -> None:
    seed, began = chance.choice(SEEDS), time.monotonic()
    picture = array(me.client.picture(me.concept, seed=seed))
    with lock:
        tally.seconds.append(time.monotonic() - began)
    compare(picture, seed, me, people, tally, lock)


def compare(
    picture: np.ndarray[Any, Any], seed: int, me: Person, people: list[Person], tally: Tally, lock: threading.Lock
) -> None:
    """Count a picture as equal, rounded or crossed."""
    off = {id(person): np.abs(person.alone[seed] - picture) for person in people}
    own = off[id(me)]
    others = [float(other.mean()) for number, other in off.items() if number != id(me)]
    with lock:
        if not own.any():
            tally.equal += 1
        elif own.max() <= ROUNDING and all(own.mean() < other for other in others):
            tally.rounded += 1
        else:
            tally.crossed += 1
            tally.faults.append(f"a picture of {me.concept.name} is off by {own.max()}, {min(others):.1f} from others")


def paint_by_job(me: Person, people: list[Person], chance: random.Random, tally: Tally, lock: threading.Lock) -> None:
    """The same by way of the queue."""
    seed = chance.choice(SEEDS)
    concept = [{"id": me.concept.id, "scale": 1.0}]
    words = f"<{me.concept.name}> on the beach"
    job = me.client.submit("paint", prompts=[words], concepts=concept, seed=seed, count=1)
    me.client.wait(job)
    rows = me.client.call("GET", "/api/pictures", params={"job": job})["pictures"]
    compare(array(me.client.image(rows[0]["content"])), seed, me, people, tally, lock)


def teach(me: Person, people: list[Person], chance: random.Random, tally: Tally, lock: threading.Lock) -> None:
    """A short training of another method."""
    me.client.learn(
        me.subject,
        method="textual_inversion",
        settings={"steps": 4},
        seed=chance.randrange(1000),
        score=False,
        check=False,
    )


def look(me: Person, people: list[Person], chance: random.Random, tally: Tally, lock: threading.Lock) -> None:
    """Read the lists, and a thumbnail: all of them must be the user's own."""
    pictures = me.client.call("GET", "/api/pictures")["pictures"]
    names = {each["name"] for picture in pictures for each in picture["concepts"]}
    concepts = me.client.call("GET", "/api/concepts")["concepts"]
    strange = {name for name in names if not name.startswith(me.concept.name)}
    with lock:
        tally.seen += len(strange) + sum(each["shared"] for each in concepts)
    if pictures:
        me.client.http.get(pictures[0]["thumbnail"]).raise_for_status()


def pry(me: Person, people: list[Person], chance: random.Random, tally: Tally, lock: threading.Lock) -> None:
    """Ask for what is another user's."""
    other = chance.choice([person for person in people if person is not me])
    paths = (
        f"/api/concepts/{other.concept.id}",
        f"/api/concepts/{other.concept.id}/file",
        f"/api/subjects/{other.subject}",
        f"/api/jobs/{other.concept.job}",
        f"/api/jobs/{other.concept.job}/events",
    )
    answer = me.client.http.get(chance.choice(paths))
    stolen = {"model": other.concept.name, "prompt": f"<{other.concept.name}> on the beach", "n": 1}
    painted = me.client.http.post("/v1/images/generations", json=stolen)
    with lock:
        tally.seen += (answer.status_code == 200) + (painted.status_code == 200)


def flatness(memory: list[float]) -> dict[str, Any]:
    """Median memory of the first and the last quarter after the caches have filled, and the change between them."""
    settled = memory[int(WARM * len(memory)) :]
    quarter = max(1, len(settled) // 4)
    first, last = statistics.median(settled[:quarter]), statistics.median(settled[-quarter:])
    change = last / first - 1
    return {
        "first quarter": round(first),
        "last quarter": round(last),
        "most": round(max(memory)),
        "change": round(change, 3),
        "flat": abs(change) <= FLAT,
    }


if __name__ == "__main__":
    raise SystemExit(main())
