"""Sixteen users, each with a concept of their own: pictures gathered into batches whose rows have different concepts,
beside one picture after another, and beside merging each concept into the weights and taking it out again.

    python -m benchmarks.studio.many_users      # results/many_users.json

The base is pocket, the concepts have two updates each (their quality does not matter here), and every handle is <rex>.
Ratios count, not seconds: those are of the machine that the file names.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import limner
from limner.apps.jobs.gather import PaintOrder
from limner.apps.jobs.painter import Painter
from limner.core.files import atomic_write
from limner.engine.attach import Adapter, parameter
from limner.library.concepts import Concepts
from limner.library.opening import adapter_of
from limner.parts.merging.changes import Member, member_of
from limner.pocket.subjects import toy
from limner.workflows.paint import check_prompts, painted
from limner.workflows.paint_many import Order, attach_orders, paint_many

from .queueing import Poisson, joining, latencies

ROOT = Path(__file__).parents[2]
FEW: dict[str, Any] = {"steps": 2, "batch": 1}
METHODS: dict[str, dict[str, Any]] = {
    "lora_dreambooth": FEW | {"rank": 4, "num_class_pictures": 2, "prior_weight": 0.0},
    "textual_inversion": FEW,
    "custom_diffusion": FEW | {"num_class_pictures": 2, "prior_weight": 0.0},
    "lycoris_loha": FEW,
}
PROMPT = "<rex> on the beach"
GUIDANCE = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.studio.many_users", description=str(__doc__).split("\n\n")[0]
    )
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="steps of a picture")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--orders", type=int, default=96, help="orders of each Poisson load")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="(default: one for each core)"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    base = limner.load("pocket", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        files = taught(base, Path(folder), given.users)
        bench = Bench(base, files, given.steps)
        steps = bench.step_seconds(given.runs)
        record: dict[str, Any] = {
            "setting": f"{given.users} users with a concept each ({', '.join(METHODS)}), one picture of {base.picture_size} px "
            f"each, {given.steps} steps, guidance {GUIDANCE}, float32, {given.threads} threads; pocket",
            "throughput": bench.throughput(given.runs),
            "attaching": bench.attaching(given.runs),
            "cache": bench.cache(),
            "poisson load": bench.load(given.orders),
            "rows in a step": steps,
            "joining between steps, simulated": joining(steps, given.steps),
        }
    write(record)


def taught(base: Any, folder: Path, users: int) -> list[Path]:
    """The file of each user's concept, old enough to be cached."""
    files = []
    for k in range(users):
        method, settings = list(METHODS.items())[k % len(METHODS)]
        concept = limner.learn(base, toy("dog", 2_000_100 + k, name="rex", count=1), method=method, **settings)
        files.append(concept.save(folder / f"{k}.safetensors"))
    time.sleep(0.2)
    return files


class Bench:
    """The pictures of all users, painted in several ways."""

    def __init__(self, base: Any, files: Sequence[Path], steps: int) -> None:
        self.base, self.files, self.steps = base, list(files), steps
        self.hot = Concepts()
        self.settings = limner.PaintSettings(steps, GUIDANCE, batch=len(files))

    def order(self, k: int, seed: int = 0) -> PaintOrder:
        concept = self.files[k]
        return PaintOrder(
            prompt=PROMPT, user=f"user {k}", concept=concept, seed=seed, steps=self.steps, guidance=GUIDANCE
        )

    def throughput(self, runs: int) -> dict[str, Any]:
        """Pictures of all users a second, by way; the pictures of every way are compared."""
        ways: dict[str, Callable[[], list[Any]]] = {
            "gathered, 8 in a batch": lambda: self.gathered(8),
            "gathered, 16 in a batch": lambda: self.gathered(16),
            "one after another": self.one_by_one,
            "merged and unmerged": self.merged,
        }
        self.members = [self.member(k) for k in range(len(self.files))]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        pictures: dict[str, list[Any]] = {}
        for run in range(runs + 1):  # the first warms up
            for name, way in ways.items():
                began = time.monotonic()
                pictures[name] = way()
                if run:
                    seconds[name].append(time.monotonic() - began)
            ways = dict(reversed(ways.items()))  # no way is always the one after the heaviest
        median = {name: statistics.median(each) for name, each in seconds.items()}
        own = pictures["one after another"]
        return {
            name: {
                "pictures a second": round(len(self.files) / median[name], 3),
                "seconds": [round(each, 2) for each in seconds[name]],
                "one after another = 1": round(median["one after another"] / median[name], 2),
                "largest difference of a picture, of 255": max(map(difference, pictures[name], own)),
            }
            for name in ways
        }

    @staticmethod
    def seconds_of(way: Callable[[], object]) -> float:
        began = time.monotonic()
        way()
        return time.monotonic() - began

    def gathered(self, most: int) -> list[Any]:
        with Painter(open_base=lambda choice: self.base, most=most, window=0.05) as painter:
            painter.hot = self.hot
            futures = [painter.submit(self.order(k)) for k in range(len(self.files))]
            return [future.result().image for future in futures]

    def one_by_one(self) -> list[Any]:
        return self.each_alone(self.files)

    def each_alone(self, files: Sequence[Path]) -> list[Any]:
        return [
            limner.paint(self.base, PROMPT, concepts=[file], settings=self.settings, hot=self.hot)[0].image
            for file in files
        ]

    def member(self, k: int) -> Member:
        return member_of(adapter_of(self.hot.read(self.files[k]), self.base, hot=self.hot), self.base)

    def merged(self) -> list[Any]:
        """Each concept's change added to the weights, a picture, and the weights copied back. The changes are in memory
        already, as whole weights: the least work that merging can be."""
        images = []
        for member in self.members:
            check_prompts([PROMPT], handles=[member.handle])
            with torch.no_grad(), weights_changed(self.base, member):
                recipe = member.adapter.recipe
                words = replace(recipe, modifiers=tuple(recipe.modifiers[k] for k in member.keeps))
                adapter = Adapter(words, member.handle, member.own, 1.0, member.adapter.seed, member.adapter.noun)
                with limner.engine.attach.attach(self.base, [adapter]) as adapted:
                    pixels = painted(adapted, [PROMPT], [0], self.settings)
            images.append(limner.core.pixels.to_images(pixels)[0])
        return images

    def attaching(self, runs: int) -> dict[str, Any]:
        """Seconds to attach and detach 8 concepts as rows, beside the seconds of their batch and of their pictures one
        after another. The base without concepts shows the most that batches gain on this machine."""
        shares = {}
        for name, files in {"all methods": self.files[:8], **self.by_method()}.items():
            concepts = [self.hot.read(file) for file in files]
            orders = [Order(PROMPT, concept) for concept in concepts]
            attach, batch, alone = [], [], []
            for _ in range(runs):
                alone.append(self.seconds_of(functools.partial(self.each_alone, files)))
                began = time.monotonic()
                adapters = [adapter_of(concept, self.base, hot=self.hot) for concept in concepts]
                with torch.no_grad(), attach_orders(self.base, adapters):
                    pass
                attach.append(time.monotonic() - began)
                began = time.monotonic()
                paint_many(self.base, orders, settings=self.settings, hot=self.hot)
                batch.append(time.monotonic() - began)
            middle = statistics.median(attach), statistics.median(batch)
            shares[name] = {
                "concepts": len(files),
                "attaching, s": round(middle[0], 4),
                "batch, s": round(middle[1], 3),
            }
            shares[name]["share"] = round(middle[0] / middle[1], 4)
            shares[name]["gain of the batch"] = round(statistics.median(alone) / middle[1], 2)
        plain = [PROMPT.replace("<rex>", "a dog")] * 8
        one = [self.seconds_of(lambda: [self.plain([prompt]) for prompt in plain]) for _ in range(runs)]
        whole = [self.seconds_of(lambda: self.plain(plain)) for _ in range(runs)]
        shares["no concept"] = {"gain of the batch": round(statistics.median(one) / statistics.median(whole), 2)}
        return shares

    def plain(self, prompts: list[str]) -> object:
        """Pictures of the base, without concepts, in one batch."""
        return limner.paint(self.base, prompts, settings=self.settings)

    def by_method(self) -> dict[str, list[Path]]:
        return {name: self.files[k :: len(METHODS)] for k, name in enumerate(METHODS)}

    def cache(self) -> dict[str, Any]:
        """Seconds of a picture whose concept is read from its file, and of one whose concept is in memory."""
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        reading: list[float] = []
        with Painter(open_base=lambda choice: self.base, window=0.0) as painter:
            for name in seconds:
                for k in range(len(self.files)):
                    began = time.monotonic()
                    painter.submit(self.order(k)).result()
                    seconds[name].append(time.monotonic() - began)
            counts = painter.cache
        for file in self.files:
            began = time.monotonic()
            Concepts(limit_bytes=0).read(file)
            reading.append(time.monotonic() - began)
        middle = {name: round(statistics.median(each), 4) for name, each in seconds.items()}
        return middle | {"ratio": round(middle["cold"] / middle["warm"], 3), "reading a file, s": round(statistics.median(reading), 4)} | counts  # fmt: skip

    def load(self, orders: int) -> list[dict[str, Any]]:
        """Latencies at Poisson loads, as shares of what one picture after another can paint."""
        capacity = len(self.files) / statistics.median(self.seconds_of(self.one_by_one) for _ in range(3))
        rows = []
        for share in (0.5, 0.9, 1.3):
            for most in (1, 8):
                arrivals = Poisson(share * capacity, orders, seed=1).times
                rows.append({"load": share, "most in a batch": most, **self.one_load(arrivals, most)})
        return rows

    def one_load(self, arrivals: Sequence[float], most: int) -> dict[str, Any]:
        chosen = random.Random(2)
        done: dict[int, float] = {}
        with Painter(open_base=lambda choice: self.base, most=most) as painter:
            painter.hot = self.hot
            began, sent = time.monotonic(), []
            for number, arrival in enumerate(arrivals):
                time.sleep(max(0.0, began + arrival - time.monotonic()))
                future = painter.submit(self.order(chosen.randrange(len(self.files)), number))
                future.add_done_callback(functools.partial(self.note, done, number, began))
                sent.append(future)
            for future in sent:
                future.result()
        counters = painter.counters
        each = [done[n] - arrival for n, arrival in enumerate(arrivals)]
        return latencies(each) | {"rows a batch": round(counters.painted / counters.batches, 2)}

    @staticmethod
    def note(done: dict[int, float], number: int, began: float, _: object) -> None:
        """Record when an order was done."""
        done[number] = time.monotonic() - began

    def step_seconds(self, runs: int) -> dict[int, float]:
        """Rows in a batch -> seconds of a step, and of the rest of a batch as 0 steps."""
        seconds = {}
        for rows in (1, 2, 4, 8):
            orders = [Order(PROMPT, self.hot.read(self.files[k]), k) for k in range(rows)]
            each = []
            for _ in range(runs):
                times = []
                for steps in (2, 6):
                    began = time.monotonic()
                    paint_many(self.base, orders, settings=replace(self.settings, steps=steps), hot=self.hot)
                    times.append(time.monotonic() - began)
                each.append((times[1] - times[0]) / 4)
            seconds[rows] = round(statistics.median(each), 4)
        return seconds


@contextmanager
def weights_changed(base: Any, member: Member) -> Iterator[None]:
    """The concept's changes added to the weights, which are copied back at the end."""
    before = {name: parameter(base, name).detach().clone() for name in member.changes}
    for name, change in member.changes.items():
        parameter(base, name).add_(change)
    try:
        yield
    finally:
        for name, value in before.items():
            parameter(base, name).copy_(value)


def difference(first: Any, second: Any) -> int:
    import numpy as np

    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


def write(record: dict[str, Any]) -> None:
    from benchmarks.common import LIBRARIES, _version, machine

    about = {
        "command": " ".join(["python -m benchmarks.studio.many_users", *sys.argv[1:]]),
        "machine": machine() | {"cores used": len(os.sched_getaffinity(0))},
        "versions": {name: _version(name) for name in LIBRARIES},
    }
    text = json.dumps(record | about, indent=1) + "\n"
    print(text)
    atomic_write(ROOT / "results" / "many_users.json", lambda part: part.write_text(text), overwrite=True)


if __name__ == "__main__":
    main()
