"""What to try after a diagnosis: changes of the settings, as one click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from limner.methods import find
from limner.workflows.form import fields_of


class Remedy(NamedTuple):
    """A change of one setting."""

    name: str
    setting: str
    factor: float
    text: str


FEWER, FAR_FEWER = ("fewer", "steps", 0.5, "half the updates"), ("far-fewer", "steps", 0.25, "a quarter of the updates")
MORE, SLOWER = ("more", "steps", 2.0, "twice the updates"), ("slower", "lr", 0.5, "half the learning rate")
FASTER, TENTH = ("faster", "lr", 2.0, "twice the learning rate"), ("tenth", "lr", 0.1, "a tenth of the learning rate")
REMEDIES: Mapping[str, tuple[tuple[str, str, float, str], ...]] = {
    "overfit": (FEWER, SLOWER),
    "memorised": (FAR_FEWER, SLOWER),
    "leaky background": (FEWER,),
    "underfit": (MORE, FASTER),
    "mode collapse": (SLOWER,),
    "image collapse": (TENTH,),
    "drift": (SLOWER,),
}
"""Label of a diagnosis -> changes that its advice names."""


def remedies_for(label: str, method: str, settings: Mapping[str, Any]) -> list[tuple[Remedy, dict[str, Any]]]:
    """Each remedy that a method has the setting for, with the settings it leads to."""
    try:
        fields = {field.name: field for field in fields_of(find(method))}
    except Exception:
        # a method of the user's own, or one that is gone: nothing is known of its settings
        return []
    found = []
    for row in REMEDIES.get(label, ()):
        remedy = Remedy(*row)
        field = fields.get(remedy.setting)
        if field is None or field.type not in ("int", "float"):
            continue
        now = settings.get(remedy.setting, field.default)
        value = max(1, round(now * remedy.factor)) if field.type == "int" else float(f"{now * remedy.factor:.3g}")
        if value != now:
            found.append((remedy, {**settings, remedy.setting: value}))
    return found
