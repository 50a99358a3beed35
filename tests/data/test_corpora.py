"""Corpora by a user's words: what is read, what is left out, and that drawing is a function of step and streams
alone."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from limner.core.streams import streams
from limner.data.corpora import corpus, fitted
from limner.data.listed import Listed
from limner.errors import FileError, InputError, MissingExtra, PictureError
from limner.parts.sources import corpus as shelves
from limner.parts.sources.corpus import Shelf
from limner.parts.sources.pairs import pairs
from tests.helpers import open_image

from .test_layouts import picture


def seen(path: Path, seed: int) -> bytes:
    """The bytes of a picture of its own."""
    return picture(path / "made" / f"{seed}.png", seed, side=48).read_bytes()


def packed(file: Path, members: Mapping[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return file


def white(tmp_path: Path) -> bytes:
    path = tmp_path / "white.png"
    Image.new("L", (48, 48), 255).save(path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dogs of three pictures each, with captions and masks, and a cat without."""
    root = tmp_path / "animals"
    for k, name in enumerate(("dog1", "dog2", "cat")):
        for n in range(3):
            picture(root / name / f"{n}.png", 10 * k + n + 1, side=48)
            if name != "cat":
                (root / name / f"{n}.txt").write_text(f"the dog on the grass, place {n}")
    return root


def test_a_folder_for_each_subject(folder: Path) -> None:
    found = corpus(str(folder))
    assert [len(s) for s in found.subjects] == [3, 3, 3]
    assert [found.noun(s[0]) for s in found.subjects] == ["cat", "dog", "dog"]
    assert found.caption(found.subjects[1][2], "<rex>", seed=0) == "<rex> on the grass, place 2"
    assert found.caption(found.subjects[0][0], "a cat", seed=0) == "a photo of a cat"
    assert found.record["captions"] == 6
    assert found.record["noticed"] == {"without a caption": 3}
    assert found.record["left_out"] == {}
    assert corpus(str(folder), noun="toy").noun(0) == "toy"


def test_a_folder_of_a_class_holds_folders_of_its_subjects(tmp_path: Path) -> None:
    for k in range(2):
        picture(tmp_path / "all" / "teapot" / f"00{k}" / "a.png", k + 1)
    found = corpus(str(tmp_path / "all"))
    assert [found.noun(s[0]) for s in found.subjects] == ["teapot", "teapot"]


def test_kohyas_folders_are_a_subject_each(tmp_path: Path) -> None:
    for k, name in enumerate(("10_sks dog", "5_ohwx cat")):
        for n in range(2):
            picture(tmp_path / "all" / "img" / name / f"{n}.png", 10 * k + n + 1)
            (tmp_path / "all" / "img" / name / f"{n}.txt").write_text(f"a photo of {name.split('_')[1]} at home")
    found = corpus(str(tmp_path / "all"))
    assert [len(s) for s in found.subjects] == [2, 2]
    assert [found.noun(s[0]) for s in found.subjects] == ["dog", "cat"]
    assert found.caption(0, "<rex>", seed=0) == "a photo of <rex> at home"


def test_a_corpus_that_was_moved_is_the_same(folder: Path, tmp_path: Path) -> None:
    before = corpus(str(folder)).fingerprint
    folder.rename(tmp_path / "elsewhere")
    assert corpus(str(tmp_path / "elsewhere")).fingerprint == before


def test_dreambenchs_list_says_the_classes(tmp_path: Path) -> None:
    root = tmp_path / "dreambooth" / "dataset"
    picture(root / "rc_car" / "00.jpg", 1)
    prompts = "prompt_list = [\n'a {0} {1} in the snow'.format(unique_token, class_token),\n]\n"
    text = f"Classes\nsubject_name,class\nrc_car,toy\n\nPrompts\nObject Prompts\n{prompts}\nLive Subject Prompts\n{prompts}"
    (root / "prompts_and_classes.txt").write_text(text)
    found = corpus(str(root.parent))
    assert found.noun(0) == "toy"


def test_pictures_of_a_flat_folder_are_a_subject_each(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / "flat" / f"{k}.png", k + 1)
        (tmp_path / "flat" / f"{k}.txt").write_text(f"a red boat at sea {k}")
    found = corpus(str(tmp_path / "flat"))
    assert len(found.subjects) == 3
    assert found.caption(1, "a thing", seed=0) == "a red boat at sea 1"
    assert found.caption(1, "<x>", seed=0) == "a photo of <x>, a red boat at sea 1"
    assert "without a class, assumed" in str(found)
    same = corpus(str(tmp_path / "flat" / "*.png"))
    assert isinstance(same, Listed)
    assert [e.content for e in same.entries] == [e.content for e in found.entries]  # type: ignore[attr-defined]


def test_masks_beside_pictures_are_read_and_a_partial_set_is_not_used(tmp_path: Path, base: Any) -> None:
    root = tmp_path / "masked" / "dog"
    for k in range(2):
        picture(root / f"{k}.png", k + 1, side=48)
        mask = Image.new("L", (48, 48))
        mask.paste(255, (0, 0, 24, 48))
        mask.save(root / f"{k}.mask.png")
    found = corpus(str(root.parent))
    pixels, masks = found.drawn([0, 1], 16)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 16, 16), torch.uint8)
    assert masks is not None
    assert masks[:, :, :, :7].min() == 255
    assert masks[:, :, :, 9:].max() == 0
    (root / "1.mask.png").unlink()
    partial = corpus(str(root.parent))
    assert partial.drawn([0, 1], 16)[1] is None
    with pytest.raises(InputError, match="masks for 1 of 2 pictures"):
        pairs(batch=1, masked=True, corpus=partial).prepare(base)


def test_what_cannot_be_learned_from_is_left_out_and_counted(folder: Path) -> None:
    (folder / "dog1" / "0.png").write_bytes(b"no picture")
    whole = (folder / "dog1" / "1.png").read_bytes()
    (folder / "dog2" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog2" / "9.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    (folder / "dog2" / "2.txt").write_text("   ")
    Image.new("L", (48, 48)).save(folder / "cat" / "1.mask.png")
    Image.new("L", (4, 4), 255).save(folder / "cat" / "2.mask.png")
    found = corpus(str(folder))
    assert found.record["left_out"] == {
        "cannot be read": 2,
        "has an empty mask": 1,
        "has a mask of another size": 1,
        "the same as another picture": 1,
    }
    assert found.record["pictures"] == 5
    assert found.record["noticed"]["captions that are empty or no text"] == 1
    assert "dog1/0.png" in str(found)
    assert corpus(str(folder)).record == found.record  # from the kept list


def test_a_changed_folder_is_looked_at_again(folder: Path) -> None:
    before = corpus(str(folder))
    picture(folder / "cat" / "new.png", 99)
    after = corpus(str(folder))
    assert after.record["pictures"] == before.record["pictures"] + 1
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("words", ["nowhere", "hf:", "notes.md", "shards-*.tar"])
def test_what_is_no_corpus_is_explained(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("words")
    with pytest.raises((FileError, InputError, MissingExtra), match=r"."):
        corpus(words)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match="no picture to learn from"):
        corpus(str(tmp_path / "empty"))


# -------------------------------------------------------------------------------------------------------------- shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of three pictures: captions, tables with identity and class, one mask each."""
    for s in range(2):
        members: dict[str, bytes] = {}
        for k in range(3):
            members[f"{k:04}.png"] = seen(tmp_path, 10 * s + k + 1)
            members[f"{k:04}.txt"] = f"a dog, picture {k} of shard {s}".encode()
            members[f"{k:04}.json"] = json.dumps({"identity": f"dog{k % 2}", "class": "dog"}).encode()
            members[f"{k:04}.mask.png"] = white(tmp_path)
        packed(tmp_path / "shards" / f"part-{s:03}.tar", members)
    return tmp_path / "shards"


@pytest.mark.parametrize("words", ["part-{000..001}.tar", "part-*.tar", ""])
def test_shards_by_braces_glob_and_folder(shards: Path, words: str) -> None:
    found = corpus(str(shards / words))
    assert found.record["pictures"] == 6
    assert [len(s) for s in found.subjects] == [4, 2]
    assert found.caption(4, "<rex>", seed=0) == "<rex>, picture 1 of shard 1"
    masks = found.drawn([5], 16)[1]
    assert masks is not None
    assert masks.min() == 255


def test_shards_are_drawn_in_any_order_as_a_function_of_step_and_streams(shards: Path, base: Any) -> None:
    """Drawn forwards, backwards or alone, a step's batch is the same to the bit, whether the corpus fits in memory or
    not."""

    def drawing(kept: int) -> Callable[[int], Any]:
        monkey = pytest.MonkeyPatch()
        monkey.setattr(shelves, "KEPT", kept)
        draw = pairs(batch=2, corpus=corpus(str(shards))).prepare(base)
        monkey.undo()
        return lambda step: draw(step, streams(3, "pairs", 0, step))

    forwards = drawing(0)
    batches = [forwards(step) for step in range(3)]
    backwards = drawing(0)
    for step in (2, 1, 0):
        again = backwards(step)
        assert again.prompts == batches[step].prompts
        assert torch.equal(again.latents, batches[step].latents)
        assert torch.equal(again.references.pixels, batches[step].references.pixels)
    whole = drawing(10**9)(1)
    assert whole.prompts == batches[1].prompts
    assert torch.equal(whole.latents, batches[1].latents)


def test_a_shelf_keeps_no_more_than_it_may(shards: Path, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "KEPT", 0)
    monkeypatch.setattr(shelves, "GROUP", 2)
    shelf = Shelf(corpus(str(shards)), base)
    first = shelf.latents([0])
    for k in range(6):
        shelf.latents([k])
    assert not shelf.whole
    assert len(shelf._cache) == 2
    assert torch.equal(shelf.latents([0]), first)


def test_damaged_shards_are_counted_and_what_is_whole_is_kept(shards: Path) -> None:
    whole = (shards / "part-001.tar").read_bytes()
    with tarfile.open(shards / "part-001.tar") as tar:
        second = tar.getmember("0001.png")
    (shards / "part-001.tar").write_bytes(whole[: second.offset_data + second.size // 2])
    (shards / "part-002.tar").write_bytes(b"this is no archive" * 100)
    packed(shards / "part-003.tar", {"0.png": b"no picture", "0.json": b"{broken", "1.txt": b"a caption of nothing"})
    found = corpus(str(shards / "part-{000..004}.tar"))
    lost = found.record["left_out"]
    assert lost["shards that are not there"] == 1
    assert lost["shards that cannot be read"] == 1
    assert lost["shards that are cut short or damaged"] == 1
    assert lost["cannot be read"] == 2  # the one that was cut through, and the one that is no picture
    assert found.record["pictures"] == 4
    assert found.record["noticed"][".json that cannot be read"] == 1
    assert "part-004.tar" in str(found)


def test_compressed_shards_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "part.tar"
    with tarfile.open(file, "w:gz") as tar:
        tar.add(picture(tmp_path / "0.png", 1), "0.png")
    with pytest.raises(FileError, match="unpack it"):
        corpus(str(file))


def test_a_picture_that_went_away_is_named(folder: Path) -> None:
    found = corpus(str(folder))
    (folder / "cat" / "0.png").unlink()
    with pytest.raises(PictureError, match=r"cat/0\.png could be read when .* was listed"):
        found.drawn([0], 16)


# ----------------------------------------------------------------------------------------------- data sets of the hub


class Rows:
    """As much of a `datasets.Dataset` as is used."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
        self.rows, self.column_names = rows, list(rows[0])
        self.features = {"label": types.SimpleNamespace(names=names)} if names else {}
        self._fingerprint = repr(len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> dict[str, Any]:
        row = self.rows[k]
        if isinstance(row["image"], Exception):
            raise row["image"]
        return row

    def select_columns(self, names: list[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in names} for row in self.rows]


def hub(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Any]) -> None:
    fake = types.ModuleType("datasets")
    fake.load_dataset = fake.load_from_disk = load  # type: ignore[attr-defined]
    fake.exceptions = types.SimpleNamespace(DatasetsError=RuntimeError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)


def test_rows_of_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [
        {"image": open_image(picture(tmp_path / f"{k}.png", k + 1)), "text": f"a cat {k}", "label": k % 2}
        for k in range(4)
    ]
    rows.append({"image": OSError("truncated"), "text": "a cat", "label": 0})
    hub(monkeypatch, lambda where: {"train": Rows(rows, names=["tom", "kit"]), "test": Rows(rows[:1])})
    found = corpus("hf:someone/cats", noun="cat")
    assert [len(s) for s in found.subjects] == [2, 2]
    assert found.caption(3, "<kit>", seed=0) == "<kit> 3"
    assert found.record["left_out"] == {"cannot be read": 1}
    assert found.drawn([0], 16)[0].shape == (1, 3, 16, 16)
    assert corpus("hf:someone/cats@test", noun="cat").record["pictures"] == 1
    with pytest.raises(InputError, match="no split 'val'"):
        corpus("hf:someone/cats@val")


def test_without_the_library_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install limner\[datasets\]"):
        corpus("hf:someone/cats")


def test_a_folder_saved_by_the_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [{"bytes": picture(tmp_path / f"{k}.png", k + 1).read_bytes(), "path": None} for k in range(3)]
    features = datasets.Features(
        {"image": datasets.Image(), "caption": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = {"image": files, "caption": ["a dog 0", "a dog 1", "a dog 2"], "label": [0, 1, 0]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    for words in (str(tmp_path / "saved"), f"hf:{tmp_path / 'saved'}"):
        found = corpus(words, noun="dog")
        assert [len(s) for s in found.subjects] == [2, 1]
        assert found.caption(1, "<rex>", seed=0) == "<rex> 1"


# --------------------------------------------------------------------------------------------------- held-out subjects


def held(folder: Path, tmp_path: Path) -> Path:
    """One of the cat's pictures, mirrored, smaller and saved as JPEG; and one of another thing."""
    out = tmp_path / "held"
    (out / "subject").mkdir(parents=True)
    mirrored = open_image(folder / "cat" / "1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.resize((40, 40)).save(out / "subject" / "a.jpg", quality=90)
    picture(out / "other" / "b.png", 77)
    return out


def test_subjects_that_are_held_out_are_an_error_or_left_out(folder: Path, tmp_path: Path) -> None:
    out = held(folder, tmp_path)
    with pytest.raises(InputError, match=r"1 pictures of .* are near-duplicates of those held out .*cat/1\.png"):
        corpus(str(folder), held_out=out)
    found = corpus(str(folder), held_out=out, duplicates="leave-out")
    assert found.record["left_out"] == {"of subjects that are held out": 3}
    assert {found.noun(s[0]) for s in found.subjects} == {"dog"}


def test_nothing_is_left_out_where_nothing_is_the_same(folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "held" / "x" / "b.png", 77)
    assert corpus(str(folder), held_out=tmp_path / "held").record["pictures"] == 9


def test_toys_are_told_apart(tmp_path: Path) -> None:
    """Pictures of other toys are not taken for the same, though all stand in the middle of alike places."""
    from limner.pocket.subjects import toy

    for name, start in (("own", 1_000_007), ("held", 1_000_207)):
        for n, kind in enumerate(("dog", "car", "teapot")):
            (tmp_path / name / kind).mkdir(parents=True)
            for k, one in enumerate(toy(kind, start + n, count=4).pictures):
                assert one.image is not None
                one.image.save(tmp_path / name / kind / f"{k}.png")
    assert corpus(str(tmp_path / "own"), held_out=tmp_path / "held").record["pictures"] == 12
    with pytest.raises(InputError, match="12 pictures"):
        corpus(str(tmp_path / "own"), held_out=tmp_path / "own")


def test_toys_hold_nothing_that_is_judged(tmp_path: Path) -> None:
    assert corpus("toys:3").record["subjects"] == 3
    with pytest.raises(InputError, match="no toy of the corpus"):
        corpus("toys", held_out=tmp_path)


def test_captions_are_cut_to_what_the_base_reads(folder: Path, base: Any) -> None:
    (folder / "dog1" / "0.txt").write_text("the dog " + "on the beach and " * 40)
    found = fitted(corpus(str(folder)), base)
    long = found.caption(found.subjects[1][0], "a dog", seed=0)
    assert long.startswith("a dog on the beach")
    assert base.num_tokens(long, words={}) <= base.max_tokens
    assert found.record["noticed"]["captions longer than the base reads, cut"] == 1


def test_background_swap_needs_no_more_than_masks(shards: Path, base: Any) -> None:
    draw = pairs(batch=2, ground="swapped", corpus=corpus(str(shards))).prepare(base)
    batch = draw(0, streams(0, "pairs", 0, 0))
    assert batch.references is not None
    assert batch.references.masks is not None
    assert torch.equal(batch.references.masks, torch.ones_like(batch.references.masks))
