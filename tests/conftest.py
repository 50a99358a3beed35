"""Fixtures that tests share: the pocket base, a held-out toy, a cache of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from limner.core.subject import Subject
from tools.fresh import proof_digest

if TYPE_CHECKING:
    from .helpers import Learned

PROOFS = Path(__file__).parent.parent / "results" / "proofs.json"
_proved: dict[str, dict[str, dict[str, str]]] = {}


@pytest.fixture
def proves(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Name what a test shows, at its start: a table of the documentation, a row, a column, and the cell's text."""

    def note(table: str, row: str, column: str, shown: str = "yes") -> None:
        record_property("proves", (table, row, column, shown))

    return note


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == "proves" and report.when == "call":
            table, row, column, shown = cast("tuple[str, str, str, str]", value)
            cells = _proved.setdefault(table, {}).setdefault(row, {})
            cells[column] = shown if report.passed and cells.get(column) != "FAILED" else "FAILED"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LIMNER_PROOFS set, write what was shown to results/proofs.json, from which the documentation's tables are
    made.

    A table is written whole, with the hash of the code it was shown for: a run of some of its tests loses the other
    rows.
    """
    if _proved and os.environ.get("LIMNER_PROOFS") and not hasattr(session.config, "workerinput"):
        tables = json.loads(PROOFS.read_text()) if PROOFS.exists() else {}
        made_from = tables.get("made from", {}) | {table: proof_digest(table) for table in _proved}
        tables |= _proved | {"made from": made_from}
        PROOFS.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n")


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
def base() -> Any:
    import limner

    from .helpers import with_w_plus

    return with_w_plus(limner.load("pocket", device="cpu"))


@pytest.fixture(scope="session")
def rex() -> Subject:
    from limner.pocket.subjects import toy

    return toy("dog", 2_000_012, count=3)


@pytest.fixture(scope="session")
def _kept() -> dict[str, Learned]:
    return {}


@pytest.fixture
def learned_once(base: Any, rex: Subject, _kept: dict[str, Learned]) -> Callable[[str], Learned]:
    """Method -> its training on the subject with the settings of FAST. The last two methods are cached, for tests in
    the order below."""
    from .helpers import learn_noting

    def learned(name: str) -> Learned:
        if name not in _kept:
            for other in list(_kept)[:-1]:
                del _kept[other]
            _kept[name] = learn_noting(base, name, rex)
        return _kept[name]

    return learned


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All questions of tests/test_methods.py to one method stand together, so that they share what it learned."""

    def method(item: pytest.Item) -> str:
        return (
            str(item.callspec.params.get("name", ""))
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else ""
        )

    places = [k for k, item in enumerate(items) if item.path.name == "test_methods.py"]
    ordered = sorted((items[k] for k in places), key=method)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@contextmanager
def default_steps(number: int) -> Iterator[None]:
    """Where nobody says how many, a picture takes this number of steps: class images, previews, commands."""
    from limner.engine.sample import PaintSettings

    made: Any = PaintSettings.__init__  # the steps are the first of its settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "__defaults__", (number, *made.__defaults__[1:]))
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_steps() -> Iterator[None]:
    """4 steps in place of 25 in every test, but for those that ask for `published_steps`."""
    with default_steps(4):
        yield


@pytest.fixture
def published_steps() -> Iterator[None]:
    """The 25 steps of a user: for tests of how good pictures are, and of what other processes paint."""
    with default_steps(25):
        yield


@pytest.fixture
def photos(rex: Subject, tmp_path: Path) -> Path:
    """A folder with the toy's pictures."""
    from .helpers import save_pictures

    return save_pictures(rex, tmp_path / "photos")
