"""Prometheus metrics of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select

from limner.apps.jobs.tables import Concept, Job, Picture, User

if TYPE_CHECKING:
    from limner.apps.jobs.database import Database


class Metrics:
    """Counts of requests and pictures, and the state of the queue when it is asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        more: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("limner_requests", "Answered requests", ["method", "route", "status"], **more)
        self.seconds = Histogram("limner_request_seconds", "Time until the first byte of the answer", ["route"], **more)
        self.refused = Counter("limner_refused_requests", "Refused requests", ["code"], **more)
        self.pictures = Counter("limner_painted_pictures", "Pictures painted by the images API", **more)
        self.painting = Histogram("limner_painting_seconds", "Time from an order to its pictures", **more)
        self.jobs = Gauge("limner_jobs", "Jobs by state and kind", ["state", "kind"], **more)
        self.rows = Gauge("limner_rows", "Users, concepts and pictures that exist", ["table"], **more)
        self.painter = Gauge("limner_painter", "Counts of the painter since the start", ["count"], **more)
        self.hot = Gauge("limner_hot_concepts", "The cache of concepts in memory", ["count"], **more)

    def text(self, database: Database, painter: Any) -> bytes:
        """The metrics in Prometheus' format."""
        self.jobs.clear()
        if painter is not None:
            for name in ("orders", "painted", "failed", "cancelled", "refused", "batches"):
                self.painter.labels(name).set(getattr(painter.counters, name))
            self.painter.labels("waiting").set(painter.num_waiting)
            for name, number in painter.cache.items():
                self.hot.labels(name).set(number)
        with database.reading() as session:
            counts = session.execute(select(Job.state, Job.kind, func.count()).group_by(Job.state, Job.kind))
            for state, kind, count in counts:
                self.jobs.labels(state, kind).set(count)
            for table in (Concept, Picture):
                alive = select(func.count()).select_from(table).where(table.deleted.is_(None))
                self.rows.labels(table.__tablename__).set(session.scalar(alive) or 0)
            self.rows.labels("users").set(session.scalar(select(func.count()).select_from(User)) or 0)
        return generate_latest(self.registry)
