"""How well the judges and estimators that ship read renders of held-out graphs."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from limner.pocket import estimators, judges
from limner.pocket.judges import WEIGHTS
from limner.pocket.world import CORE, WHOLE, World, draw, draw_many, individual, sample, showing
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.faces import person
from limner.pocket.world.garments import garment
from limner.pocket.world.graph import SPLITS, Person, SceneGraph
from limner.pocket.world.portraits import person_showing
from limner.pocket.world.vocabulary import EXPRESSIONS, STYLES

from .depth import inverse_of
from .readers import face_width

FIRST = 500_000_000  # seeds of evaluation graphs; training's are below
PLAIN = replace(WHOLE, faces=0.0, pairs=0.0, triples=0.0, styles=("render",), states=("plain",))
SKIN = 0.05  # largest difference of two skins, in each of red, green and blue, that are taken for alike


def held_out(world: World, count: int, first: int = FIRST) -> list[SceneGraph]:
    return [sample(first + k, world=world, split="held-out") for k in range(count)]


def drawn(graphs: list[SceneGraph]) -> Tensor:
    """[B, 3, H, W] from 0 to 1, of any number: drawn a few at a time."""
    return torch.cat([part.pixels for part in draw_many(graphs)]).float() / 255


def readings() -> dict[str, float]:
    """The readings of every judge and estimator that this edition ships."""
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "identity": identity,
        "segmenter": segmenter,
        "manner": manners,
        "estimators/depth": depths,
        "faces": faces,
        "landmarks": landmarks,
        "reader": reader,
    }
    ships = (part for name, part in parts.items() if (WEIGHTS / f"{name}.safetensors").exists())
    return {name: value for part in ships for name, value in part().items()}


def identity() -> dict[str, float]:
    """Identity among 64 toys of one class, as retrieval and as the chance that one toy's two pictures are nearer than
    two toys'."""
    toys = [individual("dog", SPLITS["held-out"].start + k, patterns=CORE.patterns) for k in range(64)]
    places = [CORE.scenes[k % 8] for k in range(65)]
    first, second = (
        judges.identities(
            draw([showing(t, seed=9000 * n + k, scene=places[k + n]) for k, t in enumerate(toys)]).pixels.float() / 255
        )
        for n in (0, 1)
    )
    near = first @ second.T
    same, others = near.diagonal(), near[~torch.eye(64, dtype=torch.bool)]
    return {
        "identity_r@1_in_64_dogs": round(float((near.argmax(1) == torch.arange(64)).float().mean()), 4),
        "identity_auc": round(float((same[:, None] > others[None]).float().mean()), 4),
    }


def segmenter() -> dict[str, float]:
    """Overlap of the segmenter's masks with the true ones: intersection over union, the mean over pictures."""
    shown = draw(held_out(CORE, 512))
    mask, true = judges.masks(shown.pixels.float() / 255) > 0.5, shown.masks
    return {"segmenter_iou": _r(((mask & true).sum((1, 2)) / (mask | true).sum((1, 2)).clamp_min(1)).mean())}


def manners(hands: int = 8, pictures: int = 4) -> dict[str, float]:
    """The chance that two pictures by one individual of a style family are nearer than two by different ones of that
    family: the mean over the families, and the lowest of them. Toys and scenes differ in all pictures."""
    areas = {}
    for family in STYLES[1:]:
        shown = [
            sample(FIRST + 100 * hand + k, world=PLAIN, split="held-out", style=family, style_seed=hand)
            for hand in range(SPLITS["held-out"].start, SPLITS["held-out"].start + hands)
            for k in range(pictures)
        ]
        near = judges.manners(drawn(shown))
        near, hand = near @ near.T, torch.arange(hands).repeat_interleave(pictures)
        same, self_ = hand[:, None] == hand[None], torch.eye(len(hand), dtype=torch.bool)
        areas[family] = float((near[same & ~self_][:, None] > near[~same][None]).float().mean())
    print("style AUC", {family: round(area, 3) for family, area in areas.items()}, flush=True)
    return {"style_auc": round(statistics.mean(areas.values()), 4), "style_auc_lowest": round(min(areas.values()), 4)}


def depths(count: int = 256) -> dict[str, float]:
    """Mean error of the estimated inverse depth, beside that of the mean map of all pictures."""
    shown = draw(held_out(PLAIN, count))
    wanted = inverse_of(shown.depth).float() / 255
    maps = {
        "depth_error": estimators.depth(shown.pixels.float() / 255),
        "depth_error_of_the_mean": wanted.mean(0, True),
    }
    return {name: round(float((depths - wanted).abs().mean()), 4) for name, depths in maps.items()}


def faces(pairs: int = 48) -> dict[str, float]:
    """The chance that two pictures of one person are nearer than one of each of two people with the same hair and age
    and like skins. Scene, expression and clothes differ in all pictures."""
    same, others = [], []
    for first, second in itertools.islice(lookalikes(), pairs):
        shown = [_portrait(who, k) for k, who in enumerate((first, first, second, second))]
        near = judges.identities(drawn(shown), faces=True)
        near = near @ near.T
        same += [near[0, 1], near[2, 3]]
        others += [near[0, 2], near[0, 3], near[1, 2], near[1, 3]]
    near_same, near_others = torch.stack(same), torch.stack(others)
    return {"faces_auc": _r((near_same[:, None] > near_others[None]).float().mean())}


def lookalikes() -> Iterator[tuple[Person, Person]]:
    """Pairs of held-out people with the same hair and age, and like skins; each person is in one pair."""
    waiting: dict[tuple[str, str, str], list[Person]] = {}
    for seed in SPLITS["held-out"]:
        who = person(seed)
        alike = waiting.setdefault((who.hairstyle, who.hair_colour, who.age), [])
        other = next((other for other in alike if abs(other.skin - who.skin).max() < SKIN), None)
        if other is None:
            alike.append(who)
        else:
            alike.remove(other)
            yield other, who


def _portrait(who: Person, number: int) -> SceneGraph:
    scene, expression = CORE.scenes[number % len(CORE.scenes)], EXPRESSIONS[number % len(EXPRESSIONS)]
    clothes = garment(who.seed + number)
    return person_showing(who, seed=number, scene=scene, expression=expression, garment=clothes)


def landmarks(count: int = 256) -> dict[str, float]:
    """Mean distance of the landmarks from the true ones, as a share of the face's width, of one person a picture."""
    graphs = [g for g in held_out(replace(WHOLE, faces=1.0), 2 * count) if len(g.people) == 1][:count]
    pixels = drawn(graphs)
    true = torch.stack([torch.from_numpy(landmarks_of(graph, pixels.shape[-1])[0]) for graph in graphs]).float()
    off = (judges.landmarks(pixels) - true).norm(dim=-1)
    return {"landmarks_error": _r((off / face_width(true)[:, None]).mean())}


def reader(count: int = 256) -> dict[str, float]:
    """Share of pictures of two things, and of three, of which the reader names every class."""
    shares = {}
    plain = replace(PLAIN, pairs=0.0)
    for name, world, number in (("two", replace(plain, pairs=1.0), 2), ("three", replace(plain, triples=1.0), 3)):
        graphs = held_out(world, count)
        read = judges.things(drawn(graphs))
        right = [
            sorted(thing["class"] for thing in things[:number]) == sorted(toy.individual.kind for toy in graph.toys)
            for graph, things in zip(graphs, read, strict=True)
        ]
        shares[f"all_{name}_right"] = _r(statistics.mean(right))
    return shares


def _r(value: float | Tensor) -> float:
    return round(float(value), 4)
