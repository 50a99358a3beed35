"""The parts of a running server: database, file store, painter, worker thread, limits, metrics."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select

from limner.apps.jobs.database import open_database
from limner.apps.jobs.files import open_files
from limner.apps.jobs.tables import User

from .config import Config
from .limits import Buckets
from .metrics import Metrics

if TYPE_CHECKING:
    from limner.apps.jobs.database import Database

log = structlog.get_logger("limner.api")
ME = "me"
"""Name of the user of a server without login."""


@dataclass
class Services:
    """What routes work with, as `app.state.services`."""

    config: Config
    database: Database
    files: Any
    secret: bytes  # key of the forms' tokens
    me: User | None  # the one user of a server without login
    painter: Any = None  # paints the orders of many users together; None: jobs of the queue paint them
    worker: Any = None
    metrics: Metrics = field(default_factory=Metrics)
    started: float = field(default_factory=time.time)  # seconds since 1970
    stopping: threading.Event = field(default_factory=threading.Event)
    streams: Counter[str] = field(default_factory=Counter)  # open event streams by user id

    def __post_init__(self) -> None:
        limits = self.config.limits
        self.rates = Buckets(limits.requests_per_second, limits.burst)
        self.failures = Buckets(limits.failed_logins / 60, limits.failed_logins)


def open_services(config: Config) -> Services:
    """Open the database and the file store. Neither torch nor a base is loaded; the first job loads them."""
    config.data.mkdir(parents=True, exist_ok=True)
    database = open_database(config.database_url)
    files = open_files(config.files_url)
    me = None if config.needs_login else one_user(database)
    return Services(config, database, files, read_secret(config.data / "secret"), me)


def one_user(database: Database) -> User:
    """The user of a server without login, an administrator; made on first use."""
    with database.session() as session:
        user = session.scalar(select(User).where(User.name == ME))
        if user is None:
            user = User(name=ME, role="admin")
            session.add(user)
            session.flush()
        session.refresh(user)
        session.expunge(user)
        return user


def read_secret(path: Path) -> bytes:
    """The server's secret, made on first use, which only this user of the machine can read."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    secret = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    return secret
