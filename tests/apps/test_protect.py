"""`limner protect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limner.apps.cli.main import _parser, main
from limner.apps.cli.protect import request_of
from limner.core.subject import Subject
from limner.workflows.requests import ProtectRequest
from tests.helpers import save_pictures


def test_flags_make_a_request() -> None:
    words = ["protect", "photos", "--method", "mist", "--mode", "semantic", "--epsilon", "12", "--class", "cat"]
    request = request_of(_parser(words).parse_args(words))
    assert request == ProtectRequest(
        pictures=(Path("photos"),), noun="cat", method="mist", settings={"mode": "semantic", "epsilon": 12.0}
    )


def test_it_prints_the_copies_and_says_that_they_are_no_guarantee(
    rex: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = save_pictures(rex, tmp_path / "photos")
    words = ["protect", photos, "--class", "dog", "--method", "photoguard", "--steps", 2, "--out", tmp_path / "copies"]
    assert main([*map(str, words), "--json"]) == 0
    printed = capsys.readouterr()
    assert "protection is no guarantee" in printed.err
    result = json.loads(printed.out)
    assert [Path(path).name for path in result["files"]] == ["0.png", "1.png", "2.png"]
    assert all(Path(path).is_file() for path in result["files"])
    assert main([str(word) for word in words]) != 0
    assert "exists already" in capsys.readouterr().err
