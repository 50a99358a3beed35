"""A face from photographs: found, cut out, asked about, taught and painted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import limner
from limner.apps.cli.main import main
from limner.core.concept import Concept
from limner.core.consent import Consent
from limner.core.subject import Subject
from limner.errors import InputError
from limner.workflows.faces import face_alone
from limner.workflows.learn import prepared_run
from tests.bases.families import save_tiny
from tests.painted_faces import PaintedFaces, photograph

SEAM = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"
FAST = ("--method", "lora_dreambooth", "--steps", "2", "--num-class-pictures", "2", "--batch", "1", "--rank", "2")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sdxl", tmp_path_factory.mktemp("base") / "sdxl")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Photographs of one person, one of them with a friend, and one of nobody."""
    folder = tmp_path / "people"
    folder.mkdir()
    photograph((0, 150, 90)).save(folder / "alone.png")
    photograph((0, 40, 90), (1, 250, 90)).save(folder / "friends.png")
    photograph().save(folder / "wall.png")
    return folder


def learn(people: Path, out: Path, *more: object) -> int:
    words = ["learn", people, "--kind", "face", "--class", "person", "--name", "ann", "--out", out, "--preview", 0]
    return main([str(word) for word in (*words, "--no-check", "--no-score", *FAST, *more)])


def test_a_face_from_photographs_end_to_end(
    sdxl: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    opened = ("--base", sdxl, "--faces", SEAM)
    assert learn(people, out, *opened, "--person", "Ann Lee", "--yes-i-may") == 0
    said = capsys.readouterr().err
    assert "wall.png is left out: it shows no face" in said
    concept = Concept.load(out / "ann.safetensors")
    assert concept.subject["consent"] == {"person": "Ann Lee", "guardian": ""}
    assert [picture["name"] for picture in concept.subject["pictures"]] == ["alone.png", "friends.png"]
    (painted,) = limner.paint(
        limner.load(sdxl), "<ann> on the beach", concepts=[concept], settings=limner.PaintSettings(steps=2)
    )
    assert painted.image.size == (limner.load(sdxl).picture_size,) * 2


def test_without_consent_nothing_is_taught(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert learn(people, out) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].endswith("in scripts, say --person NAME --yes-i-may")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_questions_are_answered_at_a_terminal(
    sdxl: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph((0, 150, 50)).save(people / "alone.png")  # small faces are children's, to the networks of this test
    (people / "friends.png").unlink()
    answers = iter(["Tim\n", "yes\n", "his mother\n", "Tim\n", "no\n"])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: next(answers)))
    assert learn(people, tmp_path / "out", "--base", sdxl, "--faces", SEAM) == 0
    concept = Concept.load(tmp_path / "out" / "ann.safetensors")
    assert concept.subject["consent"] == {"person": "Tim", "guardian": "his mother"}
    assert learn(people, tmp_path / "no", "--base", sdxl, "--faces", SEAM) == 1
    assert not (tmp_path / "no" / "ann.safetensors").exists()


def test_flags_of_faces_are_for_faces(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["learn", people, "--class", "dog", "--out", tmp_path, "--which", 1]
    assert main([str(word) for word in words]) == 1
    assert "--which is for faces alone" in capsys.readouterr().err


@pytest.fixture
def equipped(base: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pocket base with the networks of this test."""
    from limner.bases.common.faces import with_faces

    monkeypatch.setattr(base, "capabilities", with_faces(base.capabilities, PaintedFaces()))
    return base


def test_a_face_is_cut_once_and_only_a_face(equipped: Any) -> None:
    subject = Subject.of(photograph((0, 150, 60)), noun="person", handle="ann", kind="face", consent="Ann")
    cut = face_alone(equipped, subject)
    assert cut.pictures[0].image is not None
    assert cut.pictures[0].image.size == (132, 132)
    assert face_alone(equipped, cut) is cut
    dog = Subject.of(photograph((0, 150, 60)), noun="dog", handle="rex")
    assert face_alone(equipped, dog) is dog


def test_a_base_without_networks_of_faces_says_that_pictures_are_whole(sdxl: Path) -> None:
    subject = Subject.of(photograph((0, 150, 60)), noun="person", handle="ann", kind="face", consent="Ann")
    assert any("--faces FOLDER" in note for note in face_alone(limner.load(sdxl), subject).notes)


@pytest.mark.parametrize(
    ("side", "consent", "word"),
    [
        (90, None, "there is no consent"),
        (50, Consent("Tim"), "looks like a child .picture 1., so a parent or guardian must agree too"),
        (50, Consent("Tim", guardian="his mother"), ""),
        (90, Consent("Ann"), ""),
    ],
)
def test_consent_is_asked_before_a_recipe_is_made(equipped: Any, side: int, consent: Consent | None, word: str) -> None:
    subject = Subject.of(photograph((0, 150, side)), noun="person", handle="ann", kind="face", consent=consent)
    if word:
        with pytest.raises(InputError, match=word):
            prepared_run(equipped, subject, "lora_dreambooth", {}, 0)
    else:
        assert prepared_run(equipped, subject, "lora_dreambooth", {}, 0).subject.faces_alone
