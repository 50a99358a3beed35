"""The report on photos is shown at each photo: its crop, mask, caption, faces, and the photo that it nearly repeats."""

from __future__ import annotations

from limner.apps.jobs.tables import Reference, Subject
from limner.apps.studio.reports import matched, report_view

MASK = "ab" * 32


def read(number: str, **more: object) -> dict[str, object]:
    about = {"id": number, "name": f"{number}.png", "width": 40, "height": 30, "crop": [5, 0, 35, 30]}
    return {**about, "mask": MASK, "mask_source": "segmenter", "caption": f"a photo of {number}", **more}


def subject(*pictures: dict[str, object], **more: object) -> Subject:
    photos = [
        Reference(id=name, filename=f"{name}.heic", caption="", mask="", in_training=True, position=k)
        for k, name in enumerate("ab")
    ]
    return Subject(name="ada", noun="woman", kind="face", pictures=photos, report={"pictures": list(pictures), **more})


def test_crop_mask_and_caption_stand_at_their_photo() -> None:
    first, second = report_view(subject(read("a", orientation=6)))["photos"]
    assert first["boxes"] == [{"x": 5.0, "y": 0.0, "width": 30.0, "height": 30.0, "kind": "crop"}]
    assert (first["mask"], first["view"], first["caption"]) == (MASK, "0 0 40 30", "a photo of a")
    assert [tag["text"] for tag in first["tags"]] == ["subject found", "turned upright"]
    assert (second["mask"], second["boxes"], second["tags"]) == ("", [], [])


def test_a_users_own_mask_and_caption_come_first() -> None:
    given = subject(read("a"))
    given.pictures[0].mask, given.pictures[0].caption = "cd" * 32, "my words"
    shown = report_view(given)["photos"][0]
    assert (shown["mask"], shown["caption"]) == ("cd" * 32, "my words")
    assert [found.get("id") for _, found in matched(given)] == ["a", None]


def test_faces_ask_which_one_is_learned() -> None:
    faces = [
        {"box": [1, 2, 3, 4], "chosen": False, "fault": ""},
        {"box": [10, 2, 20, 14], "chosen": True, "fault": "is blurred"},
    ]
    view = report_view(subject(read("a", faces=faces), which=2))
    assert (view["most_faces"], view["which"]) == (2, 2)
    assert [box["kind"] for box in view["photos"][0]["boxes"]] == ["crop", "face", "chosen"]
    assert {"text": "is blurred", "bad": True} in view["photos"][0]["tags"]


def test_near_duplicates_and_unread_files_are_named_as_the_user_knows_them() -> None:
    view = report_view(
        subject(read("a"), read("b"), duplicates=[["a.png", "b.png"]], unread=[["b.png", "it is empty"]])
    )
    assert {"text": "like a.heic", "bad": True} in view["photos"][1]["tags"]
    assert view["notes"] == ["b.heic was not read: it is empty"]
