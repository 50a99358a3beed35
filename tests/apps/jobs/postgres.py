"""A PostgreSQL server of its own for tests, in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, on the path or where Debian puts them; None where there is none."""
    places = [Path(path).parent for path in (shutil.which("initdb"), shutil.which("postgres")) if path]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@contextmanager
def server() -> Iterator[str]:
    """Start a server and yield the URL of its database "postgres"; at the end, stop it and delete its folder."""
    place = binaries()
    assert place is not None
    folder = Path(tempfile.mkdtemp(prefix="limner-pg-", dir="/tmp"))  # a socket's path has at most 107 characters
    someone = _someone()
    if someone:
        shutil.chown(folder, someone["user"])
    data = folder / "data"
    words = ["-U", "limner", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale"]
    create = [str(place / "initdb"), "-D", str(data), *words]
    subprocess.run(create, check=True, capture_output=True, cwd=folder, **someone)
    # nothing here outlives the tests, so nothing waits for the disk
    fast = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=60"]
    options = [word for option in (*fast, f"unix_socket_directories={folder}") for word in ("-c", option)]
    log = (folder / "log").open("wb")
    running = subprocess.Popen(
        [place / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **someone
    )
    try:
        _wait(folder, running)
        yield f"postgresql+psycopg://limner@/postgres?host={folder}"
    finally:
        running.terminate()  # a smart shutdown would wait for connections
        try:
            running.wait(2)
        except subprocess.TimeoutExpired:
            running.send_signal(3)
            running.wait(20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _someone() -> dict[str, Any]:
    """Arguments of `subprocess` for a user other than root, as whom PostgreSQL refuses to run."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = next(name for name in ("postgres", "nobody") if name in names)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _wait(folder: Path, running: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(f"host={folder} user=limner dbname=postgres").close()
        except psycopg.OperationalError:
            assert running.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        else:
            return
    raise TimeoutError((folder / "log").read_text())
