"""Facts about the pocket base that need neither its networks nor torch."""

from __future__ import annotations

from pathlib import Path

from limner.core.capabilities import Facts

FACTS = Facts(full_size=False, photographs=False, results=Path(__file__).parent.parent / "methods" / "measured.json")
