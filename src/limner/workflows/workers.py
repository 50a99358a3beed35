"""Stacked training spread over processes of one machine or over a cluster: each worker has its own base, and no
gradients are exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from limner.engine.stacked.train import SLOTS
from limner.errors import InputError, MissingExtra
from limner.methods import find

from .learn_many import Done, Job, learn_many


def learn_over(
    base: str,
    jobs: Sequence[Job],
    *,
    workers: int = 2,
    on: str = "local",
    slots: int = SLOTS,
    mixed: bool = False,
    opening: Mapping[str, Any] | None = None,
) -> Iterator[Done]:
    """Train jobs in several processes of this machine, or with `on="ray"` in actors of a Ray cluster. Each worker has
    its own base and trains its jobs stacked; pictures go to the workers and concepts come back, never gradients. Yields
    the jobs of each worker when all of them have ended. `opening` holds keyword arguments of `load`."""
    if on not in ("local", "ray"):
        raise InputError(f"workers run on 'local' or 'ray', not {on!r}")
    if workers < 1:
        raise InputError(f"there must be at least one worker, not {workers}")
    for name in {job.method for job in jobs if isinstance(job.method, str)}:
        # naming a method is trusting it, also in concepts that come back from a worker
        find(name)
    parts = [list(jobs[k : k + slots]) for k in range(0, len(jobs), slots)] if len(jobs) > slots * workers else [
        list(jobs[k::workers]) for k in range(workers)
    ]  # fmt: skip
    parts = [part for part in parts if part]
    about = {"opening": dict(opening or {}), "slots": slots, "mixed": mixed}
    yield from (_on_ray if on == "ray" else _in_processes)(base, parts, workers, about)


class Worker:
    """One worker process or actor; it opens the base once."""

    def __init__(self, base: str, opening: Mapping[str, Any], threads: int = 0) -> None:
        from limner.bases.common.loading import load

        if threads:
            torch.set_num_threads(threads)
        self.base = load(base, **opening)

    def run(self, jobs: Sequence[Job], slots: int, mixed: bool) -> list[Done]:
        return learn_many(self.base, jobs, slots=slots, mixed=mixed)


_worker: list[Worker] = []
"""The worker of this process, if `_in_processes` started it; else empty."""


def _begin_worker(base: str, opening: Mapping[str, Any], threads: int) -> None:
    _worker[:] = [Worker(base, opening, threads)]


def _run_in_worker(jobs: Sequence[Job], slots: int, mixed: bool) -> list[Done]:
    return _worker[0].run(jobs, slots, mixed)


def _in_processes(base: str, parts: Sequence[list[Job]], workers: int, about: Mapping[str, Any]) -> Iterator[Done]:
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor, as_completed

    threads = max(1, (os.cpu_count() or 1) // workers)
    begin = (base, about["opening"], threads)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=begin) as pool:
        running = [pool.submit(_run_in_worker, part, about["slots"], about["mixed"]) for part in parts]
        for future in as_completed(running):
            yield from future.result()


def _on_ray(base: str, parts: Sequence[list[Job]], workers: int, about: Mapping[str, Any]) -> Iterator[Done]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("spreading over a cluster needs Ray: pip install 'limner[ray]'") from error
    ray.init(ignore_reinit_error=True)
    actors = [ray.remote(Worker).remote(base, about["opening"]) for _ in range(min(workers, len(parts)))]
    running = {
        actors[k % len(actors)].run.remote(part, about["slots"], about["mixed"]): k for k, part in enumerate(parts)
    }
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        running.pop(done)
        yield from ray.get(done)
