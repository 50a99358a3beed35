"""The audit: who did what, and when."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from .tables import Audit


def audit(session: Session, user_id: str, action: str, about: str = "", *, address: str = "", **detail: Any) -> None:
    """Add a row to the audit, in the transaction of what it is about.

    Args:
        user_id: id of the user who acts; empty for the operator at the command line, and for workers.
        action: a noun and a verb, "concept.share".
        about: id of what it is done to.
        address: the client's network address.
        detail: more, in types that JSON can hold; no secrets.
    """
    session.add(Audit(user_id=user_id, action=action, about=about, detail=detail, address=address[:64]))
