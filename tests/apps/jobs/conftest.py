"""Databases for tests: every test that takes `url` or `database` runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from limner.apps.jobs.database import Database, open_database
from limner.apps.jobs.files import Files, open_files
from limner.apps.jobs.tables import User
from limner.apps.jobs.users import create_user

from .postgres import binaries, server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running server, without the name of a database; its database "empty" has all migrations."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed (no initdb and postgres): half of these tests did not run")
    with server() as url:
        root = url.replace("/postgres?", "/{name}?")
        _create(root, "empty", "template1")
        open_database(root.format(name="empty")).close()
        yield root


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all migrations."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.db"
    database = open_database(f"sqlite:///{path}")
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database with all tables and no rows."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("empty_sqlite"), tmp_path / "studio.db")
        return f"sqlite:///{tmp_path}/studio.db"
    root, name = request.getfixturevalue("postgres"), f"test{next(_numbers)}"
    _create(root, name, "empty")
    return str(root.format(name=name))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture
def user(database: Database) -> User:
    return create_user(database, "ann")


@pytest.fixture
def users(database: Database) -> Callable[[str], User]:
    """Make a user of that name."""
    return lambda name: create_user(database, name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return open_files(str(tmp_path / "files"))


def _create(root: str, name: str, template: str) -> None:
    engine = create_engine(root.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
