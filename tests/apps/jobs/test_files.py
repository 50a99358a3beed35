"""The file store: content by its hash, damage is noticed, and nothing but a hash becomes a path."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from limner.apps.jobs import files as store
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files, open_files
from limner.apps.jobs.quotas import QuotaExceeded
from limner.apps.jobs.tables import Picture, User
from limner.apps.jobs.uploads import store as upload
from limner.apps.jobs.uploads import sweep
from limner.apps.jobs.users import create_user
from limner.errors import FileError, InputError, MissingExtra


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    """A folder, and a store of fsspec that is no folder."""
    if request.param == "folder":
        yield open_files(str(tmp_path / "store"))
        return
    opened = open_files(f"memory://{tmp_path.name}/store", copies=tmp_path / "copies")
    yield opened
    for sha256 in list(opened.all()):
        opened.delete(sha256)


def damage(place: Files, sha256: str) -> None:
    place.system.pipe_file(place._place(sha256), b"something else")


def test_content_comes_back_under_its_hash(place: Files, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"more")
    first, second = place.put(b"content"), place.put_file(tmp_path / "a.bin")
    assert first == hashlib.sha256(b"content").hexdigest()
    assert (place.read(first), place.read(second), place.size(first)) == (b"content", b"more", 7)
    assert place.has(first)
    assert sorted(place.all()) == sorted([first, second])
    assert place.put(b"content") == first
    assert len(list(place.all())) == 2


def test_a_local_copy_has_the_suffix_and_the_content(place: Files) -> None:
    sha256 = place.put(b"content")
    path = place.local(sha256, ".png")
    assert (path.suffix, path.read_bytes()) == (".png", b"content")
    path.write_bytes(b"changed by somebody")
    assert place.local(sha256, ".png").read_bytes() == b"content"
    assert sorted(place.all()) == [sha256]


def test_damage_is_noticed_and_mended_by_storing_again(place: Files, tmp_path: Path) -> None:
    sha256 = place.put(b"content")
    damage(place, sha256)
    for read in (lambda: place.read(sha256), lambda: place.copy_to(sha256, tmp_path / "copy")):
        with pytest.raises(FileError, match="is damaged"):
            read()
    assert not (tmp_path / "copy").exists()
    assert list(place.verify()) == [sha256]
    place.put(b"content")
    assert place.verify() == {}


def test_missing_content_is_named(place: Files, tmp_path: Path) -> None:
    sha256 = place.put(b"content")
    place.local(sha256)
    place.delete(sha256)
    place.delete(sha256)
    assert not place.has(sha256)
    for read in (place.read, place.size, place.local):
        with pytest.raises(FileError, match="is missing"):
            read(sha256)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "/x", "http://x"]
)
def test_nothing_but_a_hash_is_opened(place: Files, name: str) -> None:
    for use in (place.read, place.has, place.local, place.delete, place.size):
        with pytest.raises(InputError, match="64 hexadecimal digits"):
            use(name)
    with pytest.raises(InputError, match="a suffix"):
        place.local("0" * 64, "/../../x")


def test_threads_that_store_the_same_content_leave_one_whole_file(place: Files) -> None:
    data = bytes(1_000_000)
    threads = [threading.Thread(target=place.put, args=(data,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (sha256,) = place.all()
    assert place.read(sha256) == data


def test_old_local_copies_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_LOCAL", 25)
    place = open_files(str(tmp_path / "store"))
    paths = [place.local(place.put(bytes([k]) * 10)) for k in range(4)]
    assert [path.exists() for path in paths][-1]
    assert sum(path.exists() for path in paths) <= 3
    assert len(list(place.all())) == 4


def test_stores_without_a_library_or_a_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="s3://bucket/folder"):
        open_files("nonsense://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be a file store"):
        open_files(str(tmp_path / "file" / "store"))


def test_s3_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[s3\]'"):
        open_files("s3://bucket/folder")


def test_bytes_are_counted_once_and_limited(database: Database, files: Files) -> None:
    ann = create_user(database, "ann", most_bytes=10)
    first = upload(database, files, b"12345678", owner=ann.id, media_type="image/png")
    assert upload(database, files, b"12345678", owner=ann.id, media_type="image/png") == first
    with pytest.raises(QuotaExceeded, match="may keep 10"):
        upload(database, files, b"abc", owner=ann.id, media_type="image/png")
    assert list(files.all()) == [first]


def test_the_sweep_deletes_old_files_that_nothing_names(
    database: Database, files: Files, users: Callable[[str], User]
) -> None:
    ann = users("ann")
    kept, gone = (upload(database, files, data, owner=ann.id, media_type="image/png") for data in (b"kept", b"gone"))
    with database.session() as session:
        session.add(Picture(owner_id=ann.id, sha256=kept))
    assert sweep(database, files) == []  # they are young
    assert sweep(database, files, grace=timedelta(0)) == [gone]
    assert list(files.all()) == [kept]
