"""What tests share: the pocket base, a held-out toy, a cache of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from limner.core.subject import Subject

PROOFS = Path(__file__).parent.parent / "results" / "proofs.json"
_proved: dict[str, dict[str, dict[str, str]]] = {}


@pytest.fixture
def proves(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Say what a test shows: a table of the documentation, a row and a column of it, and what stands there."""
    return lambda table, row, column, what="yes": record_property("proves", [table, row, column, what])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, told in report.user_properties:
        if name == "proves" and report.when == "call":
            table, row, column, what = told  # type: ignore[misc]
            place = _proved.setdefault(table, {}).setdefault(row, {})
            place[column] = what if report.passed and place.get(column) != "FAILED" else "FAILED"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LIMNER_PROOFS set, what was shown goes to results/proofs.json, from which the documentation's tables are made."""
    if _proved and os.environ.get("LIMNER_PROOFS") and not hasattr(session.config, "workerinput"):
        before = json.loads(PROOFS.read_text()) if PROOFS.exists() else {}
        for table, rows in _proved.items():
            for row, columns in rows.items():
                before.setdefault(table, {}).setdefault(row, {}).update(columns)
        PROOFS.write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")


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
    from limner.workflows.demo import toy

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
