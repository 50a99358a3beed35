"""The studio's database: SQLite in a file by default, PostgreSQL by URL. Opening it runs the migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from limner.errors import FileError, InputError, MissingExtra

BUSY_SECONDS = 30
"""Seconds that SQLite waits for another process's transaction."""
MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x6C696D6E
"""Number of the advisory lock that PostgreSQL holds while one process migrates."""


class Database:
    """Connections to the studio's database. Threads may share it; a process that forks may not."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        # in SQLite, a transaction that will only read needs no lock against writers
        self._reads = sessionmaker(engine.execution_options(limner_reads=True), expire_on_commit=False)

    @property
    def is_postgres(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that may write: it commits at the end, and rolls back on an exception.

        In SQLite it holds the write lock from its first statement, so keep it short and do no slow work inside.
        """
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads; it waits for no writer. SQLite refuses changes in it, PostgreSQL drops them."""
        with self._reads() as session:
            yield session  # closing it rolls back, and leaves the rows that were read usable

    def now(self, session: Session) -> datetime:
        """The time in UTC by one clock: PostgreSQL's own, since its workers run on several machines."""
        if not self.is_postgres:
            return datetime.now(UTC)
        moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)

    def close(self) -> None:
        """Close all connections that are not in use."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database and bring its tables up to date.

    Args:
        url: "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/NAME".

    Raises `InputError` for another kind of database and for one that cannot be reached, `FileError` for a file that is
    no database, and `MissingExtra` without PostgreSQL's driver.
    """
    address = _checked(url)
    database = Database(_engine(address))
    try:
        _migrate(database.engine)
    except Exception as error:  # whatever it is, no connection stays open
        database.close()
        if isinstance(error, OperationalError):
            raise InputError(
                f"the database {address.render_as_string()} cannot be opened: {str(error.orig)[:300]}"
            ) from error
        if "file is not a database" in str(error):
            raise FileError(f"{address.database} is not a database of SQLite; choose another file") from error
        raise
    return database


def _checked(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise InputError(f"a database is sqlite:///FILE or postgresql://USER@HOST/NAME, not {url[:100]!r}") from error
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername == "postgresql+psycopg":
        return address
    if address.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InputError(f"a database is sqlite:///FILE or postgresql://USER@HOST/NAME, not {address.drivername}")
    if not address.database or address.database == ":memory:":
        raise InputError("SQLite's database must lie in a file, which several processes share: sqlite:///FILE")
    Path(address.database).resolve().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return address


def _engine(address: URL) -> Engine:
    if address.drivername == "postgresql+psycopg":
        try:
            # `pool_pre_ping`: a server that was restarted closes idle connections
            return create_engine(address, pool_size=10, max_overflow=30, pool_pre_ping=True)
        except ImportError as error:
            raise MissingExtra("PostgreSQL needs its driver: pip install 'limner[postgres]'") from error
    engine = create_engine(address, pool_size=10, max_overflow=30, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions; `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction. A writer takes its lock at once: one that read first and wrote later would fail, without
    waiting, where another process wrote in between."""
    reads = connection.get_execution_options().get("limner_reads", False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reads else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


# ----------------------------------------------------------------------------------------------------------- migrations


def newest_revision() -> str:
    """The revision that this version of limner needs; names of migrations begin with their revisions, in order."""
    return max(path.stem.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _migrate(engine: Engine) -> None:
    """Bring the tables up to date. Alembic is imported only where something is missing."""
    with engine.connect() as connection:
        if _revision(connection) == newest_revision():
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK})
        # another process may have migrated in the meantime; Alembic looks again, inside of the lock
        upgrade(connection)


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to a revision, inside the connection's transaction. Raises `FileError` for a database that
    a newer limner has migrated."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise FileError(
            f"the database is at revision {_revision(connection)!r}, which this version of limner does not know "
            f"(it knows up to {newest_revision()}); use a newer limner"
        ) from error
