"""Folders in the layouts people have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import limner
from limner.apps.cli.main import main
from limner.data.corpora import corpus
from limner.data.layouts import recognised
from limner.data.listed import Listed
from limner.errors import FileError, InputError, LimnerError, PictureError
from tests.helpers import open_image


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


def test_captions_of_a_style_name_the_content_first(tmp_path: Path) -> None:
    texts = ("a boat on a lake", "a cat in watercolour style", "a dog in <sty>")
    for k, text in enumerate(texts):
        picture(tmp_path / f"{k}.png", k)
        (tmp_path / f"{k}.txt").write_text(text)
    style = recognised(tmp_path).subject(noun="watercolour style", name="sty", kind="style")
    assert [p.caption for p in style.pictures] == ["a boat on a lake in <sty>", "a cat in <sty>", "a dog in <sty>"]


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
    see_through = open_image(picture(tmp_path / "a" / "3.png", 3)).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((40, 40)))
    see_through.save(tmp_path / "a" / "3.png")
    found = recognised(tmp_path / "a")
    assert (found.record["masks"], found.stray) == (4, [])
    assert all(p.mask is not None for p in found.subject(noun="dog", name="rex").pictures)


def test_near_duplicates_and_the_page(tmp_path: Path) -> None:
    first = picture(tmp_path / "0.png", 3)
    open_image(first).resize((80, 80)).save(tmp_path / "1.jpg", quality=90)
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


# ----------------------------------------------------------------------------------------------- files beside a picture


def rex(place: Path) -> limner.Subject:
    return recognised(place).subject(noun="dog", name="rex")


def captions(place: Path) -> list[str]:
    return [p.caption for p in rex(place).pictures]


def test_pictures_of_one_file_name_keep_their_own_captions(tmp_path: Path) -> None:
    texts = {"5_sks dog": "sks dog sitting", "20_sks dog": "sks dog, close-up"}
    for k, (folder, text) in enumerate(texts.items()):
        picture(tmp_path / "kohya" / folder / "0.png", k)
        (tmp_path / "kohya" / folder / "0.txt").write_text(text)
        picture(tmp_path / "list" / str(k) / "0.png", k)
    rows = [json.dumps({"file_name": f"{k}/0.png", "text": text}) for k, text in enumerate(texts.values())]
    (tmp_path / "list" / "metadata.jsonl").write_text("\n".join(rows))
    assert sorted(captions(tmp_path / "kohya")) == ["<rex> sitting", "<rex>, close-up"]
    assert captions(tmp_path / "list") == ["<rex> sitting", "<rex>, close-up"]
    files = [tmp_path / "list" / str(k) / "0.png" for k in range(2)]
    with pytest.raises(InputError, match="two pictures are called 0.png"):
        limner.Subject.of(files, noun="dog", handle="rex", captions={"0.png": "<rex>"})


def test_several_subjects_are_not_taught_as_one(tmp_path: Path) -> None:
    picture(tmp_path / "img" / "10_ohwx man" / "0.png", 1)
    picture(tmp_path / "img" / "10_zwx woman" / "1.png", 2)
    found = recognised(tmp_path)
    assert found.concepts == ["ohwx man", "zwx woman"]
    with pytest.raises(InputError, match="ohwx man, zwx woman.*--together"):
        found.subject()
    assert recognised(tmp_path / "img" / "10_zwx woman").subject().handle == "<zwx>"
    subset = '[[datasets.subsets]]\nimage_dir = "img/{0}"\nclass_tokens = "{1}"\n'
    parts = [subset.format(f"10_{words}", words) for words in found.concepts]
    (tmp_path / "data.toml").write_text("[[datasets]]\n" + "".join(parts))
    with pytest.raises(InputError, match="several subjects"):
        recognised(tmp_path / "data.toml").subject()
    found_in_corpus = corpus(str(tmp_path))  # which keeps them apart
    assert isinstance(found_in_corpus, Listed)
    entries = found_in_corpus.entries
    assert {(e.noun, e.caption) for e in entries} == {("man", "a man"), ("woman", "a woman")}
    assert len({e.identity for e in entries}) == 2


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("rex", "sks, dog, sitting, grass", "<rex>, sitting, grass"),
        ("rex", "Sks dog sitting", "<rex> sitting"),
        ("rex", "a photo of SKS, asleep", "a photo of <rex>, asleep"),
        ("zwx", "zwx dog, running", "<zwx>, running"),
        ("zwx", "zwx, running", "<zwx>, running"),
        ("rex", "masks on a dog", "masks on a <rex>"),
        ("rex", "on grass", "<rex>, on grass"),
    ],
)
def test_the_word_of_captions_becomes_the_handle(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    picture(tmp_path / "0.png", 0)
    (tmp_path / "0.txt").write_text(text)
    assert recognised(tmp_path).subject(noun="dog", name=name).pictures[0].caption == wanted


def test_encodings(tmp_path: Path) -> None:
    for name in ("mark", "empty", "rows", "toml", "other"):
        picture(tmp_path / name / "0.png", 1)
    (tmp_path / "mark" / "0.txt").write_text("sks dog on grass", encoding="utf-8-sig")
    (tmp_path / "empty" / "0.txt").write_text("", encoding="utf-8-sig")
    row = json.dumps({"file_name": "0.png", "text": "sks dog, caf\u00e9"}, ensure_ascii=False)
    (tmp_path / "rows" / "metadata.jsonl").write_text(row, encoding="utf-8-sig")
    subset = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\nclass_tokens = "sks dog"\n'
    (tmp_path / "toml" / "d.toml").write_text(subset, encoding="utf-8-sig")
    assert captions(tmp_path / "mark") == ["<rex> on grass"]
    assert captions(tmp_path / "rows") == ["<rex>, caf\u00e9"]
    assert captions(tmp_path / "toml") == ["<rex>"]
    with pytest.raises(PictureError, match="is empty"):
        recognised(tmp_path / "empty")
    (tmp_path / "other" / "metadata.jsonl").write_text(row, encoding="cp1252")
    with pytest.raises(FileError, match="not UTF-8 text .byte 45 is 0xe9"):
        recognised(tmp_path / "other")


def listed(folder: Path, name: str, text: str) -> Path:
    for k in range(2):
        picture(folder / f"{k}.png", k)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_rows_of_lists(tmp_path: Path) -> None:
    rows = [{"file_name": "0.png", "text": ["sks dog", "sks dog on grass"]}, {"file_name": "1.png", "text": "sks dog"}]
    several = listed(tmp_path / "several", "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    assert captions(several) == ["<rex>", "<rex>"]
    assert "1 more captions" in str(recognised(several))
    rows = [{"file_name": "0.png", "text": text, "author": "me"} for text in ("sks dog sitting", "sks dog lying")]
    twice = listed(tmp_path / "twice", "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    assert captions(twice) == ["<rex> sitting"]
    assert "1 more captions" in str(recognised(twice))
    assert "not used: author of metadata.jsonl" in str(recognised(twice))
    commas = listed(tmp_path / "commas", "metadata.csv", "file_name,text\n0.png,sks dog, sitting, on grass\n")
    with pytest.raises(FileError, match="line 2 of .* has 4 fields and its head has 2"):
        recognised(commas)
    row = json.dumps({"file_name": "0.png", "text": "sks dog\u2028on grass"}, ensure_ascii=False)
    assert captions(listed(tmp_path / "line", "metadata.jsonl", row)) == ["<rex> on grass"]
    rows = [{"file_name": "0.png"}, {"file_name": "1.png", "text": "sks dog asleep"}]
    second = listed(tmp_path / "second", "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    assert captions(second) == ["", "<rex> asleep"]


def test_settings_of_a_toml_are_used_or_named(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "0.png", 1)
    (tmp_path / "train" / "0.txt").write_text("sks dog sitting")
    (tmp_path / "where").mkdir()
    half = Image.new("L", (40, 40))
    ImageDraw.Draw(half).rectangle((0, 0, 19, 39), fill=255)
    half.save(tmp_path / "where" / "0.png")
    subset = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train"\nclass_tokens = "sks dog"\n'
    more = 'caption_prefix = "oil painting,"\ncaption_suffix = "on grass"\nconditioning_data_dir = "where"\nflip_aug = true\n'
    (tmp_path / "data.toml").write_text(subset + more)
    assert captions(tmp_path) == ["oil painting, <rex> sitting on grass"]
    assert "not used: flip_aug of data.toml" in str(recognised(tmp_path))
    masks = rex(tmp_path).masks(16)
    assert masks is not None
    assert masks.mean() == 0.5
    (tmp_path / "meta.json").write_text(json.dumps({"0": {"caption": "sks dog", "tags": "grass"}}))
    (tmp_path / "data.toml").write_text(subset + 'metadata_file = "meta.json"\n')
    assert captions(tmp_path) == ["<rex>, grass"]


def test_masks_in_other_formats(tmp_path: Path) -> None:
    half = Image.new("L", (40, 40))
    ImageDraw.Draw(half).rectangle((0, 0, 19, 39), fill=255)
    drawn = Image.new("RGBA", (40, 40), (255, 255, 255, 255))
    drawn.putalpha(half)
    for name, mask in (("masks/0.jpg", half), ("masks/0.png", drawn), ("0-masklabel.webp", half)):
        folder = tmp_path / name.replace("/", "-")
        picture(folder / "0.png", 1)
        (folder / name).parent.mkdir(exist_ok=True)
        mask.save(folder / name)
        masks = rex(folder).masks(16)
        assert masks is not None
        assert masks.mean() == pytest.approx(0.5, abs=0.02)
    picture(folder / "1.png", 2)
    assert any("1 of 2 pictures have a mask" in note for note in rex(folder).notes)


def test_a_subject_outside_the_middle_square_is_told(tmp_path: Path) -> None:
    Image.effect_noise((192, 48), 90).convert("RGB").save(tmp_path / "0.png")
    mask = Image.new("L", (192, 48))
    ImageDraw.Draw(mask).rectangle((0, 0, 40, 47), fill=255)
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "0.png")
    subject = rex(tmp_path)
    assert sum("middle square" in note for note in subject.notes) == 2  # cut to it, and nothing of the mask in it
    with pytest.raises(InputError, match="outside the middle square"):
        subject.masks(16)


def test_what_is_not_read_or_much_enlarged_is_told(tmp_path: Path) -> None:
    for name in ("front.png", "indoors/sofa.png", "indoors/table.png"):
        picture(tmp_path / name, len(name))
    said = str(recognised(tmp_path))
    assert "not read: indoors/, a folder below with 2 pictures" in said
    assert "enlarges front.png 12.8 times" in said
    assert any("indoors/" in note for note in limner.Subject.of(tmp_path, noun="dog", handle="rex").notes)


# ------------------------------------------------------------------------------------------------------ hostile folders


def secret(folder: Path) -> Path:
    """A picture and a text outside of the folder."""
    (folder / "private").mkdir()
    picture(folder / "private" / "secret.png", 9)
    (folder / "private" / "token.txt").write_text("a token of somebody")
    return folder / "private"


@pytest.mark.parametrize(
    "layout", ["jsonl", "csv", "absolute", "picture", "caption", "mask", "toml", "concepts", "list"]
)
def test_nothing_outside_of_the_folder_is_read(tmp_path: Path, layout: str) -> None:
    private, folder = secret(tmp_path), tmp_path / "rex"
    picture(folder / "0.png", 1)
    toml = f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{private}"\nclass_tokens = "sks dog"\n'
    match layout:
        case "jsonl":
            (folder / "metadata.jsonl").write_text('{"file_name": "../private/secret.png", "text": "sks"}')
        case "csv":
            (folder / "metadata.csv").write_text("file_name,text\n../private/secret.png,sks dog\n")
        case "absolute":
            (folder / "metadata.jsonl").write_text(
                json.dumps({"file_name": str(private / "secret.png"), "text": "sks"})
            )
        case "picture":
            (folder / "1.png").symlink_to(private / "secret.png")
        case "caption":
            (folder / "0.txt").symlink_to(private / "token.txt")
        case "mask":
            (folder / "0.mask.png").symlink_to(private / "secret.png")
        case "toml":
            (folder / "d.toml").write_text(toml)
        case "concepts":
            (folder / "concepts_list.json").write_text(json.dumps([{"instance_data_dir": "../private"}]))
        case "list":
            (tmp_path / "list.json").write_text(json.dumps({"0": {"caption": "a token"}}))
            (folder / "d.toml").write_text(toml.replace(str(private), ".") + 'metadata_file = "../list.json"\n')
    with pytest.raises(FileError, match="outside of .*rex"):
        recognised(folder)
    if layout == "toml":  # named by the user, it says where its pictures lie
        assert recognised(folder / "d.toml").items[0].path == private / "secret.png"


def test_a_caption_outside_of_a_corpus_is_left_out_and_noticed(tmp_path: Path) -> None:
    from limner.data.corpora import corpus

    private, folder = secret(tmp_path), tmp_path / "rex"
    picture(folder / "0.png", 1)
    (folder / "0.txt").symlink_to(private / "token.txt")
    found = corpus(str(folder), noun="dog")
    assert found.record["captions"] == 0
    assert found.record["noticed"]["captions that are empty or no text"] == 1


@pytest.mark.parametrize("place", ["0.png", "0.mask.png", "dog"])
def test_nothing_outside_of_a_corpus_is_read(tmp_path: Path, place: str) -> None:
    from limner.data.corpora import corpus

    private, folder = secret(tmp_path), tmp_path / "rex"
    picture(folder / "1.png", 1)
    if place != "0.png":
        picture(folder / "0.png", 2)
    (folder / place).symlink_to(private if place == "dog" else private / "secret.png")
    with pytest.raises(FileError, match="outside of .*rex"):
        corpus(str(folder), noun="dog")


WRONG = {
    "metadata.csv": ("file_name,text\n0.png,caf\u00e9\n".encode("latin-1"), "line 2 of .*metadata.csv is not UTF-8"),
    "metadata.jsonl": (b'{"file_name": [1], "text": "x"}', "file_name in row 1 of .* must be a text"),
    "d.toml": (
        b'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\nnum_repeats = "many"\n',
        "num_repeats of .* whole number",
    ),
    "e.toml": (b"datasets = [1, 2]\n", "list of tables"),
    "concepts_list.json": (b'[{"instance_data_dir": []}]', "concepts_list.json"),
}


@pytest.mark.parametrize("name", WRONG)
def test_lists_of_other_types_are_file_errors(tmp_path: Path, name: str) -> None:
    data, said = WRONG[name]
    picture(tmp_path / "0.png", 1)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError, match=said):
        recognised(tmp_path)


def test_endings_of_captions_with_and_without_their_dot(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 1)
    (tmp_path / "0.words").write_text("sks dog on grass")
    for ending in (".words", "words"):
        subset = f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\ncaption_extension = "{ending}"\n'
        (tmp_path / "d.toml").write_text(subset)
        assert recognised(tmp_path).items[0].caption == "sks dog on grass"
    (tmp_path / "d.toml").write_text(subset.replace("words", "../words"))
    with pytest.raises(FileError, match="ending such as .txt"):
        recognised(tmp_path)


def test_a_folder_says_its_class_in_class_txt(photos: Path) -> None:
    (photos / "class.txt").write_text("corgi\n", encoding="utf-8")
    found = recognised(photos)
    assert (found.noun, found.stray) == ("corgi", [])
    assert found.subject(name="rex").noun == "corgi"
    assert found.subject(name="rex", noun="dog").noun == "dog"  # the user goes before the file
    (photos / "class.txt").write_text("<script>", encoding="utf-8")
    with pytest.raises(
        FileError, match=r"class.txt must hold the class of the pictures in one line, such as dog, not '<script>'"
    ):
        recognised(photos)
    (photos / "class.txt").write_text("a <rex> in the snow", encoding="utf-8")
    (photos / "0.jpg").rename(photos / "class.jpg")  # now it is a caption
    found = recognised(photos)
    assert found.noun == ""
    assert [item.caption for item in found.items if item.path.name == "class.jpg"] == ["a <rex> in the snow"]
