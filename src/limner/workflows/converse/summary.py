"""A line about what changed between two states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from limner.core.wording import counted

from .states import State, Thing

STAYS = {
    "background": "the things keep their pixels",
    "thing": "the rest keeps its pixels",
    "accessory": "the rest keeps its pixels",
    "background and accessory": "the rest of the things keeps its pixels",
    "all": "painted anew from the same seed",
}
"""Part that changes -> the part that does not."""


def summary(before: State, after: State, *, fresh: bool) -> str:
    """A line: the changes in `after`, and the part that stays."""
    if fresh:
        return f"picture of {after.prompt}"
    changes = [
        f"{name}: {getattr(after, name) or 'none'}"
        for name in ("scene", "time", "view", "style", "relation")
        if getattr(before, name) != getattr(after, name)
    ]
    if before.seed != after.seed:
        changes.append(f"seed: {after.seed}")
    if before.avoid != after.avoid:
        changes.append(f"without: {after.negative or 'nothing in particular'}")
    changes += _of_things(before.things, after.things)
    anew = "painted from another seed" if before.seed != after.seed else STAYS[after.part]
    return f"{'; '.join(changes) or counted(len(after.things), 'thing')} ({anew})"


def _of_things(before: Sequence[Thing], after: Sequence[Thing]) -> list[str]:
    old, new = {t.name: t for t in before}, {t.name: t for t in after}
    changes = [f"with {new[name].text}" for name in new if name not in old]
    changes += [f"without {name}" for name in old if name not in new]
    for name in new.keys() & old.keys():
        if new[name] != old[name]:
            different = [f.name for f in fields(Thing) if getattr(new[name], f.name) != getattr(old[name], f.name)]
            values = [_shown(new[name], field) for field in different if field != "concept"]
            changes.append(f"{name}: {', '.join(values) or 'changed'}")
    return changes


def _shown(thing: Thing, field: str) -> str:
    value = getattr(thing, field)
    if field == "accessories":
        return " and ".join(each.text for each in value) or "nothing on"
    if field == "looks":
        return " ".join(value) or "plain"
    if field == "strength":
        return f"strength {value:g}"
    return f"{value}" if value else f"no {field}"
