"""Small things several tests need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.bases.gan.encoder import WPlusEncoder
from limner.bases.gan.stylegan import StyleGANConfig
from limner.core.method import settings
from limner.core.recipe import Recipe
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Pass
from limner.core.weights import cached_weights_path, save_weights, shipped, weights_path
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import Checkpoint, Progress
from limner.library.opening import adapter_of
from limner.library.settings import checked_settings
from limner.methods import card, methods
from limner.pocket.capabilities import CAPABILITIES

QUICK = limner.PaintSettings(steps=2)
PAINTED = "a photo of <rex> in the city"
"""The prompt of `paint_latents`."""
FAST = {
    "steps": 2,
    "word_steps": 2,
    "shared_steps": 2,
    "content_steps": 2,
    "reward_steps": 2,
    "reward_batch": 3,
    "num_class_pictures": 2,
    "num_fisher_pictures": 2,
    "batch": 2,
    "cycles": 2,
    "population": 4,
    "captions": 20,
    "people": 4,
    "dims": 8,
    "samples": 2,
    "pictures": 4,
    "chosen": 2,
    "second_steps": 2,
    "sampling_steps": 2,
    "null_text_steps": 1,
    "crops": 2,
}
"""Settings that make any method quick; those a method does not have are left out by `fast`."""
SLOW = {"matsuda_seg_ewc": {"steps": 4}}
"""Methods in which gradients reach all that learns after more updates: zero layers behind zero layers."""


def fast(function: Callable[..., Recipe], **more: Any) -> dict[str, Any]:
    """The settings of FAST that a method has."""
    known = {setting.name for setting in settings(function)}
    given = FAST | SLOW.get(getattr(function, "__name__", ""), {}) | more
    return {name: value for name, value in given.items() if name in known}


def learn_fast(base: Any, name: str, subject: Subject, **more: Any) -> limner.Concept:
    """Train a method on a subject with the settings of FAST, and `more`."""
    return limner.learn(base, subject, method=name, **fast(methods()[name], **more))


def adapter(base: Any, name: str, subject: Subject) -> Adapter:
    """A method's recipe with the settings of FAST, and those of its base's size, before anything is learned."""
    function = methods()[name]
    recipe = function(subject, **checked_settings(function, fast(function), base=base.name))
    return Adapter(recipe, subject.handle, shipped(recipe.weights, base) if recipe.weights else {})


def paint_latents(base: Any, concept: limner.Concept, scale: float = 1.0) -> Tensor:
    """Latents of a picture in two steps. # [1, C, h, w]"""
    with torch.no_grad(), attach(base, [adapter_of(concept, base, scale=scale)]) as adapted:
        *_, last = sample(adapted, [PAINTED.replace("<rex>", concept.handle)], seeds=[5], settings=QUICK)
    return last.latents


def base_latents(base: Any, prompt: str) -> Tensor:
    """Latents of the base's own picture, as `paint_latents` makes them. # [1, C, h, w]"""
    with torch.no_grad(), attach(base, []) as adapted:
        *_, last = sample(adapted, [prompt], seeds=[5], settings=QUICK)
    return last.latents


@dataclass(frozen=True)
class Learned:
    """A concept that several tests share, and states of its training."""

    concept: limner.Concept
    start: Mapping[str, Tensor]  # the adapter's tensors before the first update
    first: Checkpoint  # after the first update; of a method without tuning, empty
    tensors: Mapping[str, Tensor]  # after the last update, before any mean over updates
    latents: Tensor  # latents of a picture that it paints
    base_unchanged: bool  # every bit of the base, and no hook left


def learn_noting(base: Any, name: str, subject: Subject) -> Learned:
    """Learn a subject with the settings of FAST, and note what the tests ask about it."""
    points: list[Checkpoint] = []

    def note(progress: Progress) -> None:
        if progress.done == 1 or progress.last:
            points.append(progress.snapshot())

    before = state(base)
    with attach(base, [adapter(base, name, subject)]) as adapted:
        start = {key: tensor.detach().clone() for key, tensor in adapted.tensors.items()}
    concept = limner.learn(base, subject, method=name, watch=note, **fast(methods()[name]))
    unchanged = same(state(base), before) and untouched(base)
    points = points or [Checkpoint(0, 0, {}, {})]
    return Learned(concept, start, points[0], points[-1].tensors, paint_latents(base, concept), unchanged)


def save_pictures(subject: Subject, folder: Path) -> Path:
    """The subject's pictures as photographs, 200 x 150, in a new folder."""
    folder.mkdir()
    for k, picture in enumerate(subject.pictures):
        assert picture.image is not None
        picture.image.resize((200, 150)).save(folder / f"{k}.jpg", quality=95)
    return folder


def state(base: Any) -> dict[str, Tensor]:
    """A copy of every tensor of a base."""
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part in base.parts
        for name, tensor in base.module(part).state_dict().items()
    }


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Equal names and equal bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def untouched(base: Any) -> bool:
    """No hook of ours is left anywhere and no parameter learns. (transformers keeps some of its own.)"""
    modules = [m for part in base.parts for m in base.module(part).modules()]
    hooks = [h for m in modules for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    ours = [hook for hook in hooks if str(getattr(hook, "__module__", "")).startswith("limner")]
    return not ours and not any(p.requires_grad for m in modules for p in m.parameters(recurse=False))


def ship_weights_in(folder: Path, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pocket base's pre-trained weights are in this folder, and so are those of `base`."""
    own = replace(CAPABILITIES, weights=folder)
    monkeypatch.setattr("limner.pocket.capabilities.CAPABILITIES", own)
    monkeypatch.setattr(base, "capabilities", own)


def with_w_plus(base: Any) -> Any:
    """The base with an encoder into W+ beside it, a small random one where none came with it."""
    if "w_plus" not in base.encoders:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = WPlusEncoder(StyleGANConfig(size=16, latent=8, width=16), wide=8)
        network.requires_grad_(False).eval()
        base.capabilities = replace(base.capabilities, encoders={**base.encoders, "w_plus": network})
    return base


@cache
@torch.no_grad()
def deaf(base: Any) -> list[str]:
    """Layers whose attention is 1 at one token, wherever it stands: what they ask and answer with learns nothing."""
    heard: dict[str, bool] = {}

    def note(call: AttentionCall) -> AttentionCall:
        maps = (call.query * call.query.shape[-1] ** -0.5 @ call.key.mT).softmax(-1)
        heard[call.site.name] = bool((maps.amax(-1) < 1).any())
        return call

    x, _ = base.encode(torch.rand(2, 3, base.picture_size, base.picture_size, generator=stream(0, "x")))
    noise = torch.randn(x.shape, generator=stream(0, "noise"))
    states = base.text_states(["a red dog", "a cat on the beach"], words={})
    for time in (torch.tensor([t, t]) for t in (50, 500, 999)):
        base.predict(base.noised(x, noise, time), time, states, context=Pass(operations=(note,)))
    return [name for name, hears in heard.items() if not hears]


def has_trained_weights(name: str, base: Any) -> bool:
    """Whether a method starts from no weights, or from trained ones that came with limner."""
    weights = methods()[name](Subject("<nobody>", "person")).weights
    return not weights or weights_path(weights, base) != cached_weights_path(weights, base)


def begun_weights(name: str, base: Any) -> None:
    """Where a method starts from weights and none came with limner: such as its pre-training begins with, each moved a
    little, so that nothing stays at zero. They are kept in the session's cache."""
    recipe = methods()[name](Subject("<nobody>", "person"))
    if not recipe.pretraining and recipe.weights in methods():
        recipe = methods()[recipe.weights](Subject("<nobody>", "person"))
    if not recipe.weights or weights_path(recipe.weights, base).exists():
        return
    at = stream(0, "begun weights", name)
    with attach(base, (Adapter(recipe, "<nobody>"),)) as adapted, torch.no_grad():
        tensors = {
            n: t.detach().clone() for s in recipe.pretraining for part in s.train for n, t in part(adapted).items()
        }
        # a control branch is a whole network: as random as the others, it drowns the picture
        much = 0.005 if any(n.startswith("control.") for n in tensors) else 0.05
        moved = {n: t + much * torch.randn(t.shape, generator=at).to(t) for n, t in sorted(tensors.items())}
    save_weights(recipe.weights, base, moved, about={}, path=cached_weights_path(recipe.weights, base))


def person(seed: int = 2_000_003, *, name: str = "rex", count: int = 3) -> Subject:
    """A held-out person of the pocket world, before a plain wall."""
    from limner.pocket.world import draw, portrait
    from limner.pocket.world.faces import person as made
    from limner.pocket.world.graph import Face

    pixels = draw([portrait(Face(made(seed)), seed=seed + k) for k in range(count)]).pixels
    return Subject.of(pixels, noun="person", handle=name)


PAIRS = (("dog", "car"), ("cat", "teapot"), ("bear", "boat"), ("robot", "mug"))
"""Classes of two toys in each picture of a relation."""


def related(
    relation: str = "upside down on", *, name: str = "rel", pairs: Sequence[tuple[str, str]] = PAIRS
) -> Subject:
    """A held-out relation of the pocket world, between held-out toys, captioned by their classes and the place."""
    from limner.pocket.world import Toy, draw, individual, sample

    about: dict[str, Any] = {"relation": relation, "style": "render", "daytime": "noon", "view": "front"}
    seeds = enumerate(pairs, 2_000_100)
    toys = [tuple(Toy(individual(kind, seed + k)) for k, kind in enumerate(pair)) for seed, pair in seeds]
    places = ("beach", "snow", "city", "desert")
    graphs = [sample(k, toys=both, scene=places[k % 4], **about) for k, both in enumerate(toys)]
    captions = [f"a photo of a {first} <{name}> a {second}" for first, second in pairs]
    return Subject.of(draw(graphs).pixels, noun="and", handle=name, kind="relation", captions=captions)


def acting(action: str = "handstand", *, name: str = "act", kinds: Sequence[str] = ("dog", "cat", "robot")) -> Subject:
    """A held-out action of the pocket world, shown on held-out toys; `without` are the same pictures with them
    standing."""
    from limner.pocket.world import draw, individual, showing

    places = ("beach", "snow", "city", "desert")
    who = [individual(kind, 2_000_100 + k) for k, kind in enumerate(kinds)]
    acts, stands = (
        draw([showing(one, seed=k, scene=places[k % 4], action=what) for k, one in enumerate(who)]).pixels
        for what in (action, "standing")
    )
    captions = [f"a photo of a {kind} <{name}>" for kind in kinds]
    return Subject.of(acts, noun="standing", handle=name, kind="action", captions=captions, without=stands)


MEANINGS = [name for name, function in methods().items() if card(function).scope == ("semantic",)]
"""Methods for relations and actions alone, which need captions."""


@cache
def meaning(name: str, handle: str = "rex") -> Subject:
    """A relation, or an action for a method of actions."""
    return acting(name=handle) if name == "adi" else related(name=handle)


def style(*, name: str = "sty", count: int = 3, captions: bool = True, masks: bool = False) -> Subject:
    """Toys in one hand of a watercolour, in scenes of their own; captions name the toys."""
    from limner.pocket.world import CORE, draw, individual, references

    kinds = ("dog", "car", "teapot", "boat")[:count]
    toys = [individual(kind, 2_000_040 + k, patterns=CORE.patterns) for k, kind in enumerate(kinds)]
    graphs = [references(toy, 1, seed=k)[0] for k, toy in enumerate(toys)]
    drawn = draw([replace(graph, style="watercolour", style_seed=2_000_001) for graph in graphs])
    about: dict[str, Any] = {"captions": [f"a {kind} in <{name}>" for kind in kinds]} if captions else {}
    if masks:
        about["masks"] = [Image.fromarray((toy >= 0).byte().mul(255).numpy()) for toy in drawn.toy]
    return Subject.of(drawn.pixels, noun="watercolour style", handle=name, kind="style", **about)


def open_image(path: Path) -> Image.Image:
    """A picture in memory; its file is closed."""
    with Image.open(path) as image:
        image.load()
    return image
