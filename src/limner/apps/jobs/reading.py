"""A payload that is being read into the fields of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limner.errors import InputError
from limner.workflows.requests import BaseChoice

from .access import demand_change, find
from .layout import Layout
from .tables import Concept, Subject


@dataclass
class Reading:
    """A payload that is being read."""

    kind: str
    payload: Mapping[str, Any]
    layout: Layout
    bases: Sequence[BaseChoice]
    fields: dict[str, Any] = field(default_factory=dict)  # fields of the request
    concepts: list[Concept] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)

    def take(self, *names: str) -> None:
        """Copy plain fields of the payload. `read_request` checks their types."""
        for name in names:
            if name in self.payload:
                self.fields[name] = self.payload[name]

    def subject(self, value: object) -> Subject:
        row = find(self.layout.session, self.layout.user, Subject, id_of(value, "subject"))
        self.subjects.append(row)
        return row

    def concept(self, value: object, *, own: bool = False) -> dict[str, Any]:
        """The place of a concept's file, as a `ConceptChoice`. Raises `NotFound` for a concept that the owner may not
        use, and with `own` for one that is another's."""
        row = find(self.layout.session, self.layout.user, Concept, id_of(value, "concept"))
        if own:
            demand_change(self.layout.user, row)
        scale = value.get("scale", 1.0) if isinstance(value, dict) else 1.0
        if isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise InputError(f"the scale of a concept is a number, not {str(scale)[:40]!r}")
        self.concepts.append(row)
        self.scales.append(float(scale))
        return {"path": str(self.layout.add(row.sha256, f"concepts/{len(self.concepts)}-{row.id}.safetensors"))}

    def picture(self, name: str) -> None:
        """Copy a field that names a picture."""
        if self.payload.get(name):
            self.fields[name] = str(self.layout.picture(self.payload[name], name))

    def references(self) -> str | None:
        """The folder of the real pictures of the first concept's subject, where the owner may see them."""
        row = self.concepts[0] if self.concepts else None
        if row is None or row.subject_id is None:
            return None
        subject = self.layout.session.get(Subject, row.subject_id)
        user = self.layout.user
        if subject is None or subject.deleted or subject.owner_id != user.id:
            return None
        return str(self.layout.photos(subject, "references"))


def id_of(value: object, what: str) -> str:
    text = value.get("id") if isinstance(value, dict) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{32}", text):
        raise InputError(f"a {what} is named by its id, 32 hexadecimal digits, not {str(text)[:80]!r}")
    return text
