"""The database: migrations from empty, agreement with the tables, transactions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from limner.apps.jobs.database import Database, newest_revision, open_database
from limner.apps.jobs.tables import Job, Table, Token, User, now
from limner.errors import FileError, InputError

from .conftest import _create


def test_migrations_from_empty_make_the_tables(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> None:
    """On a database without any table, and not on the copy that other tests use."""
    if url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/new.db"
    else:
        _create(request.getfixturevalue("postgres"), "fresh", "template1")
        url = request.getfixturevalue("postgres").format(name="fresh")
    database = open_database(url)
    with database.session() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Table.metadata) == []
        assert context.get_current_revision() == newest_revision()
    database.close()


def test_migrations_do_not_follow_tables_that_nobody_migrated(database: Database) -> None:
    """The comparison above can fail: it sees a column that only the database has."""
    with database.session() as session:
        session.execute(text("ALTER TABLE users ADD COLUMN shoe INTEGER"))
    with database.session() as session:
        changes = compare_metadata(MigrationContext.configure(session.connection()), Table.metadata)
    assert len(changes) == 1
    assert changes[0][0] == "remove_column"


def test_two_processes_that_open_a_new_database_at_once_both_succeed(
    request: pytest.FixtureRequest, url: str, tmp_path: Path
) -> None:
    if url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/both.db"
    else:
        _create(request.getfixturevalue("postgres"), "pair", "template1")
        url = request.getfixturevalue("postgres").format(name="pair")
    code = "import sys; from limner.apps.jobs.database import open_database; open_database(sys.argv[1])"
    both = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]


def test_opening_imports_neither_torch_nor_alembic_where_tables_are_there(empty_sqlite: Path) -> None:
    url = f"sqlite:///{empty_sqlite}"
    code = (
        "import sys; from limner.apps.jobs.database import open_database; open_database(sys.argv[1]); "
        "sys.exit('torch' in sys.modules or 'alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0


def test_an_exception_rolls_back(database: Database) -> None:
    def add_and_fail() -> None:
        with database.session() as session:
            session.add(User(name="ann"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    with database.reading() as session:
        assert session.scalars(select(User)).all() == []


def test_rows_of_unknown_users_are_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(Token(user_id="0" * 32, sha256="0" * 64))


def test_times_are_aware_and_come_back_equal(database: Database, user: User) -> None:
    moment = now()
    with database.session() as session:
        session.add(Job(owner_id=user.id, kind="learn", created=moment))
    with database.reading() as session:
        assert session.scalars(select(Job)).one().created == moment


def test_sqlite_refuses_to_write_in_a_session_that_reads(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/a.db")
    with database.reading() as session:
        session.add(User(name="ann"))
        with pytest.raises(DBAPIError, match="readonly"):
            session.flush()
    with database.session() as session:  # the connection writes again afterwards
        session.add(User(name="ann"))


def test_reading_waits_for_no_writer(database: Database, user: User) -> None:
    with database.session() as writing:
        writing.add(User(name="bob"))
        writing.flush()
        with database.reading() as session:
            assert session.scalars(select(User.name)).all() == ["ann"]


def test_a_database_of_a_newer_limner_is_refused(database: Database, url: str) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FileError, match="use a newer limner"):
        open_database(url)


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        open_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("not a database " * 100)
    with pytest.raises(FileError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/a.db")


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(InputError, match="cannot be opened") as caught:
        open_database("postgresql://ann:secret@127.0.0.1:1/limner")
    assert "secret" not in str(caught.value)
