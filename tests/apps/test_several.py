"""Several subjects on the command line: regions, merging, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import limner
from limner.apps.cli.main import main
from limner.apps.cli.merge import BY
from limner.apps.cli.paint import BACKGROUNDS, COMPOSE
from limner.engine import regions
from limner.parts.merging import MERGINGS
from limner.pocket.subjects import toy


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def files(base: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("concepts")
    quick: dict[str, Any] = {"steps": 1, "batch": 1}
    subjects = (toy("dog", 2_000_020, name="rex", count=1), toy("car", 2_000_021, name="bo", count=1))
    first, second = (limner.learn(base, subject, method="textual_inversion", **quick) for subject in subjects)
    return first.save(folder / "rex.safetensors"), second.save(folder / "bo.safetensors")


def test_flags_name_what_there_is() -> None:
    assert set(BY) == set(MERGINGS)
    assert (COMPOSE, BACKGROUNDS) == (regions.COMPOSE, regions.BACKGROUNDS)


def test_merge_then_paint_both(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = tmp_path / "both.safetensors"
    assert run("merge", *files, "-o", both, "--by", "weighted", "--weights", 1, 0.5, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"concept": str(both), "handles": ["<rex>", "<bo>"]}
    assert "write <rex>, <bo> in prompts" in captured.err
    assert run("merge", *files, "-o", both) == 1
    assert "exists already" in capsys.readouterr().err
    words = ["paint", "<rex> and <bo>", "--with", both, "--steps", 2, "--out", tmp_path]
    assert run(*words, "--region", "rex=left", "--region", "bo=0.5,0,1,1", "--compose", "attention") == 0
    with Image.open(tmp_path / "000.png") as image:
        story = json.loads(image.info["limner"])
    assert story["concepts"] == ["<rex>", "<bo>"]
    assert story["settings"]["regions"] == {"rex": [0.0, 0.0, 0.5, 1.0], "bo": [0.5, 0.0, 1.0, 1.0]}
    assert story["settings"]["compose"] == "attention"
    capsys.readouterr()
    assert run("paint", "a dog", "--with", both, "--steps", 2, "--out", tmp_path) == 1
    assert "does not name <rex>" in capsys.readouterr().err


def test_a_layout_file_and_settings_that_are_saved(files: tuple[Path, Path], tmp_path: Path) -> None:
    layout, saved = tmp_path / "layout.json", tmp_path / "run.toml"
    layout.write_text('{"rex": "left"}')
    words = ["paint", "<rex> and <bo>", "--with", *files, "--steps", 2, "--out", tmp_path, "--overwrite"]
    assert run(*words, "--regions", layout, "--region", "bo=right", "--save-config", saved) == 0
    first = (tmp_path / "000.png").read_bytes()
    assert 'region = ["bo=right"]' in saved.read_text()
    assert run("paint", "--config", saved, "--out", tmp_path, "--overwrite") == 0
    assert (tmp_path / "000.png").read_bytes() == first
    assert run(*words) == 0
    assert (tmp_path / "000.png").read_bytes() != first


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: pictures of a dog, and of a car."""
    folder = tmp_path_factory.mktemp("photos")
    for name, subject in (("rex", toy("dog", 2_000_020, count=1)), ("bo", toy("car", 2_000_021, count=1))):
        (folder / name).mkdir()
        for number, picture in enumerate(subject.pictures):
            assert picture.image is not None
            picture.image.save(folder / name / f"{number}.png")
    return folder


def test_a_subject_beside_another_is_learned_into_one_concept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "run.toml"
    quick = ["--no-score", "--no-check", "--preview", 0, "--steps", 1, "--out", tmp_path]
    words = ["learn", photos / "rex", "--class", "dog", "--name", "rex"]
    apart, shown = ["--beside", f"bo=car:{photos / 'bo'}"], ["--beside", "lid=hat"]
    tailor = ["--method", "magictailor", "--shared-steps", 1]
    assert run(*words, *apart, *tailor, *quick, "--save-config", saved) == 0
    concept = limner.Concept.load(tmp_path / "rex.safetensors")
    assert concept.handles == ("<rex>", "<bo>")
    assert [len(other["pictures"]) for other in concept.subject["beside"]] == [1]
    assert "bo=car:" in saved.read_text()
    for flags, message in (
        ([*apart, "--method", "textual_inversion"], "learns one subject at a time: it would leave out <bo>"),
        ([*apart, "--method", "em_style_concepts"], "<bo> has pictures of its own"),
        ([*shown, *tailor], "<lid> has no pictures of its own"),
        (["--beside", "rex=car", *tailor], "two subjects of one concept are called <rex>"),
    ):
        capsys.readouterr()
        assert run(*words, *flags, *quick, "--overwrite") == 1
        assert message in capsys.readouterr().err
    assert run(*words, "--beside", "bo", *quick) == 2
    assert "expected NAME=NOUN, or NAME=NOUN:FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--region", "rex"], "--region takes NAME=VALUE"),
        (["--region", "rex=left", "--region", "rex=right"], "--region is given 'rex' twice"),
        (["--region", "rex=lefft"], "did you mean 'left'"),
        (["--region", "kit=left"], "there is no concept to give a region to, named '<kit>'"),
        (["--region", "rex=left", "--region", "bo=0.2,0,1,1"], "overlap by 60% of the smaller"),
        (["--regions", "none.json"], "none.json cannot be read"),
        (["--region", "rex=none.png"], "the mask of rex cannot be read"),
    ],
)
def test_regions_that_cannot_be(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert run("paint", "<rex> and <bo>", "--with", *files, "--steps", 2, "--out", tmp_path, *flags) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_concepts_that_cannot_be_painted_together_are_named(
    base: Any, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two that need a reference stream each, and one of them beside a subject in a region."""
    styles = [
        limner.learn(base, toy("dog", 2_000_022 + k, name=name, count=1), method="stylealigned").save(
            tmp_path / f"{name}.safetensors"
        )
        for k, name in enumerate(("ink", "oil"))
    ]
    out = ["--steps", 2, "--out", tmp_path / "out"]
    assert run("paint", "<ink> and <oil>", "--with", *styles, *out) == 1
    assert "<ink> and <oil> each need a reference stream of their own; only one such" in capsys.readouterr().err
    assert run("paint", "<ink> and <rex>", "--with", styles[0], files[0], "--region", "rex=left", *out) == 1
    captured = capsys.readouterr().err
    assert "<ink> has a way of sampling of its own (reference_stream)" in captured
    assert "--compose attention" in captured
    assert run("paint", "<rex> and <kit>", "--with", *files, *out) == 1
    assert "does not name <bo>" in capsys.readouterr().err
    assert run("paint", "<rex>, <bo> and <kit>", "--with", *files, *out) == 1
    assert "nothing answers to <kit>" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.png"))
