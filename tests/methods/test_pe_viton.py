"""PE-VITON: shape and texture of a garment are inputs apart; `limner try-on`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from limner.apps.cli.main import main
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.errors import InputError
from limner.methods import methods
from limner.parts.fusion.collage_network import DETAILS, collage
from limner.parts.fusion.collage_network import SILHOUETTE as LOOK
from limner.parts.sources.garments import garments_of, pairs_of_garments
from limner.parts.sources.placing import box_masks
from limner.pocket.garment_corpus import garments
from tests.helpers import begun_weights, open_image, person
from tests.methods.test_placed_subjects import last_latents, trained_names, worn

PLACE = (0.25, 0.5, 0.75, 1.0)


def garment(colour: str, *, stripes: str = "", wide: float = 0.5, size: int = 128) -> Subject:
    """A rectangle of one colour on white, or with stripes of another."""
    picture, mask = Image.new("RGB", (size, size), "white"), Image.new("L", (size, size), 0)
    inside = (round(size * (0.5 - wide / 2)), size // 4, round(size * (0.5 + wide / 2)) - 1, 3 * size // 4 - 1)
    ImageDraw.Draw(picture).rectangle(inside, fill=colour)
    ImageDraw.Draw(mask).rectangle(inside, fill=255)
    for top in range(size // 4, 3 * size // 4, 16) if stripes else ():
        ImageDraw.Draw(picture).rectangle((inside[0], top, inside[2], top + 7), fill=stripes)
    return Subject.of([picture], noun="shirt", handle="rex", masks=[mask])


def read(base: Any, subject: Subject) -> tuple[Tensor, Tensor]:
    """The input of the shape module, and the tokens of the texture module."""
    size = base.picture_size
    scene = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    shown = {"source": scene, "mask": box_masks(torch.tensor([PLACE]), size)}
    with attach(base, (worn(base, "pe_viton", subject),)) as adapted:
        live = adapted.live.values()[0]
        made = collage(base, Pass(conditions=shown), 1, "<rex>", live.tensors[DETAILS], LOOK)
        return made, live.tensors["tokens.features"]


def test_another_texture_leaves_the_shape_and_another_shape_changes_it(base: Any) -> None:
    plain, striped, wide = (
        read(base, one) for one in (garment("red"), garment("red", stripes="blue"), garment("red", wide=0.25))
    )
    assert torch.equal(plain[0], striped[0])
    assert not torch.allclose(plain[1], striped[1], atol=1e-2)
    assert not torch.allclose(plain[0], wide[0], atol=1e-2)


def test_an_outline_is_nearly_nothing_to_the_texture(base: Any) -> None:
    """On a plain ground, as AnyDoor shows its subjects, the outline changes the tokens far more."""
    from dataclasses import replace

    first, other = garment("red", stripes="blue"), garment("red", stripes="blue", wide=0.3)
    changes = []
    for filled in (True, False):
        tokens = []
        for subject in (first, other):
            (network, *_) = methods()["pe_viton"](subject).modifiers
            part: Any = replace(network.tokens, filled=filled)  # type: ignore[attr-defined]  # a collage network
            with part(base, stored={}, generator=torch.Generator().manual_seed(0), scale=1.0) as live:
                tokens.append(live.tensors["tokens.features"])
        changes.append(float((tokens[0] - tokens[1]).norm()))
    assert changes[0] < 0.9 * changes[1]


def test_the_shape_module_acts_and_sees_the_person(base: Any) -> None:
    size, hole = base.picture_size, box_masks(torch.tensor([PLACE]), base.picture_size)
    scene = torch.full((1, 3, size, size), 0.3)
    found = []
    for subject in (garment("red"), garment("red", wide=0.2)):
        with attach(base, (worn(base, "pe_viton", subject),)) as adapted:
            found += [
                last_latents(adapted, "<rex>", conditions={"source": shown, "mask": hole})
                for shown in (scene, scene + 0.6 * hole, scene + 0.6 * (1 - hole))
            ]
    first, inside, outside, other, *_ = found
    assert torch.equal(first, inside)
    assert not torch.equal(first, outside)
    assert not torch.equal(first, other)


def test_the_stages_train_shape_then_texture(base: Any, tmp_path: Path) -> None:
    names = trained_names(base, "pe_viton", tmp_path, shape_steps=2)
    assert {name.split(".")[0] for name in names} == {"control", "tokens", "pe_viton"}
    recipe = methods()["pe_viton"](Subject("<nobody>", "shirt"))
    with attach(base, (Adapter(recipe, "<nobody>"),)) as adapted:
        shape, texture = ({name for part in stage.train for name in part(adapted)} for stage in recipe.pretraining)
    assert all(name.startswith("control.") for name in shape)
    assert not shape & texture
    assert all(name.startswith(("tokens.", "pe_viton.decoder.")) for name in texture)


def test_the_first_stage_sees_no_texture(base: Any) -> None:
    from limner.core.streams import streams

    shape, texture = methods()["pe_viton"](Subject("<nobody>", "shirt"), batch=4).pretraining
    for stage, dropped in ((shape, True), (texture, False)):
        over = stage.loss[0].source.over
        assert over is not None
        batch = over(garments(4)).prepare(base)(0, streams(0, 0))
        assert batch.references is not None
        on = batch.references.on
        assert not on.any() if dropped else on.float().mean() > 0.5
        assert batch.conditions.keys() == {"source", "mask"}


def test_garments_of_the_corpus_are_the_same_on_other_people(base: Any) -> None:
    corpus: Any = garments_of(base)
    pictures, masks = corpus.drawn(range(4), 64)
    assert masks is not None
    shares = masks.float().mean((1, 2, 3)) / 255
    assert (shares > 0.03).all()
    assert len({corpus.looks(k) for k in range(4)}) == 1
    assert corpus.looks(0) != corpus.looks(4)
    faces = pictures.float()[:, :, 8:24, 24:40].flatten(1)
    assert all(not torch.equal(faces[0], faces[k]) for k in (1, 2, 3))
    from dataclasses import replace

    class Bare:
        name, capabilities = "bare", replace(base.capabilities, garments=None)

    bare: Any = Bare()
    with pytest.raises(InputError, match="none come with bare: name a corpus"):
        pairs_of_garments().prepare(bare)


# ------------------------------------------------------------------------------------------------------ limner try-on


@pytest.fixture
def photos_to_wear(base: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Photos of a person and of a garment with a mask."""
    begun_weights("pe_viton", base)
    image = person(count=1).pictures[0].image
    assert image is not None
    image.resize((200, 200)).save(tmp_path / "person.png")
    shirt = garment("blue", stripes="white").pictures[0]
    assert shirt.image is not None
    assert shirt.mask is not None
    shirt.image.save(tmp_path / "shirt.png")
    shirt.mask.save(tmp_path / "shirt.mask.png")
    return tmp_path / "person.png", tmp_path / "shirt.png"


def run(*words: Any) -> int:
    return main([str(word) for word in words])


def test_a_garment_is_put_on_a_person(
    photos_to_wear: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wearer, shirt = photos_to_wear
    where = Image.new("L", (200, 200))
    where.paste(255, (40, 120, 160, 190))
    where.save(tmp_path / "where.png")
    about = "--steps", 2, "--json", "--out", tmp_path / "out"
    assert run("try-on", wearer, shirt, "--where", tmp_path / "where.png", *about) == 0
    (path,) = json.loads(capsys.readouterr().out)["pictures"]
    found, given = (np.asarray(open_image(Path(p)).convert("RGB")).astype(int) for p in (path, wearer))
    may = np.asarray(where) > 0
    assert (found[~may] == given[~may]).all()
    assert np.abs(found[may] - given[may]).mean() > 2


def test_the_place_of_a_garment_is_below_the_face(base: Any) -> None:
    from limner.workflows.try_on_request import below_face

    image = person(count=1).pictures[0].image
    assert image is not None
    mask = np.asarray(below_face(base, image)) > 0
    face = base.capabilities.faces.find(image)[0]
    assert mask.any()
    assert not mask[: round(face.box[3])].any()
    blank = Image.new("RGB", (64, 64), "white")
    with pytest.raises(InputError, match="no face was found"):
        below_face(base, blank)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "dreambooth"), "is trained for every garment"),
        (("--method", "pe_vitn"), "did you mean 'pe_viton'"),
        (("--where", "SMALL"), "the mask is 30 x 20 pixels and the photo 200 x 200"),
    ],
)
def test_what_cannot_be_tried_on_is_said(
    words: tuple[str, ...],
    said: str,
    photos_to_wear: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (30, 20), 255).save(tmp_path / "small.png")
    filled = [str(tmp_path / "small.png") if word == "SMALL" else word for word in words]
    assert run("try-on", *photos_to_wear, *filled, "--steps", 2, "--out", tmp_path / "out") == 1
    assert said in capsys.readouterr().err
