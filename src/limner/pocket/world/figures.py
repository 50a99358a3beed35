"""Figures: head, body, garment and accessories of a person, put in their place; and the landmarks of the face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .bodies import Body, add_neck
from .faces import Head, build_head, head_landmarks
from .garments import dress
from .graph import Face
from .people_accessories import adorn_body, adorn_head
from .shapes import Solid, about, chain, moved

HEAD_HEIGHT = 1.38  # height of the middle of a head above the ground, world units
HEAD_SIZE = 0.42  # world units in a head unit
BODY_TURN = 0.35  # share of a head's turn that the shoulders follow


def figure_solids(face: Face, *, index: int = 0, time: float = 0.0) -> list[Solid]:
    """A person from head to below the waist, in world coordinates; `index` is which person of the picture."""
    head = Head(face)
    build_head(head)
    adorn_head(head)
    body = Body(face, head, time=time)
    add_neck(body)
    dress(body)
    adorn_body(body)
    turned = np.concatenate([about("y", BODY_TURN * face.turn), np.zeros((3, 1))], axis=1)
    place = figure_place(face)
    solids = moved(head.solids, chain(place, head.turn())) + moved(body.solids, chain(place, turned))
    return [replace(solid, toy=index) for solid in solids] if index else solids


def figure_landmarks(face: Face) -> np.ndarray:
    """[len(LANDMARKS), 3] in world coordinates, in the order of LANDMARKS."""
    head = Head(face)
    turn, place = head.turn(), figure_place(face)
    points = head_landmarks(head) @ turn[:, :3].T + turn[:, 3]
    return points @ place[:, :3].T + place[:, 3]


def figure_place(face: Face) -> np.ndarray:
    """[3, 4]: from head units to the world."""
    at = np.array(face.place) + (0, HEAD_HEIGHT, 0)
    return np.concatenate([np.eye(3) * HEAD_SIZE * face.scale, at[:, None]], axis=1)
