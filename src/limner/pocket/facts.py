"""Facts about the pocket base that need neither its networks nor torch."""

from __future__ import annotations

from pathlib import Path

from limner.core.capabilities import Facts

WEIGHTS = Path(__file__).parent / "weights"
FILES = {"depth": "estimators/depth.safetensors", "segmentation": "segmenter.safetensors"}
ESTIMATED = tuple(name for name, file in FILES.items() if (WEIGHTS / file).is_file())
"""The conditions that networks of this edition compute from a picture."""
FACTS = Facts(
    full_size=False,
    photographs=False,
    results=Path(__file__).parent.parent / "methods" / "measured.json",
    estimators=ESTIMATED,
)
