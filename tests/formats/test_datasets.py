"""Folders in the layouts people have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from limner.cli import main
from limner.errors import FileError, InputError, LimnerError, PictureError
from limner.formats.datasets import recognised


def picture(path: Path, seed: int, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (side, side), (seed * 37 % 255, 90, 200))
    drawn = ImageDraw.Draw(image)
    for k in range(6):
        x, y = (seed * 13 + k * 29) % side, (seed * 7 + k * 17) % side
        drawn.rectangle((x, y, x + 9, y + 6), fill=((k * 70 + seed) % 255, seed * 91 % 255, k * 40))
    image.save(path)
    return path


def test_a_flat_folder(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / f"{k}.png", k)
    (tmp_path / "notes.md").write_text("my dog")
    found = recognised(tmp_path)
    assert (found.layout, len(found.items), found.stray) == ("a folder of pictures", 3, ["notes.md"])
    with pytest.raises(InputError, match="--class"):
        found.subject()
    assert found.subject(noun="dog", name="rex").handle == "<rex>"


def test_captions_beside_pictures(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / f"{k}.png", k)
        (tmp_path / f"{k}.txt").write_text(f"ohwx dog, sitting\nin place {k}")
    found = recognised(tmp_path)
    assert (found.layout, found.token) == ("a folder with captions", "ohwx")
    subject = found.subject(noun="dog")
    assert [p.caption for p in subject.pictures] == [f"<ohwx>, sitting in place {k}" for k in range(2)]


def test_an_empty_caption_is_an_error(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 0)
    (tmp_path / "0.txt").write_text("  \n")
    with pytest.raises(PictureError, match=r"0\.txt is empty"):
        recognised(tmp_path)


def test_kohyas_folders(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / "img" / "10_sks dog" / f"{k}.png", k)
        picture(tmp_path / "reg" / "1_dog" / f"{k}.png", k + 5)
    found = recognised(tmp_path)
    assert found.layout.startswith("kohya")
    assert (found.token, found.noun, found.record["repeats"], len(found.regular)) == ("sks", "dog", [10], 2)
    assert recognised(tmp_path / "img" / "10_sks dog").token == "sks"
    subject = found.subject()
    assert (subject.handle, subject.noun) == ("<sks>", "dog")
    assert {p.caption for p in subject.pictures} == {"<sks>"}


def test_kohyas_toml(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / "train" / f"{k}.png", k)
    (tmp_path / "train" / "0.cap").write_text("rexy dog on grass")
    (tmp_path / "data.toml").write_text(
        '[general]\ncaption_extension = ".cap"\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "train"\n'
        'class_tokens = "rexy dog"\nnum_repeats = 4\n'
    )
    for place in (tmp_path, tmp_path / "data.toml"):
        found = recognised(place)
        assert found.layout == "kohya's data.toml"
        assert (found.token, found.noun) == ("rexy", "dog")
        assert sorted(i.caption for i in found.items) == ["rexy dog", "rexy dog on grass"]
        assert found.record["repeats"] == [4]
    (tmp_path / "data.toml").write_text("[[[")
    with pytest.raises(FileError, match="not TOML"):
        recognised(tmp_path)


@pytest.mark.parametrize("layout", ["jsonl", "csv", "diffsynth"])
def test_lists_of_pictures_and_texts(tmp_path: Path, layout: str) -> None:
    for k in range(2):
        picture(tmp_path / "images" / f"{k}.png", k)
    picture(tmp_path / "unlisted.png", 9)
    rows = [(f"images/{k}.png", f"a sks dog, {k}") for k in range(2)]
    if layout == "jsonl":
        text = "\n".join(json.dumps({"file_name": f, "text": t}) for f, t in rows)
        (tmp_path / "metadata.jsonl").write_text(text)
    else:
        head = "file_name,text" if layout == "csv" else "image,prompt"
        (tmp_path / "metadata.csv").write_text("\n".join([head, *(f'{f},"{t}"' for f, t in rows)]))
    found = recognised(tmp_path)
    assert found.layout.startswith("DiffSynth" if layout == "diffsynth" else "Hugging Face")
    assert found.stray == ["unlisted.png (not listed)"]
    assert [p.caption for p in found.subject(noun="dog", name="rex").pictures] == ["a <rex>, 0", "a <rex>, 1"]


def test_lists_that_are_wrong(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 0)
    listed = tmp_path / "metadata.jsonl"
    for text, said in (
        ('{"file_name": "1.png", "text": "a"}', "no such file"),
        ('{"file_name": "0.png", "text": ""}', "empty caption"),
        ('{"where": "0.png"}', "file_name"),
        ("{", "not JSON"),
        ("", "no rows"),
    ):
        listed.write_text(text)
        with pytest.raises(LimnerError, match=said):
            recognised(tmp_path)


def test_custom_diffusions_list(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / "mine" / f"{k}.png", k)
        picture(tmp_path / "class" / f"{k}.png", k + 4)
    concept = {
        "instance_prompt": "photo of a <new1> dog", "class_prompt": "photo of a dog", "instance_data_dir": "mine",
        "class_data_dir": "class",
    }  # fmt: skip
    (tmp_path / "concepts_list.json").write_text(json.dumps([concept]))
    found = recognised(tmp_path)
    assert (found.noun, found.token, len(found.items), len(found.regular)) == ("dog", "<new1>", 2, 2)
    subject = found.subject()
    assert subject.handle == "<new1>"
    assert subject.pictures[0].caption == "photo of a <new1>"
    (tmp_path / "concepts_list.json").write_text(json.dumps([concept, concept]))
    with pytest.raises(InputError, match="one by one"):
        recognised(tmp_path)


def test_masks_of_every_layout(tmp_path: Path) -> None:
    white = Image.new("L", (40, 40), 255)
    for k, place in enumerate(("-masklabel.png", ".mask.png")):
        picture(tmp_path / "a" / f"{k}.png", k)
        white.save(tmp_path / "a" / f"{k}{place}")
    picture(tmp_path / "a" / "2.png", 2)
    (tmp_path / "a" / "masks").mkdir()
    white.save(tmp_path / "a" / "masks" / "2.png")
    see_through = Image.open(picture(tmp_path / "a" / "3.png", 3)).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((40, 40)))
    see_through.save(tmp_path / "a" / "3.png")
    found = recognised(tmp_path / "a")
    assert (found.record["masks"], found.stray) == (4, [])
    assert all(p.mask is not None for p in found.subject(noun="dog", name="rex").pictures)


def test_near_duplicates_and_the_page(tmp_path: Path) -> None:
    first = picture(tmp_path / "0.png", 3)
    Image.open(first).resize((80, 80)).save(tmp_path / "1.jpg", quality=90)
    picture(tmp_path / "2.png", 8)
    found = recognised(tmp_path)
    assert found.doubles == [("0.png", "1.jpg")]
    assert main(["data", str(tmp_path), "--page", str(tmp_path / "out" / "page.html")]) == 0
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<img") == 3
    assert "near-duplicates" in page


def test_a_picture_that_cannot_be_read_fails_loudly(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 0)
    (tmp_path / "1.png").write_bytes(b"\x89PNG nonsense")
    with pytest.raises(PictureError, match=r"1\.png"):
        recognised(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(PictureError, match="no pictures"):
        recognised(tmp_path / "none")
