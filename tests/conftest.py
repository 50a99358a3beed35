"""What tests share: the pocket base, a held-out toy, a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from limner.subject import Subject


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("LIMNER_CACHE")
    os.environ["LIMNER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["LIMNER_CACHE"]
    else:
        os.environ["LIMNER_CACHE"] = before


@pytest.fixture(scope="session")
def base():  # type: ignore[no-untyped-def]
    import limner

    return limner.load("pocket", device="cpu")


@pytest.fixture(scope="session")
def rex() -> Subject:
    from limner.demo import toy

    return toy("dog", 2_000_012, count=3)


@pytest.fixture
def photos(rex: Subject, tmp_path: Path) -> Path:
    """A folder with the toy's pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, picture in enumerate(rex.pictures):
        assert picture.image is not None
        picture.image.resize((200, 150)).save(folder / f"{k}.jpg", quality=95)
    return folder
