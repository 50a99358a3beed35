"""Judges of single questions: what each of several things is, where a face's landmarks are, which hand painted a
picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.pocket.judges import squares
from limner.pocket.labels import other_side
from limner.pocket.networks import Landmarks, Manner, Reader
from limner.pocket.world import SceneGraph
from limner.pocket.world.drawing import landmarks_of
from limner.pocket.world.faces import LANDMARKS
from limner.pocket.world.rendering import boxes
from limner.pocket.world.vocabulary import CLASSES, COLOURS, PATTERNS

from .data import NUM_VIEWS, floats, forget, pictures, rows
from .judges import softened, varied
from .run import Run, train

SLOTS = 3
THING = {"class": (*CLASSES, "nothing"), "colour": tuple(COLOURS), "pattern": PATTERNS}
"""Fields of one thing, with their options in label order."""
NOTHING = len(CLASSES)
FAINT = 0.3  # how much less an empty slot counts
AS_IT_IS = 0.3  # share of pictures that are not enlarged
TIGHT = 1.5  # sides of the smallest squares around a face, in sizes of the face
LARGEST = 2.5  # sides of the largest squares around a thing, in sizes of the thing
BOX = 4.0  # weight of an error in a box, as a share of the picture, beside those in words


def reader(run: Run) -> nn.Module:
    """Class, looks and position of up to three things; answers and things are matched anew for every picture (Sec. 3.1
    of arXiv:2005.12872). Most pictures show one of their things enlarged, as `judges.things` does."""
    torch.manual_seed(10)
    network = Reader({field: len(options) for field, options in THING.items()}, SLOTS)
    if run.finished("reader"):
        network.load_state_dict(run.weights("reader"))
        return network.eval()
    data = pictures(run, "several", workers=2)
    truth = {field: torch.from_numpy(values) for field, values in things_of(data.graphs).items()}
    batch = min(64, len(data.graphs))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.graphs), batch, step, seed=run.seed, purpose="reader")
        at = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        there = F.one_hot(data.toys[chosen].long(), SLOTS + 1).movedim(-1, 1).float()
        near, there, shown = one_nearer(floats(data.pixels[chosen]), there[:, 1:], at)
        wanted = {field: values[chosen].to(run.device) for field, values in truth.items()}
        wanted["class"] = torch.where(shown.to(run.device), wanted["class"], NOTHING)
        box = framed(there).to(run.device)
        with run.mixed():
            logits, slot_boxes = network(softened(near, step, at).to(run.device))
        logits, slot_boxes = {field: out.float() for field, out in logits.items()}, slot_boxes.float()
        order = matched(logits["class"].detach(), slot_boxes.detach(), wanted["class"], box)
        return _thing_loss(logits, slot_boxes, wanted, box, order)

    made = train(run, "reader", network, loss, steps=run.steps(5_000), lr=1.2e-3, weight_decay=0.05)
    forget(run, "several")
    return made


def one_nearer(pixels: Tensor, masks: Tensor, at: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [B, 3, S, S] and masks of their things [B, SLOTS, S, S], as they are or through a square around one
    thing, half of them mirrored; and whether more than half of each thing is in the square, [B, SLOTS]."""
    count = len(pixels)
    u = torch.rand((6, count), generator=at)
    boxes = framed(masks)
    number = (boxes[..., 2] > 0).sum(1)  # empty slots come last
    box = boxes[torch.arange(count), (u[0] * number).long()]
    side = box[:, 2:].amax(1) * (1 + (LARGEST - 1) * u[1])
    whole = (u[2] < AS_IT_IS) | (side >= 1) | (side == 0)
    side = torch.where(whole, 1.0, side)
    middle = torch.where(whole[:, None], 0.5, box[:, :2] + 0.2 * side[:, None] * (u[3:5].T - 0.5))
    seen = squares(torch.cat([pixels, masks], 1), middle, torch.where(u[5] < 0.5, -side, side))
    near, there = seen.split([3, SLOTS], 1)
    shown = there.sum((2, 3)) * side[:, None].square() > 0.5 * masks.sum((2, 3))
    return near, there, shown


def things_of(graphs: tuple[SceneGraph, ...]) -> dict[str, np.ndarray]:
    """Field -> [B, SLOTS] int64: the option of every toy; of those that are not there, NOTHING and zeros."""
    options = {field: np.zeros((len(graphs), SLOTS), dtype=np.int64) for field in THING}
    options["class"][:] = NOTHING
    for row, graph in enumerate(graphs):
        for k, toy in enumerate(graph.toys):
            options["class"][row, k] = CLASSES.index(toy.individual.kind)
            options["colour"][row, k] = THING["colour"].index(toy.individual.colours[0])
            options["pattern"][row, k] = PATTERNS.index(toy.individual.pattern)
    return options


def framed(masks: Tensor) -> Tensor:
    """[B, SLOTS, H, W] masks -> [B, SLOTS, 4]: middle x, y, width and height as shares of the picture; zeros where
    nothing is."""
    on = masks > 0.5
    index = torch.where(on.any(1), on.float().argmax(1), -1).to(torch.int8)
    x0, y0, x1, y1 = (boxes(index, masks.shape[1]).float() / masks.shape[-1]).unbind(-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)


def matched(classes: Tensor, slot_boxes: Tensor, wanted: Tensor, box: Tensor) -> Tensor:
    """[B, SLOTS]: which slot answers for each thing, so that classes and boxes fit best."""
    orders = torch.tensor(list(itertools.permutations(range(SLOTS))), device=classes.device)  # [6, SLOTS]
    log = classes.log_softmax(-1)
    word = -log[:, None].expand(-1, SLOTS, -1, -1).gather(-1, wanted[:, :, None, None].expand(-1, -1, SLOTS, 1))[..., 0]
    far = (slot_boxes[:, None] - box[:, :, None]).abs().sum(-1) * (wanted != NOTHING)[:, :, None]
    cost = word + BOX * far  # [B, thing, slot]
    total = sum(cost[:, k, orders[:, k]] for k in range(SLOTS))
    assert isinstance(total, Tensor)
    return orders[total.argmin(1)]


def _thing_loss(
    logits: Mapping[str, Tensor], slot_boxes: Tensor, wanted: Mapping[str, Tensor], box: Tensor, order: Tensor
) -> tuple[Tensor, dict[str, float]]:
    ordered = {field: out.gather(1, order[:, :, None].expand(-1, -1, out.shape[-1])) for field, out in logits.items()}
    places = slot_boxes.gather(1, order[:, :, None].expand_as(slot_boxes))
    there = wanted["class"] != NOTHING
    weight = torch.where(there, 1.0, FAINT)
    value = (F.cross_entropy(ordered["class"].mT, wanted["class"], reduction="none") * weight).mean()
    for field in ("colour", "pattern"):
        value = value + F.cross_entropy(ordered[field][there], wanted[field][there])
    value = value + BOX * (places - box)[there].abs().mean()
    right = ordered["class"].argmax(-1) == wanted["class"]
    return value, {"loss": value.item(), "all right": right.all(1).float().mean().item()}


def landmarks(run: Run) -> nn.Module:
    """Where the landmarks of a face are: their mean distance from the truth in widths of the face, large ones counting
    more."""
    torch.manual_seed(11)
    network = Landmarks(len(LANDMARKS))
    if run.finished("landmarks"):
        network.load_state_dict(run.weights("landmarks"))
        return network.eval()
    data = pictures(run, "people", workers=2)
    truth = torch.from_numpy(np.stack([landmarks_of(graph, run.size)[0] for graph in data.graphs])).float() / run.size
    batch = min(64, len(truth))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(truth), batch, step, seed=run.seed, purpose="landmarks")
        at = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        near, wanted = seen_nearer(floats(data.pixels[chosen]), truth[chosen], at)
        with run.mixed():
            out = network(softened(near, step, at).to(run.device)).float()
        off = (out.cpu() - wanted).norm(dim=-1)
        wide = face_width(wanted)[:, None].clamp_min(0.05)
        share = (off / wide)[((wanted > 0) & (wanted < 1)).all(-1)]
        value = (share + 4 * share.square()).mean()
        return value, {"loss": value.item(), "error": share.mean().item()}

    return train(run, "landmarks", network, loss, steps=run.steps(3_000), lr=1.2e-3, weight_decay=0.01)


SIDES = torch.tensor([LANDMARKS.index(other_side(name)) for name in LANDMARKS])
"""The landmark that each becomes in a mirrored picture."""


def seen_nearer(pixels: Tensor, points: Tensor, at: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, S, S] and landmarks [B, n, 2], both through squares that contain the face: from close around it
    to the whole picture, half of them mirrored."""
    u = torch.rand((3, len(pixels)), generator=at)
    low, high = points.amin(1), points.amax(1)
    face = (high - low).amax(-1)
    small = (TIGHT * face).clamp_max(1.0)
    side = torch.where(u[0] < AS_IT_IS, 1.0, small ** u[1])
    middle = torch.lerp(high - side[:, None] / 2, low + side[:, None] / 2, torch.rand((len(pixels), 2), generator=at))
    middle = torch.where((u[0] < AS_IT_IS)[:, None], 0.5, middle)
    flipped = u[2] < 0.5
    moved = (points - middle[:, None]) / side[:, None, None]
    moved = torch.where(flipped[:, None, None], moved[:, SIDES] * torch.tensor([-1.0, 1.0]), moved)
    return squares(pixels, middle, torch.where(flipped, -side, side)), moved + 0.5


def face_width(points: Tensor) -> Tensor:
    """[B, landmarks, 2] -> [B]: from the left ear to the right, or from the forehead to the chin where the head is
    turned more."""
    left, right, top, chin = (LANDMARKS.index(name) for name in ("left ear", "right ear", "forehead", "chin"))
    across, down = (points[:, a] - points[:, b] for a, b in ((left, right), (top, chin)))
    return torch.maximum(across.norm(dim=-1), 0.7 * down.norm(dim=-1))


def manner(run: Run) -> nn.Module:
    """Which individual style a picture is in: pictures of one style attract, all others repel, most of them of the same
    family (supervised contrastive learning, arXiv:2004.11362)."""
    torch.manual_seed(12)
    network = Manner()
    if run.finished("manner"):
        network.load_state_dict(run.weights("manner"))
        return network.eval()
    data = pictures(run, "manners", workers=2)
    count = len(data.pixels) // NUM_VIEWS
    batch = min(64, count)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(count, batch, step, seed=run.seed, purpose="manner")
        at = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        views = torch.stack([torch.randperm(NUM_VIEWS, generator=at)[:2] for _ in range(batch)])
        index = (chosen[:, None] * NUM_VIEWS + views).T.reshape(-1)
        with run.mixed():
            out = network(varied(floats(data.pixels[index]), step, run.seed).to(run.device)).float()
        first, second = out.split(batch)
        near = first @ second.T / 0.07
        target = torch.arange(batch, device=near.device)
        value = (F.cross_entropy(near, target) + F.cross_entropy(near.T, target)) / 2
        return value, {"loss": value.item(), "r@1": (near.argmax(1) == target).float().mean().item()}

    made = train(run, "manner", network, loss, steps=run.steps(1_500), lr=1.2e-3, weight_decay=0.05)
    forget(run, "manners")
    return made
