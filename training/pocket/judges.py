"""The judges: trained on the world's truth, never shown to the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.core.streams import stream
from limner.pocket.judges import WEIGHTS, heads_of
from limner.pocket.labels import FIELDS, codes, mirrored
from limner.pocket.networks import Identity, Judge, Places, Segmenter
from limner.pocket.world import SceneGraph
from limner.pocket.world.vocabulary import CLASSES

from .data import NUM_VIEWS, floats, forget, pictures, rows
from .run import Run, train

BATCH = 96
ALIKE = 8  # individuals alike that are in a batch together
TOYS_COUNT = 4  # times more that an error on a toy weighs than one where nothing is


def judge(run: Run) -> nn.Module:
    """Every field of the scene graph from the picture."""
    torch.manual_seed(2)
    if run.finished("judge"):  # one that was adopted reads the fields that its edition had
        weights = run.weights("judge")
        network = Judge(heads_of(weights))
        network.load_state_dict(weights)
        return network.eval()
    network = Judge({name: len(options) for name, options in FIELDS.items()})
    data = pictures(run, "train")
    truth = codes(data.graphs)
    both_ways = torch.from_numpy(np.stack([truth, mirrored(truth)]))
    alone = torch.tensor(
        [len(graph.people or graph.toys) == 1 for graph in data.graphs]
    )  # the first of two is on the left

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(truth), BATCH, step, seed=run.seed, purpose="judge")
        at = stream(run.seed, "varied", step)
        near, flipped = nearer(floats(data.pixels[chosen]), at, may_flip=alone[chosen])
        wanted = both_ways[flipped.long(), chosen].to(run.device)
        with run.mixed():
            logits = network(softened(near, step, at).to(run.device))
        terms, right = [], {}
        for column, (name, out) in enumerate(logits.items()):
            there = wanted[:, column] >= 0
            if there.any():
                terms.append(F.cross_entropy(out.float()[there], wanted[there, column]))
                if name in ("class", "colour", "pattern", "hat"):
                    right[name] = (out[there].argmax(1) == wanted[there, column]).float().mean().item()
        value = torch.stack(terms).sum()
        return value, {"loss": value.item(), **right}

    steps = run.steps(10_000 if run.before is None else 4_000)
    return train(run, "judge", network, loss, steps=steps, lr=1.2e-3, weight_decay=0.05)


def varied(pixels: Tensor, step: int, seed: int) -> Tensor:
    """The batch seen a little nearer, some pictures mirrored, and every second step softened: painted ones are
    softer."""
    at = stream(seed, "varied", step)
    return softened(nearer(pixels, at)[0], step, at)


def nearer(pixels: Tensor, at: torch.Generator, *, may_flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The batch [B, C, S, S] through one smaller window, half of it mirrored, and which rows are, [B]. Rows where
    `may_flip` is false stay as they are."""
    flipped = torch.rand(len(pixels), generator=at) < 0.5
    if may_flip is not None:
        flipped &= may_flip
    pixels = torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)
    size = pixels.shape[-1]
    side = size - int(torch.randint(size // 8 + 1, (), generator=at))
    top, left = (int(x) for x in torch.randint(size - side + 1, (2,), generator=at))
    window = pixels[:, :, top : top + side, left : left + side]
    return F.interpolate(window, (size, size), mode="bilinear"), flipped


def softened(near: Tensor, step: int, at: torch.Generator) -> Tensor:
    """With a little noise, and blurred as much as chance says if the step is odd."""
    if step % 2:
        share = float(torch.rand((), generator=at)) * 0.9
        near = torch.lerp(near, F.avg_pool2d(F.pad(near, (2,) * 4, mode="replicate"), 5, 1), share)
    noise = torch.randn(near.shape, generator=at) * 0.02
    return (near + noise).clamp(0, 1).contiguous()


def identity(
    run: Run,
    purpose: str = "individuals",
    name: str = "identity",
    *,
    steps: int = 2400,
    alike: Callable[[Sequence[SceneGraph]], list[int]] | None = None,
) -> nn.Module:
    """Supervised contrastive learning (arXiv:2004.11362): pictures of one individual attract, all others repel.

    alike: the order of individuals, each given by its first picture, in which those that are alike are neighbours. A
        batch then takes ALIKE neighbours at a time, which are the hardest to tell apart.
    """
    torch.manual_seed(3)
    network = Identity()
    if run.finished(name):
        network.load_state_dict(run.weights(name))
        return network.eval()
    data = pictures(run, purpose, workers=2)
    count = len(data.pixels) // NUM_VIEWS
    group = min(ALIKE, count)
    batch = min(64, count) // group * group
    order = torch.tensor(alike(data.graphs[::NUM_VIEWS])) if alike else None

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if order is None:
            chosen = rows(count, batch, step, seed=run.seed, purpose=name)
        else:
            first = group * rows(count // group, batch // group, step, seed=run.seed, purpose=name)
            first += step % group  # so that groups differ from epoch to epoch
            chosen = order[(first[:, None] + torch.arange(group)).flatten() % count]
        views = torch.stack(
            [torch.randperm(NUM_VIEWS, generator=stream(run.seed, name, step, k))[:2] for k in range(batch)]
        )
        index = (chosen[:, None] * NUM_VIEWS + views).T.reshape(-1)
        pixels = floats(data.pixels[index])
        pixels = torch.cat([varied(half, 2 * step + k, run.seed) for k, half in enumerate(pixels.split(batch))])
        with run.mixed():
            out = network(pixels.to(run.device)).float()
        first, second = out.split(batch)
        near = first @ second.T / 0.07
        target = torch.arange(batch, device=near.device)
        value = (F.cross_entropy(near, target) + F.cross_entropy(near.T, target)) / 2
        return value, {"loss": value.item(), "r@1": (near.argmax(1) == target).float().mean().item()}

    made = train(run, name, network, loss, steps=run.steps(steps), lr=1.2e-3, weight_decay=0.05)
    forget(run, purpose)
    return made


def identity_of(run: Run) -> Identity:
    """The identity network that a perceptual loss looks through: the run's, or the one that ships where it has none
    yet."""
    network = Identity()
    if run.finished("identity"):
        network.load_state_dict(run.weights("identity"))
    else:
        shipped = load_file(WEIGHTS / "identity.safetensors")
        network.load_state_dict({name: value.float() for name, value in shipped.items()})
    return network.eval()


def faces(run: Run) -> nn.Module:
    """The identity network of faces."""
    return identity(run, "people", "faces", steps=4_000, alike=by_looks)


def by_looks(graphs: Sequence[SceneGraph]) -> list[int]:
    """The order of portraits by hairstyle, hair colour and age of the first person, then from dark to light skin."""
    people = [graph.people[0].person for graph in graphs]
    looks = [(who.hairstyle, who.hair_colour, who.age, float(who.skin.sum())) for who in people]
    return sorted(range(len(people)), key=lambda k: looks[k])


def segmenter(run: Run) -> nn.Module:
    """Where toys are."""
    torch.manual_seed(4)
    network = Segmenter()
    if run.finished("segmenter"):
        network.load_state_dict(run.weights("segmenter"))
        return network.eval()
    data = pictures(run, "train")

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), 48, step, seed=run.seed, purpose="segmenter")
        wanted = data.masks[chosen].float()[:, None].to(run.device)
        with run.mixed():
            out = network(floats(data.pixels[chosen]).to(run.device))
        out = out.float()
        both, either = ((out > 0) & (wanted > 0.5)).sum().item(), ((out > 0) | (wanted > 0.5)).sum().item()
        value = F.binary_cross_entropy_with_logits(out, wanted)
        return value, {"loss": value.item(), "iou": both / max(either, 1)}

    return train(run, "segmenter", network, loss, steps=run.steps(700), lr=2e-3)


def places(run: Run) -> nn.Module:
    """Which class stands at each place, from pictures of two toys, of which the truth of every pixel is known."""
    torch.manual_seed(8)
    network = Places(len(CLASSES) + 1)
    if run.finished("places"):
        network.load_state_dict(run.weights("places"))
        return network.eval()
    data = pictures(run, "pairs", workers=2)
    nothing = len(CLASSES)
    kinds = torch.tensor([[nothing, *(CLASSES.index(toy.individual.kind) for toy in g.toys)] for g in data.graphs])
    batch = min(BATCH, len(kinds))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(kinds), batch, step, seed=run.seed, purpose="places")
        at = stream(run.seed, "places", step)
        there = F.one_hot(data.toys[chosen].long(), 3).movedim(-1, 1).float()
        near, _ = nearer(torch.cat([floats(data.pixels[chosen]), there], 1), at)
        shares = F.avg_pool2d(near[:, 3:], 8)  # [B, 3, S/8, S/8] of nothing and of both toys
        wanted = torch.zeros(batch, nothing + 1, *shares.shape[2:])
        wanted.scatter_add_(1, kinds[chosen][:, :, None, None].expand_as(shares), shares)
        wanted = wanted.to(run.device)
        with run.mixed():
            out = network(softened(near[:, :3], step, at).to(run.device))
        out = out.float()
        weight = 1 + TOYS_COUNT * (1 - wanted[:, nothing])
        value = (F.cross_entropy(out, wanted, reduction="none") * weight).mean()
        toy = wanted[:, :nothing].sum(1) > 0.5
        right = (out[:, :nothing].argmax(1) == wanted[:, :nothing].argmax(1))[toy].float().mean().item()
        return value, {"loss": value.item(), "right": right}

    made = train(run, "places", network, loss, steps=run.steps(3_000), lr=1.2e-3, weight_decay=0.05)
    forget(run, "pairs")
    return made


def new_vit(run: Run) -> Any:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=run.size,
        patch_size=run.size // 8,
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=480,
    )
    torch.manual_seed(5)
    network = ViTModel(config, add_pooling_layer=False)
    network.set_attn_implementation("eager")
    return network


PROTOTYPES = 512
TEACHER_DECAY = 0.99


class _Projection(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, 256), nn.GELU(), nn.Linear(256, 64))
        self.prototypes = nn.Linear(64, PROTOTYPES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.normalize(self.prototypes.weight, dim=-1)
        return F.linear(F.normalize(self.layers(x), dim=-1), weight)


class _Student(nn.Module):
    """A ViT, its projection, and the slow teacher beside them (arXiv:2104.14294)."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.projection = _Projection(160)
        self.teacher = nn.ModuleList([new_vit(run), _Projection(160)]).requires_grad_(False)
        self.teacher[1].load_state_dict(self.projection.state_dict())
        self.center: Tensor
        self.register_buffer("center", torch.zeros(PROTOTYPES))


def dino(run: Run) -> Any:
    """Self-distillation without labels: a student sees one crop, its slow average another; both must say the same."""
    network = new_vit(run)
    if run.finished("dino"):
        network.load_state_dict(run.weights("dino"))
        return network.eval()
    torch.manual_seed(6)
    more = _Student(run)
    data = pictures(run, "train")

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), 64, step, seed=run.seed, purpose="dino")
        pixels = floats(data.pixels[chosen])
        first, second = (views(pixels, run.seed, step, side).to(run.device) for side in (0, 1))
        _follow(more.teacher[0], network)
        _follow(more.teacher[1], more.projection)
        both = torch.cat([first, second])
        with run.mixed():
            student_logits = more.projection(network(both).last_hidden_state[:, 0]).float() / 0.1
            with torch.no_grad():
                heard = more.teacher[1](more.teacher[0](both).last_hidden_state[:, 0]).float()
        target = F.softmax((heard - more.center) / 0.05, -1).roll(len(first), 0)
        with torch.no_grad():
            more.center.lerp_(heard.mean(0), 0.1)
        value = -(target * F.log_softmax(student_logits, -1)).sum(-1).mean()
        spread = target.mean(0)
        return value, {"loss": value.item(), "entropy": -(spread * (spread + 1e-9).log()).sum().item()}

    return train(run, "dino", network, loss, steps=run.steps(1200), lr=8e-4, weight_decay=0.05, ema=0.995, more=more)


def _follow(slow: nn.Module, fast: nn.Module) -> None:
    with torch.no_grad():
        for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
            a.lerp_(b, 1 - TEACHER_DECAY)


def views(pixels: Tensor, seed: int, step: int, side: int) -> Tensor:
    """Random crops of a batch, resized back, some mirrored, colours and light shifted; in [-1, 1]."""
    at = stream(seed, "view", step, side)
    count = len(pixels)
    scale = 0.55 + 0.45 * torch.rand(count, generator=at)
    shift = (torch.rand(count, 2, generator=at) * 2 - 1) * (1 - scale)[:, None]
    mirror = torch.where(torch.rand(count, generator=at) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = scale * mirror, scale, shift
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    seen = F.grid_sample(pixels.contiguous(), grid, align_corners=False, padding_mode="reflection")
    light = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=at)
    tint = 1 + 0.12 * torch.randn(count, 3, 1, 1, generator=at)
    return (seen * light * tint).clamp(0, 1) * 2 - 1
