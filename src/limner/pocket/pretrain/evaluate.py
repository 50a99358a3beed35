"""What the base and its judges are worth, on seeds no training saw: results/pocket.json."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.pocket import judges
from limner.pocket.labels import labels
from limner.pocket.world import CORE, WORLDS, caption, draw, sample

from .language import write_json

FIRST = 500_000_000  # seeds of evaluation graphs; training's are below
FIELDS = ("class", "scene", "colour", "pattern", "view", "accessory")


def evaluate(path: Path, *, world: str = "core", count: int = 512, painted: int = 256) -> dict[str, Any]:
    """Scores of the shipped base and judges on held-out individuals and captions; written to `path`."""
    from limner import PaintSettings, load, paint

    graphs = [sample(FIRST + k, world=WORLDS[world], split="held-out") for k in range(count)]
    drawn = draw(graphs, size=64)
    pixels = drawn.pixels.float() / 255
    load("pocket")  # so that importing the libraries is not counted
    began = time.monotonic()
    base = load("pocket")
    found: dict[str, Any] = {
        "world": world,
        "pictures": count,
        "painted_pictures": painted,
        "seconds_to_load": round(time.monotonic() - began, 2),
    }
    found["autoencoder"] = {"psnr": _psnr(base, pixels)}
    said = [caption(g, seed=FIRST + k) for k, g in enumerate(graphs)]
    found["clip"] = {"r@1_in_256": _recall(pixels[:256], said[:256])}
    found["judges"] = {"renders": judged(pixels, graphs), **_judges(pixels, drawn)}
    plain = [caption(g) for g in graphs[:painted]]
    pictures = paint(base, plain, seed=0, settings=PaintSettings(batch=32))
    made = torch.stack([torch.from_numpy(np.array(p.image)).permute(2, 0, 1) for p in pictures]).float() / 255
    found["painted"] = {**judged(made, graphs[:painted]), "fid": _fid(made, pixels)}
    found["painted"]["clip_t"] = round(float(judges.text_similarity(made, plain).mean()), 4)
    found["renders_clip_t"] = round(float(judges.text_similarity(pixels[:painted], plain).mean()), 4)
    found["fid_between_renders"] = _fid(pixels[: count // 2], pixels[count // 2 :])
    write_json(path, found)
    return found


def judged(pixels: Tensor, graphs: list[Any]) -> dict[str, float]:
    """Share of pictures on which the judge reads what the graph says. Accessory: the exact set of those worn."""
    seen = judges.read(pixels)
    right: dict[str, list[bool]] = {field: [] for field in FIELDS}
    for row, graph in zip(seen, graphs, strict=True):
        true = labels(graph)
        for field in FIELDS[:-1]:
            right[field].append(row[field] == true[field])
        worn = CORE.accessories
        right["accessory"].append(all(row[name] == true[name] for name in worn))
    return {field: round(float(np.mean(values)), 4) for field, values in right.items()}


def _psnr(base: Any, pixels: Tensor) -> float:
    with torch.no_grad():
        back = torch.cat([base.decode(base.encode(part)[0]) for part in pixels.split(64)])
    return round(float((-10 * (back - pixels).square().mean((1, 2, 3)).log10()).mean()), 2)


def _recall(pixels: Tensor, texts: list[str]) -> float:
    from torch.nn.functional import normalize

    model, tokens = judges.clip()
    ids = tokens(texts, padding="max_length", truncation=True, max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels * 2 - 1)
    near = normalize(out.text_embeds, dim=-1) @ normalize(out.image_embeds, dim=-1).T
    return round(float((near.argmax(1) == torch.arange(len(texts))).float().mean()), 4)


def _judges(pixels: Tensor, drawn: Any) -> dict[str, float]:
    """Identity among 64 toys of one class, as retrieval and as the chance that one toy's two pictures are nearer than two
    toys'; and the segmenter's overlap with the truth."""
    from limner.pocket.world import individual, showing

    toys = [individual("dog", 2_000_000 + k, patterns=WORLDS["core"].patterns) for k in range(64)]
    places = [WORLDS["core"].scenes[k % 8] for k in range(65)]
    first, second = (
        judges.identities(
            draw([showing(t, seed=9000 * n + k, scene=places[k + n]) for k, t in enumerate(toys)]).pixels.float() / 255
        )
        for n in (0, 1)
    )
    near = first @ second.T
    right = float((near.argmax(1) == torch.arange(64)).float().mean())
    same = near.diagonal()
    others = near[~torch.eye(64, dtype=torch.bool)]
    auc = float((same[:, None] > others[None]).float().mean())
    mask, truth = judges.masks(pixels) > 0.5, drawn.masks
    overlap = float(((mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp_min(1)).mean())
    return {
        "identity_r@1_in_64_dogs": round(right, 4),
        "identity_auc": round(auc, 4),
        "segmenter_iou": round(overlap, 4),
    }


def _fid(first: Tensor, second: Tensor) -> float:
    """Fréchet distance (arXiv:1706.08500) over the judge's 160 features; not comparable with Inception's."""
    from scipy.linalg import sqrtm

    features = [_features(x).double().numpy() for x in (first, second)]
    (m1, c1), (m2, c2) = ((f.mean(0), np.cov(f, rowvar=False)) for f in features)
    root = np.real(sqrtm(c1 @ c2))
    return round(float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root)), 3)


def _features(pixels: Tensor) -> Tensor:
    network = judges._network("judge").features
    with torch.no_grad():
        return torch.cat([network(part) for part in pixels.split(128)])
