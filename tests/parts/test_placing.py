"""A subject at a place of a scene, seen from a viewpoint: what sources, canvases and settings say of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Generator, Tensor

import limner
from limner.core.pixels import to_tensor
from limner.core.recipe import Recipe
from limner.core.streams import stream, streams
from limner.core.types import Batch, Live, Pass, References, Residuals
from limner.core.views import move_between, read_view
from limner.engine.attach import Adapter, attach
from limner.engine.sample import Canvas, PaintSettings, sample
from limner.engine.train import Update, begin_update, joined_references
from limner.errors import InputError, UnknownName
from limner.parts.sources import Hole, mostly_at, pairs
from limner.parts.sources.placing import box_masks, boxes_around, grown_boxes, rough_outlines
from limner.pocket.corpus import _graph, toys
from limner.pocket.world import draw, viewpoint

FEW = toys(6)
TWO = PaintSettings(steps=2)


def overlap(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


# ------------------------------------------------------------------------------------------------------- viewpoints


def test_a_viewpoint_is_the_camera_around_the_subject() -> None:
    """Two graphs of one viewpoint, one with the camera moved and one with the toy turned, show the same outline."""
    graph = _graph(0)
    toy, camera = graph.toys[0], replace(graph.camera, target=(0.0, graph.camera.target[1], 0.0))
    here = replace(graph, camera=camera)
    moved = replace(here, camera=replace(camera, azimuth=camera.azimuth + 0.9))
    turned = replace(here, toys=(replace(toy, turn=toy.turn - 0.9),))
    assert viewpoint(moved) == pytest.approx(viewpoint(turned))
    mask, same, other = draw([moved, turned, replace(here, toys=(replace(toy, turn=toy.turn + 0.9),))]).masks
    assert overlap(mask, same) > 0.97 > overlap(mask, other)


def test_moves_between_viewpoints() -> None:
    start, end = torch.tensor([[3.0, 0.1, 2.0]]), torch.tensor([[-3.0, 0.3, 4.0]])
    assert torch.allclose(move_between(start, end), torch.tensor([[2 * math.pi - 6, 0.2, math.log(2)]]), atol=1e-5)
    assert torch.allclose(move_between(start, end), -move_between(end, start), atol=1e-5)
    assert bool(move_between(start, torch.full((1, 3), torch.nan)).isnan().all())


def test_pairs_say_how_the_camera_moves(base: Any) -> None:
    batch = pairs(batch=4, references=2, moves=True, corpus=FEW, name="moves").prepare(base)(0, streams(0, 0))
    shown = batch.references
    assert shown is not None
    assert shown.moves is not None
    assert shown.moves.shape == (4, 2, 3)
    same = pairs(batch=4, target="same", moves=True, corpus=FEW).prepare(base)(0, streams(0, 0)).references
    assert same is not None
    assert same.moves is not None
    assert not same.moves.any()
    assert shown.of([2]).moves is not None
    joined = joined_references([batch, batch])
    assert joined is not None
    assert joined.moves is not None
    assert torch.equal(joined.moves, shown.moves.repeat(2, 1, 1))


def test_a_corpus_without_viewpoints_is_refused(base: Any) -> None:
    class Flat:
        name = "flat"

        def __getattr__(self, what: str) -> Any:
            if what == "views":
                raise AttributeError
            return getattr(FEW, what)

    with pytest.raises(InputError, match="viewpoint of every picture, and the corpus flat has none"):
        pairs(batch=2, moves=True, corpus=Flat()).prepare(base)(0, streams(0, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "views",
    [{"rex": "upside down"}, {"rex": (1, 2, 3, 4)}, {"rex": 400}, {"rex": (0, 0, 0)}, {"rex": math.nan}, {"rex": True}],
)
def test_a_viewpoint_that_is_none_is_refused(views: Any) -> None:
    with pytest.raises(InputError, match="viewpoint of <rex>"):
        PaintSettings(views=views)


# ------------------------------------------------------------------------------------------------------------- places


def test_holes_are_boxes_around_the_subject(base: Any) -> None:
    source = pairs(batch=6, boxes=True, hole=Hole(grown=(1.2, 1.2)), corpus=FEW, name="holes")
    batch = source.prepare(base)(0, streams(0, 0))
    scene, hole = batch.conditions["source"], batch.conditions["mask"]
    assert batch.references is not None
    assert batch.references.boxes is not None
    with torch.no_grad():
        assert torch.allclose(base.encode(scene)[0], batch.latents, atol=1e-3)
    wanted = grown_boxes(batch.references.boxes, torch.full((6, 1), 1.2))
    assert torch.allclose(boxes_around(hole), wanted, atol=1.01 / base.picture_size)


def test_rough_outlines_lie_about_the_subject() -> None:
    masks = draw([_graph(k) for k in range(6)]).masks[:, None].float()
    first, second = (rough_outlines(masks, stream(seed, "outline")) for seed in (0, 1))
    for rough, other, mask in zip(first.bool(), second.bool(), masks.bool(), strict=True):
        assert 0.5 < overlap(rough, mask) < 0.99
        assert not torch.equal(rough, other)
    both = Hole(rough=0.5)(masks.repeat(8, 1, 1, 1), stream(0, "hole"))
    boxed = [bool(torch.equal(hole[None], box_masks(boxes_around(hole[None]), 128))) for hole in both]
    assert 10 < sum(boxed) < 38


def test_an_empty_mask_has_the_whole_picture() -> None:
    assert bool((Hole()(torch.zeros(1, 1, 8, 8), stream(0, "hole")) == 1).all())


def test_most_rows_have_times_in_their_range(base: Any) -> None:
    source = mostly_at(pairs(batch=256, corpus=toys(2), name="late"), 0.5, 1.0)
    batch = source.prepare(base)(0, streams(0, 0))
    assert batch.times is not None
    assert batch.of([3]).times is not None
    with attach(base, ()) as adapted:
        time = begin_update(Update, adapted, source, lambda *_: batch, 0, 0, 0).time / base.num_train_times
    late = batch.times[:, 0] == 0.5
    assert 0.6 < float(late.float().mean()) < 0.8
    assert bool((time[late] >= 0.5).all())
    assert 0.3 < float((time[~late] < 0.5).float().mean()) < 0.7


# -------------------------------------------------------------------------------------------------------- painting


@dataclass(frozen=True)
class reader:
    """A modifier that notes the scene, the hole and the viewpoint of every run."""

    seen: list[Pass] = field(default_factory=list)

    @contextmanager
    def __call__(
        self, base: Any, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        def control(_: Tensor, __: Tensor, ___: Any, run: Pass) -> Residuals:
            self.seen.append(run)
            return Residuals()

        names = frozenset({"source", "mask"})
        yield Live(controls=(control,), may_read=names, takes_view=True)


def worn(part: reader | None = None) -> Adapter:
    return Adapter(Recipe(says="dog", modifiers=(part,) if part else ()), "<rex>")


def scene() -> tuple[Image.Image, Image.Image]:
    picture, mask = Image.new("RGB", (64, 64), (20, 120, 60)), Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), fill=255)
    return picture, mask


def test_a_canvas_is_a_condition_of_adapters_that_read_it(base: Any) -> None:
    part, (picture, mask) = reader(), scene()
    with torch.no_grad(), attach(base, (worn(part),)) as adapted:
        list(sample(adapted, ["<rex>"], seeds=[0], settings=TWO, canvas=Canvas(picture, mask, start=0)))
        list(sample(adapted, ["<rex>"], seeds=[0], settings=TWO, canvas=Canvas(picture, start=0)))
    first, last = part.seen[0].conditions, part.seen[-1].conditions
    assert torch.allclose(first["source"][:1], to_tensor([picture], base.picture_size), atol=1e-6)
    assert torch.allclose(boxes_around(first["mask"])[0], torch.tensor([0.5, 0, 1, 1]))
    assert first["source"].shape[0] == 2 * 1  # both branches
    assert set(last) == {"source"}
    with torch.no_grad(), attach(base, (worn(),)) as adapted:  # nothing reads it
        list(sample(adapted, ["<rex>"], seeds=[0], settings=TWO, canvas=Canvas(picture, mask)))


def test_a_viewpoint_reaches_the_concept_that_reads_it(base: Any) -> None:
    part = reader()
    settings = replace(TWO, views={"rex": (90, 10, 2)})
    with torch.no_grad(), attach(base, (worn(part),)) as adapted:
        list(sample(adapted, ["<rex>"], seeds=[0], settings=settings))
    wanted = torch.tensor([math.pi / 2, math.radians(10), math.log(2)])
    assert torch.allclose(part.seen[0].views["<rex>"], wanted)
    assert settings.metadata["views"] == {"<rex>": [90.0, 10.0, 2.0]}
    with attach(base, (worn(),)) as adapted, pytest.raises(InputError, match="reads no viewpoint"):
        list(sample(adapted, ["<rex>"], seeds=[0], settings=settings))
    with attach(base, (worn(part),)) as adapted, pytest.raises(UnknownName, match="give a viewpoint to"):
        list(sample(adapted, ["<rex>"], seeds=[0], settings=replace(TWO, views={"bo": 3})))


def test_layers_of_a_unets_parts(base: Any) -> None:
    whole, decoder, first = (base.projections(what) for what in ("everything", "decoder", "input"))
    assert 0 < len(decoder) < len(whole)
    assert decoder.keys() <= whole.keys()
    (layer,) = first.values()
    assert layer.weight.shape[1] == base.latent_shape[0]


def test_joined_references_keep_their_boxes() -> None:
    one = References(torch.zeros(1, 1, 3, 4, 4), boxes=torch.tensor([[0.0, 0.1, 0.5, 0.6]]))
    batch = Batch(torch.zeros(1, 4, 2, 2), ("",), references=one)
    joined = joined_references([batch, batch])
    assert joined is not None
    assert joined.boxes is not None
    assert joined.boxes.shape == (2, 4)


def test_paint_takes_viewpoints_in_its_settings(base: Any) -> None:
    with pytest.raises(UnknownName):
        limner.paint(base, "a dog", settings=replace(TWO, views={"rex": 45}))


def test_a_viewpoint_is_written_as_numbers() -> None:
    assert PaintSettings(views={"rex": read_view("90"), "bo": read_view("45,10,1.2")}).metadata["views"] == {
        "<rex>": [90.0, 0.0, 1.0],
        "<bo>": [45.0, 10.0, 1.2],
    }
    with pytest.raises(InputError, match="degrees around the subject such as 90"):
        read_view("90 degrees")


def test_the_command_line_asks_for_a_viewpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from limner.apps.cli.main import main

    words = ["paint", "a dog", "--view", "rex=90", "--steps", "2", "--out", str(tmp_path / "out"), "--base", "pocket"]
    assert main(words) != 0
    assert "concept to give a viewpoint to" in capsys.readouterr().err
