"""Workers as actors of a Ray cluster: each runs `Worker` in a process of its own, on any machine of the cluster. They
share the database and the file store, and nothing else; no weights travel between them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from limner.errors import InputError, MissingExtra

from .database import open_database
from .files import open_files
from .worker import Worker

STOP_SECONDS = 120.0
"""Seconds that the actors have to write their checkpoints at the end."""


class WorkerActor:
    """One worker, as an actor; its job runs in a thread, so that calls are answered meanwhile."""

    def __init__(self, database: str, files: str, about: Mapping[str, Any]) -> None:
        # jobs move between machines, so their checkpoints go into the file store
        self._worker = Worker(open_database(database), open_files(files), **{"shares": True, **about})
        self._until = threading.Event()
        self._thread = threading.Thread(
            target=self._worker.run, args=(self._until,), name=self._worker.name, daemon=True
        )
        self._thread.start()

    def status(self) -> dict[str, Any]:
        """The worker's name, its current job and the number of jobs that it has run."""
        worker = self._worker
        return {"name": worker.name, "job": worker.job_id, "done": worker.num_done, "alive": self._thread.is_alive()}

    def stop(self) -> None:
        """End the worker: its job writes its checkpoint and goes back to the queue. Returns when it has."""
        self._until.set()
        self._thread.join()
        self._worker.database.close()


def start_ray_workers(
    database: str,
    files: str,
    *,
    count: int,
    address: str = "auto",
    resources: Mapping[str, float] | None = None,
    about: Mapping[str, Any] | None = None,
) -> RayWorkers:
    """Start workers on a Ray cluster.

    Args:
        database: URL of the database, as every machine of the cluster reaches it: PostgreSQL.
        files: URL of the file store, likewise: a shared folder or a store of objects.
        count: number of workers.
        address: of the cluster: "ray://HOST:10001", "auto", or "local" for one on this machine.
        resources: of each worker, such as {"num_gpus": 1}.
        about: further arguments of `Worker`.

    Raises `MissingExtra` without Ray, and `InputError` for a database that lies in a file of one machine.
    """
    if database.startswith("sqlite") and address != "local":
        raise InputError(
            "SQLite's file is on one machine; for workers of a cluster use --database postgresql://USER@HOST/NAME"
        )
    if count < 1:
        raise InputError(f"there must be at least one worker, not {count}")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("workers on a cluster need Ray: pip install 'limner[ray]'") from error
    ray.init(address=address, ignore_reinit_error=True)
    actor = ray.remote(WorkerActor)
    if resources:
        actor = actor.options(**resources)
    # an actor that dies is started anew; its job's lease runs out meanwhile, and any worker takes the job
    actor = actor.options(max_restarts=-1)
    return RayWorkers(ray, [actor.remote(database, files, dict(about or {})) for _ in range(count)])


class RayWorkers:
    """The actors of `start_ray_workers`."""

    def __init__(self, ray: Any, actors: Sequence[Any]) -> None:
        self._ray, self.actors = ray, list(actors)

    def status(self) -> list[dict[str, Any]]:
        """The status of each worker. One whose process died, and which Ray starts anew, is not alive meanwhile, and its
        name and job are empty."""
        return [self._answer(call) for call in [actor.status.remote() for actor in self.actors]]

    def _answer(self, call: Any) -> dict[str, Any]:
        try:
            status: dict[str, Any] = self._ray.get(call)
        except self._ray.exceptions.RayActorError:
            return {"name": "", "job": "", "done": 0, "alive": False}
        return status

    def run(self, until: threading.Event, *, interval: float = 1.0) -> None:
        """Wait for the event, then stop the workers. A worker that dies ends none of the others."""
        while not until.wait(interval):
            self.status()  # raises where the cluster is gone
        self.stop()

    def stop(self) -> None:
        """Stop all workers at once, and wait for them."""
        stopping = [actor.stop.remote() for actor in self.actors]
        self._ray.wait(stopping, num_returns=len(stopping), timeout=STOP_SECONDS)
        for actor in self.actors:
            self._ray.kill(actor)
