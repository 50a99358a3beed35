"""Scores of the base and its judges on seeds of no training: results/pocket.json, and the sheet in the docs."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.core.files import atomic_write
from limner.pocket import SIZE, judges
from limner.pocket.labels import FIELDS, labels
from limner.pocket.world import CORE, WHOLE, World, caption, draw, individual, references
from limner.pocket.world.grammar import NONCE
from limner.pocket.world.graph import SPLITS, SceneGraph
from limner.pocket.world.vocabulary import ACCESSORIES, CLASSES, JOINTED, WORN_BY_PEOPLE, shown

from .autoencoder import differences
from .data import read_strip, write_strip
from .language import fitting, write_json
from .readings import FIRST, PLAIN, drawn, held_out, readings
from .run import Clock, Run

BATCH = 32  # pictures painted at once


@dataclass(frozen=True)
class Question:
    """A kind of picture, and what the judge must read on it."""

    world: World
    fields: tuple[str, ...]
    count: int = 96


QUESTIONS = {
    "core": Question(CORE, ("class", "scene", "colour", "pattern", "view", "accessories"), 256),
    "whole": Question(PLAIN, ("class", "scene", "colour", "pattern", "view", "accessories", "material"), 256),
    "actions": Question(replace(PLAIN, classes=JOINTED, actions=shown("actions")[1:]), ("class", "action")),
    "pairs": Question(replace(PLAIN, pairs=1.0), ("both classes", "relation")),
    "styles": Question(replace(PLAIN, styles=shown("styles")[1:]), ("class", "style")),
    "states": Question(replace(PLAIN, states=shown("states")[1:]), ("class", "state")),
    "faces": Question(
        replace(WHOLE, faces=1.0),
        ("face", "hairstyle", "glasses", "expression", "face as asked", "age", "gaze", "head", "worn", "garment"),
    ),
}
AIMS = {
    "class": 0.95, "scene": 0.98, "colour": 0.90, "accessories": 0.90, "view": 0.85, "action": 0.75, "relation": 0.75,
    "style": 0.90, "both classes": 0.60, "face as asked": 0.90,
}  # fmt: skip
"""Aims for painted pictures, as a share of the judge's reading on renders."""


def evaluate(path: Path, *, painted: int = Run.painted, folder: Path | None = None) -> dict[str, Any]:
    """Scores of the shipped base and judges on held-out individuals and captions; written to `path`.

    `painted` is how many pictures of the core the Fréchet distance is over. Painted pictures wait in `folder`, so that
    a stopped evaluation continues.
    """
    from limner import load

    load("pocket")  # so that importing the libraries is not counted
    began = time.monotonic()
    base = load("pocket")
    scores: dict[str, Any] = {"fingerprint": base.fingerprint, "size": SIZE}
    scores["seconds_to_load"] = round(time.monotonic() - began, 2)
    scores["seconds_a_picture"] = _seconds(lambda: _paint(base, ["a dog on the beach"]))
    scores["megabytes"] = round(_size(judges.WEIGHTS), 1)
    scores["questions"] = {name: _asked(base, name, question, folder) for name, question in QUESTIONS.items()}
    graphs = held_out(CORE, 1024)
    pixels = drawn(graphs)
    scores["autoencoder"] = _autoencoder(base, pixels[:512])
    scores["clip"] = recall(pixels, graphs)
    scores["judges"] = readings()
    scores["ceiling"] = _ceiling(base)
    scores["fid"] = _distance(base, pixels, painted, folder)
    write_json(path, scores)
    return scores


def read_again(path: Path) -> dict[str, float]:
    """Replace the readings in an evaluation that was written before: after a judge, not the base, was trained again."""
    scores = json.loads(path.read_text(encoding="utf-8"))
    scores["judges"], scores["megabytes"] = readings(), round(_size(judges.WEIGHTS), 1)
    write_json(path, scores)
    return scores["judges"]


def _plainly(graph: SceneGraph) -> str:
    """The full description of a graph, or as much as the text encoder can read."""
    return fitting(judges.clip()[1], graph)


def _asked(base: Any, name: str, question: Question, folder: Path | None) -> dict[str, Any]:
    """Shares of pictures on which the judge reads what is asked: on renders, on painted ones, and the one of the
    other."""
    graphs, fields = held_out(question.world, question.count), read_of(question)
    true = judged(draw(graphs).pixels.float() / 255, graphs, fields)
    made = judged(_paint(base, [_plainly(g) for g in graphs], folder), graphs, fields)
    print(name, made, flush=True)
    share = {f: round(made[f] / max(true[f], 1e-9), 4) for f in fields}
    return {"pictures": question.count, "renders": true, "painted": made, "share": share}


PARTS: dict[str, tuple[str, ...]] = {
    "accessories": ACCESSORIES,
    "worn": WORN_BY_PEOPLE,
    "face as asked": ("face", "hairstyle", "glasses", "expression"),
}
"""Fields of a question that are several of the judge's."""


def read_of(question: Question) -> tuple[str, ...]:
    """The question's fields that this edition's judge reads."""
    heads = {*judges.network("judge").heads, "both classes"}
    return tuple(field for field in question.fields if heads.issuperset(PARTS.get(field, (field,))))


def judged(pixels: Tensor, graphs: Sequence[SceneGraph], fields: Sequence[str]) -> dict[str, float]:
    """Share of the pictures that have a field on which the judge reads what the graph says.

    Beside the judge's fields: "accessories" and "worn", the exact set of those that the first toy or person wears;
    "face as asked", a face with its hair, glasses and expression; "both classes", the classes of all things.
    """
    seen, true = judges.read(pixels), [labels(g) for g in graphs]
    shares = {}
    for field in fields:
        if field == "both classes":
            right = [a == b for a, b in zip(_kinds_seen(pixels, graphs), _kinds(graphs), strict=True)]
        else:
            read = PARTS.get(field, (field,))
            assert all(f in FIELDS for f in read)
            right = [all(s[f] == t[f] for f in read) for s, t in zip(seen, true, strict=True) if read[0] in t]
        shares[field] = round(float(np.mean(right)), 4)
    return shares


def _kinds(graphs: Sequence[SceneGraph]) -> list[set[str]]:
    return [{toy.individual.kind for toy in graph.toys} for graph in graphs]


def _kinds_seen(pixels: Tensor, graphs: Sequence[SceneGraph]) -> list[set[str]]:
    """As many classes as each graph has things: those of the most probable things that the reader finds, or, in an
    edition without a reader, those that cover most of the picture."""
    if (judges.WEIGHTS / "reader.safetensors").exists():
        both = zip(judges.things(pixels), graphs, strict=True)
        return [{thing["class"] for thing in things[: len(graph.toys)]} for things, graph in both]
    shares = zip(judges.together(pixels), _kinds(graphs), strict=True)
    return [{CLASSES[k] for k in share.topk(len(kinds)).indices.tolist()} for share, kinds in shares]


def _paint(base: Any, texts: list[str], folder: Path | None = None) -> Tensor:
    """[B, 3, H, W] from 0 to 1: a picture of every text, each begun with noise of its own. Pictures in `folder` are not
    painted again."""
    from limner import Order, PaintSettings, paint_many

    clock, pictures, settings = Clock("painting", len(texts)), [], PaintSettings(batch=BATCH)
    for first in range(0, len(texts), BATCH):
        orders = [Order(text, seed=first + k) for k, text in enumerate(texts[first : first + BATCH])]
        about = hashlib.sha256(repr((base.fingerprint, settings, orders)).encode()).hexdigest()[:20]
        strip = folder / f"{about}.png" if folder else None
        if strip and strip.exists():
            pictures.append(read_strip(strip, SIZE))
            continue
        made = [np.array(p.image) for p in paint_many(base, orders, settings=settings)]
        pictures.append(torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2))
        if strip:
            write_strip(strip, pictures[-1])
        clock.tick(first + len(orders) - 1, {})
    return torch.cat(pictures).float() / 255


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    work()
    durations = []
    for _ in range(times):
        began = time.monotonic()
        work()
        durations.append(time.monotonic() - began)
    return round(statistics.median(durations), 2)


def _size(folder: Path) -> float:
    """Megabytes of the base and the judges, without what methods alone read."""
    parts = [f for f in folder.rglob("*") if f.is_file() and not {"methods", "motion", "multimodal"} & set(f.parts)]
    return sum(f.stat().st_size for f in parts) / 1e6


def _autoencoder(base: Any, pixels: Tensor) -> dict[str, float]:
    """PSNR in dB of pictures through the autoencoder, and the share of their edges that stays."""
    back = _through(base, pixels)
    edges = differences(back).abs().mean() / differences(pixels).abs().mean()
    psnr = (-10 * (back - pixels).square().mean((1, 2, 3)).log10()).mean()
    return {"psnr": round(float(psnr), 2), "edges": round(float(edges), 4)}


def _through(base: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([_coded(base, part) for part in pixels.split(64)])


def _coded(base: Any, pixels: Tensor) -> Tensor:
    """Pictures through the autoencoder and back."""
    reconstructions: Tensor = base.decode(base.encode(pixels.to(base.device))[0]).clamp(0, 1).float().cpu()
    return reconstructions


def recall(pixels: Tensor, graphs: Sequence[SceneGraph], count: int = 256) -> dict[str, float]:
    """How often a text finds its picture among `count`, by CLIP: texts that say everything, all distinct, and texts as
    training said them, which leave things out. The ceiling of each is what one could do who knows every graph: any of
    those pictures of which the text can be said is as good as another.
    """
    from torch.nn.functional import normalize

    plainly = {caption(g): k for k, g in reversed(list(enumerate(graphs)))}
    chosen = sorted(plainly.values())[:count]
    loosely = [caption(graphs[k], seed=FIRST + k) for k in chosen]
    with torch.no_grad():
        images = normalize(judges.picture_features(pixels[chosen]), dim=-1)
        scores: dict[str, float] = {"texts": len(chosen)}
        for name, texts in (("distinct", [caption(graphs[k]) for k in chosen]), ("loose", loosely)):
            near = normalize(judges.text_features(texts), dim=-1) @ images.T
            scores[f"r@1_{name}"] = round(float((near.argmax(1) == torch.arange(len(chosen))).float().mean()), 4)
    may = [_sayable(graphs[k]) for k in chosen]
    fits = [sum(_words(text) <= words for words in may) for text in loosely]
    scores["ceiling_loose"] = round(float(np.mean([1 / max(n, 1) for n in fits])), 4)
    return scores


def _words(text: str) -> set[str]:
    return set(text.replace(",", "").split())


def _sayable(graph: SceneGraph, ways: int = 48) -> set[str]:
    """The words of many captions of a graph, and the invented names, which may be said of any."""
    return set(NONCE).union(*(_words(caption(graph, seed=k)) for k in range(ways)))


def _ceiling(base: Any) -> dict[str, float]:
    """Identity between a standard toy's references and its held-out pictures: as they are, and through the autoencoder,
    which is the most that a likeness painted by this base can reach."""
    from limner.evaluation.datasets.toys import STANDARD

    similarities: dict[str, list[float]] = {"identity": [], "identity_through_autoencoder": []}
    for kind, number in STANDARD:
        who = individual(kind, SPLITS["held-out"].start + number, patterns=CORE.patterns)
        shown, held = (draw(references(who, 4, seed=s)).pixels.float() / 255 for s in (0, 1))
        with torch.no_grad():
            coded = _coded(base, held)
        for name, pixels in zip(similarities, (held, coded), strict=True):
            similarities[name].append(float((judges.identities(shown) @ judges.identities(pixels).T).mean()))
    return {name: round(statistics.mean(values), 4) for name, values in similarities.items()}


def _distance(base: Any, pixels: Tensor, count: int, folder: Path | None) -> dict[str, float]:
    """Fréchet distance (arXiv:1706.08500) over the judge's 160 features; not comparable with Inception's.

    `count` painted pictures against as many renders, those renders against as many others, and against these through
    the autoencoder.
    """
    graphs = held_out(CORE, count)
    first = pixels if count <= len(pixels) else drawn(graphs)
    others = drawn(held_out(CORE, count, FIRST + 10_000_000))
    made = _paint(base, [_plainly(g) for g in graphs], folder)
    return {
        "pictures": count,
        "painted": fid(made, first[:count]),
        "renders": fid(others, first[:count]),
        "through_autoencoder": fid(_through(base, others), first[:count]),
        "clip_t_painted": _clip_t(made, graphs),
        "clip_t_renders": _clip_t(first[:count], graphs),
    }


def _clip_t(pixels: Tensor, graphs: Sequence[SceneGraph]) -> float:
    return round(float(judges.text_similarity(pixels, [_plainly(g) for g in graphs]).mean()), 4)


def fid(first: Tensor, second: Tensor) -> float:
    from scipy.linalg import sqrtm

    features = [judges.features(x).double().numpy() for x in (first, second)]
    (m1, c1), (m2, c2) = ((f.mean(0), np.cov(f, rowvar=False)) for f in features)
    root = np.real(sqrtm(c1 @ c2))
    return round(float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root)), 3)


def sheet(path: Path, *, columns: int = 8, rows: int = 8, side: int = 112) -> list[str]:
    """The first pictures painted for the first held-out captions, none chosen: each row of them above a row of renders
    of the same captions. The upper half asks for the core, the lower for the whole world. Returns the captions."""
    from limner import load

    half = columns * rows // 2
    graphs = [*held_out(CORE, half), *held_out(WHOLE, half)]
    captions = [_plainly(g) for g in graphs]
    both = [(x * 255).round().byte() for x in (_paint(load("pocket"), captions), draw(graphs).pixels.float() / 255)]
    whole = Image.new("RGB", (columns * (side + 4) + 4, rows * (2 * side + 12) + 4), "white")
    for k in range(columns * rows):
        row, column = divmod(k, columns)
        for n, pixels in enumerate(both):
            small = Image.fromarray(pixels[k].permute(1, 2, 0).numpy()).resize((side, side), Image.Resampling.LANCZOS)
            whole.paste(small, (4 + column * (side + 4), 4 + row * (2 * side + 12) + n * (side + 2)))
    atomic_write(path, lambda p: whole.save(p, format="WEBP", quality=70, method=6), overwrite=True)
    atomic_write(
        path.with_suffix(".txt"), lambda p: p.write_text("\n".join(captions) + "\n", encoding="utf-8"), overwrite=True
    )
    return captions
