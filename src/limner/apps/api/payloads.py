"""Payloads of jobs that a client sends, checked before they are queued."""

from __future__ import annotations

from typing import Any

from limner.apps.jobs.tables import User

from .fields import Record
from .services import Services


def check_payload(services: Services, user: User, kind: str, payload: dict[str, Any]) -> Record:
    return payload
