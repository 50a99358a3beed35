"""`limner paint` with conditions, control branches and clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.helpers import open_image

from .test_cli import run

TWO = ("--steps", 2, "--json")


@pytest.fixture(scope="module")
def control(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for the pocket base, with zero convolutions that are not zero."""
    from diffusers import ControlNetModel

    folder = tmp_path_factory.mktemp("control")
    torch.manual_seed(0)
    network = ControlNetModel.from_unet(base.denoiser, conditioning_embedding_out_channels=(8, 8, 8, 8))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "controlnet" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return folder


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--condition", "edges"), "edges=FILE, or --like FILE to compute it from"),
        (("--like", "PHOTO"), "name some, such as --condition edges"),
        (("--like", "PHOTO", "--condition", "depth"), "--estimator depth=FOLDER"),
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
