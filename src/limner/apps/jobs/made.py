"""The things that a job has made so far."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .payloads import Plan
from .tables import Job


@dataclass
class Made:
    """The concepts, states and measurements of a job, collected from its events."""

    job: Job
    plan: Plan
    concepts: dict[str, Path] = field(default_factory=dict)  # name of the file, without suffix -> file
    stored: dict[str, str] = field(default_factory=dict)  # the same name -> SHA-256, at the end
    states: dict[int, dict[str, Any]] = field(default_factory=dict)  # number of updates -> state of training
    certificate: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)

    def id(self, place: str) -> str:
        """The id of what the job makes at a place: the same whenever and wherever the job runs."""
        return hashlib.sha256(f"{self.job.id}/{place}".encode()).hexdigest()[:32]
