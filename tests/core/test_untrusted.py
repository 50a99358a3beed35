"""Texts, JSON, numbers and places that a file names: within bounds, or an error that says which file, what and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from limner.core.untrusted import MAX_DEPTH, content_hash, finite_number, inside, parse_json, read_text, whole_number
from limner.errors import FileError


def test_texts_in_the_encodings_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text("file_name,text\n0.png,café\n", encoding=encoding)
        assert read_text(path) == "file_name,text\n0.png,café\n"
    path.write_bytes("file_name,text\n0.png,café\n".encode("latin-1"))
    with pytest.raises(FileError, match=r"line 2 of .*list\.csv is not UTF-8 text .*0xe9.*save it as UTF-8"):
        read_text(path)
    path.write_text("a\nb", encoding="utf-16-le")
    with pytest.raises(FileError, match="line 1 of .* null character"):
        read_text(path)


def test_a_text_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "0.txt"
    with path.open("wb") as file:
        file.truncate(10**12)  # takes no room on the disk
    with pytest.raises(FileError, match="1,000,000,000,000 bytes; at most 100,000"):
        read_text(path, limit=100_000)


@pytest.mark.parametrize(
    "text",
    ["{", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}", b"\xff{}", "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)],
)
def test_json_that_is_none_or_too_deep(text: str | bytes) -> None:
    with pytest.raises(FileError, match="list of x"):
        parse_json(text, "list of x")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 11, 10**400])
def test_what_is_no_whole_number_within_bounds(value: Any) -> None:
    with pytest.raises(FileError, match=r"the step must be a whole number from 0 to 10, not .{1,60}$"):
        whole_number(value, "the step", least=0, most=10)


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400])
def test_what_is_no_finite_number(value: Any) -> None:
    with pytest.raises(FileError, match="a loss must be a finite number"):
        finite_number(value, "a loss")


def test_nothing_outside_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "rex" / "below").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private" / "secret.txt"
    secret.write_text("a token")
    (tmp_path / "rex" / "0.txt").symlink_to(secret)
    (tmp_path / "rex" / "loop").symlink_to(tmp_path / "rex" / "loop")
    (tmp_path / "rex" / "within.txt").symlink_to(tmp_path / "rex" / "below")
    folder = tmp_path / "rex"
    for place in (folder / "0.txt", folder / "../private/secret.txt", folder / secret, folder / "below/../../private"):
        with pytest.raises(FileError, match=r"list\.csv names .* outside of .*rex"):
            inside(place, folder, named_by="list.csv")
    with pytest.raises(FileError, match="no valid path of a file"):
        inside(folder / "loop", folder)
    with pytest.raises(FileError, match="no valid path of a file"):
        inside(folder / "a\0b", folder)
    for place in (folder / "new.png", folder / "below" / "../1.png", folder / "within.txt"):
        assert inside(place, folder) == place
    (tmp_path / "other").symlink_to(folder)  # the user's own link to the folder itself
    assert inside(tmp_path / "other" / "1.png", tmp_path / "other")


def test_links_of_the_hubs_cache_stay_within_it(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--x--y" / "snapshots" / "abc"
    blobs = tmp_path / "datasets--x--y" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_text("a dog")
    (snapshot / "0.txt").symlink_to(blobs / "1")
    assert read_text(inside(snapshot / "0.txt", snapshot)) == "a dog"


def test_the_hash_is_of_names_types_shapes_and_bytes() -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1, dtype=torch.int64)}
    text = json.dumps({"noun": "dog"})
    whole = content_hash(text, tensors)
    assert whole == content_hash(text, dict(reversed(tensors.items())))
    flipped = tensors["a"].clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    others: list[dict[str, Any]] = [
        {**tensors, "a": flipped},
        {**tensors, "a": tensors["a"].view(3, 2)},
        {**tensors, "a": tensors["a"].view(torch.int32)},
        {"a": tensors["a"]},
        {"c": tensors["a"], "b": tensors["b"]},
    ]
    hashes = {whole, content_hash(text + " ", tensors), *(content_hash(text, other) for other in others)}
    assert len(hashes) == 7
