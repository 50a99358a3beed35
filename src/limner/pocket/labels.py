"""What the judge reads off a picture: one label for every field of a scene graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .world.graph import SceneGraph
from .world.vocabulary import (
    ACCESSORIES,
    ACTIONS,
    CLASSES,
    COLOURS,
    DAYTIMES,
    DISTANCES,
    EXPRESSIONS,
    JOINTED,
    MATERIALS,
    PATTERNS,
    RELATIONS,
    SCENES,
    STYLES,
    VIEWS,
)  # fmt: skip

FIELDS: dict[str, tuple[str, ...]] = {
    "class": CLASSES, "colour": tuple(COLOURS), "second colour": tuple(COLOURS), "pattern": PATTERNS,
    "material": MATERIALS, "action": ACTIONS, "scene": SCENES, "daytime": DAYTIMES, "view": VIEWS,
    "distance": DISTANCES, "relation": RELATIONS, "style": STYLES, "expression": EXPRESSIONS,
    **dict.fromkeys(ACCESSORIES, ("no", "yes")),
}  # fmt: skip
"""Field -> its options in label order. Accessories are fields of their own: worn by the first toy or not."""

UNKNOWN = -1  # a field that a picture does not have


def labels(graph: SceneGraph) -> dict[str, str]:
    """Field -> what is true of the picture; fields that it does not have are left out."""
    found = {"scene": graph.scene, "daytime": graph.daytime, "style": graph.style}
    if graph.face is not None:
        return {"expression": graph.face.expression, "style": graph.style}
    toy = graph.toys[0]
    who = toy.individual
    found |= {"class": who.kind, "colour": who.colours[0], "pattern": who.pattern, "material": toy.material}
    found |= {"view": graph.view, "distance": graph.distance}
    if who.pattern != "plain":
        found["second colour"] = who.colours[1]
    if who.kind in JOINTED:
        found["action"] = toy.action
    if graph.relation:
        found["relation"] = graph.relation
    return found | {name: "yes" if name in toy.accessories else "no" for name in ACCESSORIES}


def codes(graphs: Sequence[SceneGraph]) -> np.ndarray:
    """[B, number of fields] int64: the labels as indices into FIELDS, UNKNOWN where a picture lacks the field."""
    rows = [labels(graph) for graph in graphs]
    return np.array(
        [[options.index(row[f]) if f in row else UNKNOWN for f, options in FIELDS.items()] for row in rows],
        dtype=np.int64,
    ).reshape(len(rows), len(FIELDS))
