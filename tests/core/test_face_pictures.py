"""Faces found, chosen, turned and cut; and the word for each picture that has none to learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from limner.core.consent import Consent
from limner.core.subject import Subject
from limner.errors import InputError, PictureError
from tests.painted_faces import PaintedFaces, photograph


def ann(images: Sequence[Image.Image], which: int | None = None) -> Subject:
    return Subject.of(images, noun="person", handle="ann", kind="face", faces=PaintedFaces(), which=which)


def colours(subject: Subject) -> list[int]:
    """Which person is in the middle of each picture."""
    found = []
    for picture in subject.pictures:
        assert picture.image is not None
        faces = PaintedFaces().find(picture.image)
        middle = picture.image.width / 2
        face = min(faces, key=lambda f: abs(f.middle[0] - middle))
        found.append(int(PaintedFaces().embed(_pixels(picture.image.crop(_whole(face.box))))[0].argmax()))
    return found


def _whole(box: tuple[float, ...]) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(x) for x in box)
    return left, top, right, bottom


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def test_a_face_is_cut_to_head_and_shoulders() -> None:
    (picture,) = ann([photograph((0, 300, 60))]).pictures
    assert picture.image is not None
    assert picture.image.size == (132, 132)  # 2.2 heights of 60 pixels
    (face,) = PaintedFaces().find(picture.image)
    assert face.middle == pytest.approx((66, 66), abs=1)


def test_a_square_stays_inside_the_picture() -> None:
    (picture,) = ann([photograph((0, 4, 100))]).pictures
    assert picture.image is not None
    assert picture.image.size == (220, 220)
    assert PaintedFaces().find(picture.image)[0].box[0] == pytest.approx(4, abs=1)


def test_a_portrait_is_taken_whole() -> None:
    (picture,) = ann([photograph((0, 100, 120), size=(300, 300))]).pictures
    assert picture.image is not None
    assert picture.image.size == (300, 300)


def test_eyes_are_made_level() -> None:
    (picture,) = ann([photograph((0, 150, 100), roll=20)]).pictures
    assert picture.image is not None
    (_, y0), (_, y1) = PaintedFaces().find(picture.image)[0].points[:2]
    assert abs(y1 - y0) < 4
    (_, y0), (_, y1) = PaintedFaces().find(photograph((0, 150, 100), roll=20))[0].points[:2]
    assert abs(y1 - y0) > 10


def test_a_mask_is_cut_with_its_picture() -> None:
    image, mask = photograph((0, 300, 60)), Image.new("L", (400, 300), 0)
    mask.paste(255, (300, 100, 360, 160))
    subject = Subject.of(image, noun="person", handle="ann", kind="face", masks=[mask], faces=PaintedFaces())
    cut = subject.pictures[0].mask
    assert cut is not None
    assert np.asarray(cut).mean() == pytest.approx(255 * 60**2 / 132**2, rel=0.01)


def test_the_person_that_recurs_is_taken() -> None:
    friends = [photograph((0, 40, 70), (1, 250, 70)), photograph((2, 40, 70), (1, 250, 70)), photograph((1, 40, 70))]
    assert colours(ann(friends)) == [1, 1, 1]


@pytest.mark.parametrize("images", [1, 2])
def test_two_people_throughout_are_asked_about(images: int) -> None:
    both = [photograph((0, 40 + 9 * k, 70), (1, 250, 70)) for k in range(images)]
    with pytest.raises(
        InputError, match=r"picture 1 shows 2 people.*1 at 75, 135; 2 at 285, 135.*which=1 \(--which 1\)"
    ):
        ann(both)
    assert colours(ann(both, which=2)) == [1] * images
    with pytest.raises(InputError, match="there is no person 3 in picture 1"):
        ann(both, which=3)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (photograph(), "shows no face"),
        (photograph((0, 40, 12)), "shows a face of 12 x 12 pixels, too small to learn from"),
        (photograph((0, 40, 90), profile=True), "shows a head that is turned away"),
    ],
)
def test_pictures_without_a_face_to_learn_from_are_named(image: Image.Image, word: str) -> None:
    with pytest.raises(PictureError, match=f"there is no face to learn from: picture 1 {word}"):
        ann([image])
    subject = ann([photograph((0, 100, 90)), image])
    assert len(subject.pictures) == 1
    assert any(note.startswith(f"picture 2 is left out: it {word}") for note in subject.notes)


def test_a_consent_is_on_the_card_and_comes_back() -> None:
    subject = Subject.of(
        photograph((0, 100, 90)), noun="girl", handle="ann", kind="face", consent=Consent("Ann", "her mother")
    )
    again = Subject.from_card(subject.card())
    assert again.consent == Consent("Ann", guardian="her mother")
    assert "consent" not in Subject.of(photograph(), noun="dog", handle="rex").card()


@pytest.mark.parametrize("given", [{"consent": "Ann"}, {"which": 1}, {"faces": PaintedFaces()}])
def test_what_is_about_faces_is_no_good_for_other_kinds(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match="about faces: give kind='face'"):
        Subject.of(photograph(), noun="dog", handle="rex", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", " ", "a\nb", "x" * 300])
def test_a_consent_says_who_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="consent must"):
        Consent(text)
