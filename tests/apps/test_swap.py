"""`limner swap`: a photo and a concept in, the photo with the subject in it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limner
from limner.apps.cli.main import main
from limner.core.subject import Subject
from limner.errors import UnknownName
from limner.library.swapping import into_source, ways
from limner.pocket.subjects import toy
from tests.helpers import fast, open_image


def run(*words: Any) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def concepts(base: Any, rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Concepts by method."""
    folder, paths = tmp_path_factory.mktemp("concepts"), {}
    from limner.methods import methods

    for name in ("swapanything", "photoswap", "textual_inversion", "li_tuning_free", "stylealigned"):
        concept = limner.learn(base, rex, method=name, **fast(methods()[name]))
        paths[name] = concept.save(folder / f"{name}.safetensors")
    return paths


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A large photo that is not square, of another dog."""
    image = toy("dog", 2_000_099, count=1).pictures[0].image
    assert image is not None
    wide = Image.new("RGB", (300, 200), (90, 120, 160))
    wide.paste(image.resize((180, 180)), (60, 10))
    wide.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def mask(photo: Path) -> Path:
    where = Image.new("L", (300, 200))
    where.paste(255, (100, 60, 200, 160))
    where.save(photo.parent / "where.png")
    return photo.parent / "where.png"


def pixels(path: Path | str) -> Any:
    return np.asarray(open_image(Path(path)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "more",
    [
        ("swapanything",),
        pytest.param(("photoswap", "--set", "self_output=0.4"), marks=pytest.mark.sweep),
        ("li_tuning_free",),
        pytest.param(("photoswap", "--how", "swapanything", "--source-noun", "cat"), marks=pytest.mark.sweep),
        ("textual_inversion", "--source-prompt", "a dog on the beach"),
    ],
    ids=["swapanything", "photoswap", "tigic", "another method's way", "a concept without one"],
)
def test_a_part_of_a_photo_is_swapped_and_the_rest_stays(
    more: tuple[str, ...],
    concepts: dict[str, Path],
    photo: Path,
    mask: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *flags = more
    about = "--with", concepts[name], "--where", mask, "--steps", 3, "--out", tmp_path / "out", "--json"
    assert run("swap", photo, *about, *flags) == 0
    (path,) = json.loads(capsys.readouterr().out)["pictures"]
    found, given, may = pixels(path), pixels(photo), pixels(mask)[..., 0] > 0
    assert found.shape == given.shape
    assert (found[~may] == given[~may]).all()
    assert np.abs(found[may] - given[may]).mean() > 2
    story = json.loads(open_image(Path(path)).info["limner"])
    assert story["settings"]["conditions"] == ["mask", "source"]
    if "--source-prompt" in flags:
        assert story["prompt"] == "a <rex> on the beach"


def test_a_square_photo_needs_no_mask(
    concepts: dict[str, Path], photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_image(photo).crop((60, 10, 240, 190)).save(tmp_path / "square.png")
    about = "--with", concepts["photoswap"], "--steps", 3, "--out", tmp_path / "out", "--json", "-n", 2
    assert run("swap", tmp_path / "square.png", *about) == 0
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "swapanything"), "name the part that may change (--where MASK)"),
        (("--with", "swapanything", "--where", "SMALL"), "the mask is 30 x 20 pixels and the photo 300 x 200"),
        (("--with", "swapanything", "--where", "BLACK"), "black everywhere: expected white where it may change"),
        (("--with", "swapanything", "--where", "WHITE"), "white everywhere: expected black where it must stay"),
        (("--with", "swapanything", "--where", "MASK", "--prompt", "a dog"), "does not name <rex>"),
        (
            ("--with", "swapanything", "--where", "MASK", "--source-noun", "cat", "--source-prompt", "a tree"),
            "does not name the cat that is to be replaced",
        ),
        (("--with", "swapanything", "--where", "MASK", "--set", "selfoutput=1"), "did you mean 'self_output'"),
        (("--with", "swapanything", "--where", "MASK", "--set", "cross"), "--set takes NAME=VALUE"),
        (("--with", "swapanything", "--where", "MASK", "--how", "photoswp"), "did you mean 'photoswap'"),
        (("--with", "stylealigned", "--where", "MASK"), "has a way of sampling of its own"),
        (("--with", "nowhere"), "there is no concept file"),
    ],
)
def test_what_cannot_be_swapped_is_said(
    words: tuple[str, ...],
    said: str,
    concepts: dict[str, Path],
    photo: Path,
    mask: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (30, 20), 255).save(tmp_path / "small.png")
    for name, value in (("black", 0), ("white", 255)):
        Image.new("L", (300, 200), value).save(tmp_path / f"{name}.png")
    places = {**concepts, "MASK": mask, **{n.upper(): tmp_path / f"{n}.png" for n in ("small", "black", "white")}}
    filled = [places.get(word, word) if k else word for k, word in enumerate(words)]
    # names of methods stand for concepts behind --with alone
    filled = [word if filled[k - 1] != "--how" else words[k] for k, word in enumerate(filled)]
    assert run("swap", photo, *filled, "--steps", 2, "--out", tmp_path / "out") == 1
    assert said in capsys.readouterr().err


def test_ways_are_methods_that_learn_nothing_for_them(base: Any, concepts: dict[str, Path]) -> None:
    assert {"photoswap", "swapanything"} <= set(ways())
    assert "li_tuning_free" not in ways()
    concept = limner.Concept.load(concepts["textual_inversion"])
    changed, sampled_as = into_source(concept, base)
    assert changed == concept
    assert sampled_as is not None
    own, nothing = into_source(limner.Concept.load(concepts["photoswap"]), base, settings={"cross": 0.9})
    assert own.settings["cross"] == 0.9
    assert nothing is None
    with pytest.raises(UnknownName, match="setting"):
        into_source(concept, base, settings={"crss": 1.0})
