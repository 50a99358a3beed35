"""`limner paint` with conditions, control branches and clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import limner
from limner.core.subject import Subject
from tests.helpers import begun_weights, open_image

from .test_cli import run

TWO = ("--steps", 2, "--json")


def test_edges_of_a_picture_are_computed_and_obeyed(
    control: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    like = min(photos.iterdir())
    about = ("paint", "a dog", *TWO)
    named = ("--like", like, "--condition", "edges", "--control", f"edges={control}")
    assert run(*about, "--out", tmp_path / "a", *named) == 0
    (path,) = json.loads(capsys.readouterr().out)["pictures"]
    assert json.loads(open_image(path).info["limner"])["settings"]["conditions"] == ["edges"]
    blank = tmp_path / "blank.png"
    Image.new("L", (128, 128)).save(blank)
    assert run(*about, "--out", tmp_path / "b", "--condition", f"edges={blank}", "--control", f"edges={control}") == 0
    (other,) = json.loads(capsys.readouterr().out)["pictures"]
    assert Path(path).read_bytes() != Path(other).read_bytes()


def test_a_map_of_a_picture_is_computed_by_the_base_s_own_network(
    base: Any, rex: Subject, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is read by a concept, alone and beside another map."""
    begun_weights("uni_controlnet", base)
    concept = limner.learn(base, rex, method="uni_controlnet").save(tmp_path / "rex.safetensors")
    like, shown = min(photos.iterdir()), []
    for names in (("edges",), ("segmentation",), ("edges", "segmentation")):
        about = ("--with", concept, "--like", like, "--condition", *names, "--out", tmp_path / "-".join(names))
        assert run("paint", "<rex> on the beach", *TWO, *about) == 0
        (path,) = json.loads(capsys.readouterr().out)["pictures"]
        assert json.loads(open_image(path).info["limner"])["settings"]["conditions"] == sorted(names)
        shown.append(Path(path).read_bytes())
    assert len(set(shown)) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--condition", "edges"), "edges=FILE, or --like FILE to compute it from"),
        (("--like", "PHOTO"), "name some, such as --condition edges"),
        (("--like", "PHOTO", "--condition", "segmentation"), "nothing reads the condition 'segmentation' on pocket"),
        (("--like", "PHOTO", "--condition", "pose"), "give a picture of it with --condition pose=FILE"),
        (("--like", "PHOTO", "--condition", "edges"), "nothing reads the condition 'edges' on pocket"),
        (("--control", "edges=CONTROL"), "'edges' is read with every prompt and was not given"),
        (("--control", "edges"), "takes NAME=VALUE, such as depth=FOLDER"),
        (("--control", "edges=a", "edges=b"), "'edges' twice"),
        (("--frames", 4), "not clips of 4 frames"),
    ],
)
def test_words_that_do_not_fit_together(
    words: tuple[Any, ...], said: str, control: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"PHOTO": str(min(photos.iterdir())), "CONTROL": str(control)}
    filled = [str(word).replace("CONTROL", places["CONTROL"]).replace("PHOTO", places["PHOTO"]) for word in words]
    assert run("paint", "a dog", "--steps", 2, "--out", tmp_path / "out", *filled) == 1
    assert said in capsys.readouterr().err
