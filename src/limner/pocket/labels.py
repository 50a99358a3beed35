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
    HAIR_COLOURS,
    HAIRSTYLES,
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
    "hairstyle": HAIRSTYLES, "hair colour": HAIR_COLOURS,
    **dict.fromkeys(("glasses", "face", *(f"a {kind}" for kind in CLASSES)), ("no", "yes")),
}  # fmt: skip
"""Field -> its options in label order. Accessories are fields of their own: worn by the first toy or not. So is every
class ("a dog"): anywhere in the picture or not."""

UNKNOWN = -1  # a field that a picture does not have


def labels(graph: SceneGraph) -> dict[str, str]:
    """Field -> what is true of the picture; fields that it does not have are left out."""
    shown = {toy.individual.kind for toy in graph.toys}
    there = {f"a {kind}": _yes(kind in shown) for kind in CLASSES} | {"face": _yes(graph.face is not None)}
    if graph.face is not None:
        who = graph.face.person
        hair = {"hairstyle": who.hairstyle, "glasses": _yes(graph.face.glasses)}
        if who.hairstyle != "bald":
            hair["hair colour"] = who.hair_colour
        return {"expression": graph.face.expression, "style": graph.style, **hair, **there}
    found = {"scene": graph.scene, "daytime": graph.daytime, "style": graph.style, **there}
    toy = graph.toys[0]
    looks = toy.individual
    found |= {"class": looks.kind, "colour": looks.colours[0], "pattern": looks.pattern, "material": toy.material}
    found |= {"view": graph.view, "distance": graph.distance}
    if looks.pattern != "plain":
        found["second colour"] = looks.colours[1]
    if looks.kind in JOINTED:
        found["action"] = toy.action
    if graph.relation:
        found["relation"] = graph.relation
    return found | {name: _yes(name in toy.accessories) for name in ACCESSORIES}


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def codes(graphs: Sequence[SceneGraph]) -> np.ndarray:
    """[B, number of fields] int64: the labels as indices into FIELDS, UNKNOWN where a picture lacks the field."""
    rows = [labels(graph) for graph in graphs]
    return np.array(
        [[options.index(row[f]) if f in row else UNKNOWN for f, options in FIELDS.items()] for row in rows],
        dtype=np.int64,
    ).reshape(len(rows), len(FIELDS))
