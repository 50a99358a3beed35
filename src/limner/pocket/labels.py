"""Labels of the judge: one for every field of a scene graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limner.pocket.world.graph import Face, SceneGraph
from limner.pocket.world.relations import SIDEWAYS
from limner.pocket.world.vocabulary import (  # fmt: skip
    ACCESSORIES,
    ACTIONS,
    AGES,
    CLASSES,
    COLOURS,
    DAYTIMES,
    DISTANCES,
    EXPRESSIONS,
    GARMENTS,
    GAZES,
    GESTURES,
    HAIR_COLOURS,
    HAIRSTYLES,
    HEAD_TURNS,
    JOINTED,
    MATERIALS,
    PATTERNS,
    RELATIONS,
    SCENES,
    STATES,
    STYLES,
    VIEWS,
    WORN_BY_PEOPLE,
)

AZIMUTHS = ("front", "front left", "left", "back left", "back", "back right", "right", "front right")
"""Views of a toy that is turned about y by 0, 1, 2, ... eighths of a turn."""

FIELDS: dict[str, tuple[str, ...]] = {
    "class": CLASSES, "colour": tuple(COLOURS), "second colour": tuple(COLOURS), "pattern": PATTERNS,
    "material": MATERIALS, "action": ACTIONS, "scene": SCENES, "daytime": DAYTIMES, "view": VIEWS[:4],
    "distance": DISTANCES, "relation": RELATIONS, "style": STYLES, "expression": EXPRESSIONS,
    **dict.fromkeys(ACCESSORIES, ("no", "yes")),
    "hairstyle": HAIRSTYLES, "hair colour": HAIR_COLOURS,
    **dict.fromkeys(("glasses", "face", *(f"a {kind}" for kind in CLASSES)), ("no", "yes")),
    "azimuth": AZIMUTHS, "state": STATES, "count": ("1", "2", "3"), "age": AGES, "gaze": GAZES, "head": HEAD_TURNS,
    "gesture": GESTURES, "garment": GARMENTS, "garment colour": tuple(COLOURS), "garment pattern": PATTERNS,
    **dict.fromkeys(("headphones", "necklace"), ("no", "yes")),
}  # fmt: skip
"""Field -> its options in label order. Each accessory is a field: whether the first toy or person has it. Each class is
a field ("a dog"): whether it is anywhere in the picture. `azimuth` is the visible side of the first toy in eighths of a
turn; `view` is the same in quarters, without distinguishing left and right."""

UNKNOWN = -1
"""Label of a field that a picture does not have."""

SIDED = "azimuth", "gaze", "head"
"""Fields whose options change where a picture is mirrored: left and right are swapped in their names."""


def labels(graph: SceneGraph) -> dict[str, str]:
    """Field -> the picture's true option; fields that it does not have are left out."""
    shown = {toy.individual.kind for toy in graph.toys}
    there = {f"a {kind}": _yes(kind in shown) for kind in CLASSES} | {"face": _yes(graph.face is not None)}
    options = {"scene": graph.scene, "daytime": graph.daytime, "style": graph.style, **there}
    options["count"] = str(len(graph.people or graph.toys))
    if graph.face is not None:
        return options | _of_person(graph.face, close=graph.distance == "close")
    toy = graph.toys[0]
    looks = toy.individual
    options |= {"class": looks.kind, "colour": looks.colours[0], "pattern": looks.pattern, "material": toy.material}
    options |= {"state": toy.state, "distance": graph.distance} | _seen_from(graph)
    if looks.pattern != "plain":
        options["second colour"] = looks.colours[1]
    if looks.kind in JOINTED:
        options["action"] = toy.action
    if graph.relation:
        options["relation"] = graph.relation
    return options | {name: _yes(name in toy.accessories) for name in ACCESSORIES}


def _seen_from(graph: SceneGraph) -> dict[str, str]:
    """The view in quarters, where it is one, and in eighths, where the camera is not above."""
    if graph.view == "top":
        return {"view": "top"}
    views = {"azimuth": AZIMUTHS[round(graph.toys[0].turn / (math.pi / 4)) % 8]}
    quarter = {"left": "side", "right": "side"}.get(graph.view, graph.view)
    if quarter in FIELDS["view"] and graph.relation not in SIDEWAYS:
        views["view"] = quarter
    return views


def _of_person(face: Face, *, close: bool) -> dict[str, str]:
    who, adapted = face.person, set(face.accessories) | ({"glasses"} if face.glasses else set())
    options = {
        "expression": face.expression,
        "hairstyle": who.hairstyle,
        "age": who.age,
        "gaze": face.gaze,
        "head": face.head,
    }
    if who.hairstyle != "bald":
        options["hair colour"] = who.hair_colour
    if not close:
        options["gesture"] = face.action
    if face.garment is not None:
        options |= {"garment": face.garment.kind, "garment colour": face.garment.colours[0]}
        options["garment pattern"] = face.garment.pattern
    return options | {name: _yes(name in adapted) for name in WORN_BY_PEOPLE}


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def codes(graphs: Sequence[SceneGraph]) -> np.ndarray:
    """[B, number of fields] int64: the labels as indices into FIELDS, UNKNOWN where a picture lacks the field."""
    rows = [labels(graph) for graph in graphs]
    return np.array(
        [[options.index(row[f]) if f in row else UNKNOWN for f, options in FIELDS.items()] for row in rows],
        dtype=np.int64,
    ).reshape(len(rows), len(FIELDS))


def mirrored(true: np.ndarray) -> np.ndarray:
    """The codes [B, number of fields] of the same pictures, mirrored from left to right."""
    swapped = true.copy()
    for column, (field, options) in enumerate(FIELDS.items()):
        if field in SIDED:
            order = np.array([*(options.index(other_side(option)) for option in options), UNKNOWN])
            swapped[:, column] = order[true[:, column]]
    return swapped


def other_side(option: str) -> str:
    """The same name with left and right swapped."""
    sides = {"left": "right", "right": "left"}
    return " ".join(sides.get(word, word) for word in option.split())
