"""The parts of a running server: database, file store, painter, worker thread, limits, metrics."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from limner.apps.jobs import users
from limner.apps.jobs.database import open_database
from limner.apps.jobs.files import open_files
from limner.apps.jobs.painter import Painter
from limner.apps.jobs.tables import User
from limner.errors import InputError

from .config import Config
from .limits import Buckets
from .metrics import Metrics
from .thumbnails import Thumbnails
from .workers import Workers

if TYPE_CHECKING:
    from limner.apps.jobs.database import Database

SECRET_BYTES = 32
MOST_COPIES = 10_000  # local copies whose state is remembered
PATIENCE = 30.0
"""Seconds for pictures that wait, and for a training's checkpoint, when the server ends."""
log = structlog.get_logger("limner.api")


@dataclass
class Services:
    """The parts that routes work with, as `app.state.services`."""

    config: Config
    database: Database
    files: Any
    secret: bytes  # key of the forms' tokens
    me: User | None  # the one user of a server without login
    painter: Any = None  # paints the orders of many users together; None: jobs of the queue paint them
    workers: Workers | None = None  # those of this process
    metrics: Metrics = field(default_factory=Metrics)
    thumbnails: Thumbnails = field(default_factory=Thumbnails)
    started: float = field(default_factory=time.time)  # seconds since 1970
    stopping: threading.Event = field(default_factory=threading.Event)
    copies: dict[tuple[str, str], tuple[Path, tuple[int, int] | None]] = field(default_factory=dict)
    streams: Counter[str] = field(default_factory=Counter)  # open event streams by user id

    def __post_init__(self) -> None:
        limits = self.config.limits
        self.rates = Buckets(limits.requests_per_second, limits.burst)
        self.failures = Buckets(limits.failed_logins / 60, limits.failed_logins)

    def local(self, sha256: str, suffix: str) -> Path:
        """A verified copy of a stored file on this machine. A copy that did not change since it was verified is not
        read again: a concept's file may have a hundred megabytes."""
        known = self.copies.get((sha256, suffix))
        if known is not None and (status := _status(known[0])) is not None and status == known[1]:
            return known[0]
        path: Path = self.files.local(sha256, suffix)
        while len(self.copies) >= MOST_COPIES:
            self.copies.pop(next(iter(self.copies)), None)
        self.copies[sha256, suffix] = path, _status(path)
        return path

    def hot_files(self) -> set[str]:
        """SHA-256 of the concepts' files that are in the painter's memory."""
        hot = getattr(self.painter, "hot", None)
        # a key of the cache begins with the path of the file, whose name is the hash
        keys: list[Any] = hot.recent.keys() if hot is not None else []
        return {Path(str(key[0][0])).stem for key in keys}


def _status(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_ctime_ns


def open_services(config: Config) -> Services:
    """Open the database and the file store, and start the painter and the worker of this process, if it has any.
    Neither torch nor a base is loaded; the first job loads them."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds prompts and photographs
    database = open_database(config.database_url)
    files = open_files(config.files_url)
    me = None if config.needs_login else users.me(database)
    services = Services(config, database, files, read_secret(config.data / "secret"), me)
    if config.workers:
        services.painter = Painter(window=config.window)
        services.workers = Workers(config, database, files, services.painter, services.stopping)
        services.workers.start()
    return services


def warm_up(after: float = 2.0) -> threading.Timer:
    """Import the methods in a thread of its own, so that the first page with a list of them does not wait for it.

    after: seconds until it begins, in which the first page is drawn
    """

    def read() -> None:
        from limner.methods import methods
        from limner.workflows.choose_method import measured

        try:
            methods()
            measured()
        except Exception:  # the page that needs them says what is wrong
            log.exception("methods.unreadable")

    timer = threading.Timer(after, read)
    timer.daemon = True
    timer.start()
    return timer


def close_services(services: Services) -> None:
    """Close everything: a running training is checkpointed and handed back, and pictures that wait are painted where
    there is time."""
    services.stopping.set()
    if services.workers is not None:
        services.workers.join(PATIENCE)
    if services.painter is not None:
        services.painter.close(timeout=PATIENCE)
    services.database.close()


def read_secret(path: Path) -> bytes:
    """The server's secret, made on first use, which only this user of the machine can read."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    for _ in range(2):
        if path.exists() and len(secret := path.read_bytes()) == SECRET_BYTES:
            return secret
        # a server that was killed while it wrote, or a full disk, left less than a secret
        path.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
            with contextlib.suppress(FileExistsError):  # another server was first
                os.link(part, path)
        finally:
            part.unlink(missing_ok=True)
    raise InputError(f"{path} cannot hold the server's secret: delete it, and look whether the disk is full")
