"""A studio of its own for a benchmark or a test: started as a user starts it, stopped, killed, watched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import _version, cpu
from limner.core.files import atomic_write

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0
"""Seconds after which a server that does not answer counts as failed."""
LIBRARIES = ("limner", "torch", "fastapi", "uvicorn", "sqlalchemy", "playwright")


class Studio:
    """A `limner studio` process on a free port of 127.0.0.1, with its data in `folder`.

    words: further flags of the command
    login: whether it asks for tokens; `new_user` makes them
    env: variables of its environment beside this process's own
    """

    def __init__(
        self, folder: Path, *, words: Sequence[str] = (), login: bool = False, env: dict[str, str] | None = None
    ) -> None:
        self.folder, self.words, self.env = folder, (*words, *(["--login"] if login else [])), env or {}
        self.port = free_port()
        self.log = folder.parent / f"{folder.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def new_user(self, name: str) -> str:
        """Add a user, the first as an administrator; the user's token."""
        command = [sys.executable, "-m", "limner", "users", "add", name, "--data", str(self.folder)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return output.strip().rpartition(" ")[2]

    @property
    def pid(self) -> int:
        assert self.process is not None, "the studio was not started"
        return self.process.pid

    def start(self) -> float:
        """Start it, and return the seconds until it answered. Raises `RuntimeError` with its log where it does not."""
        command = [sys.executable, "-m", "limner", "studio", "--data", str(self.folder), "--port", str(self.port)]
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.words], stdout=log, stderr=log, env={**os.environ, **self.env}, start_new_session=True
            )
        while time.monotonic() - began < PATIENCE:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - began
            time.sleep(0.02)
        raise RuntimeError(f"`{' '.join(command)}` does not answer:\n{self.tail()}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it in order, and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"the studio did not end within 30 s of signal {how}:\n{self.tail()}") from None

    def kill(self) -> None:
        """`kill -9`, with all of its children."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def memory(self) -> int:
        """Bytes of resident memory of the process and its children (Linux)."""
        return sum(resident(pid) for pid in family(self.pid))

    def maps(self, library: str) -> bool:
        """Whether the process has loaded a library whose file name holds this word (Linux)."""
        return library in Path(f"/proc/{self.pid}/maps").read_text()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


@contextlib.contextmanager
def studio(
    folder: Path, *, words: Sequence[str] = (), login: bool = False, env: dict[str, str] | None = None
) -> Iterator[Studio]:
    """A running studio, ended afterwards in any case."""
    server = Studio(folder, words=words, login=login, env=env)
    if login:
        server.new_user("admin")
    server.start()
    try:
        yield server
    finally:
        if server.alive():
            server.kill()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return [pid, *(each for child in children.read_text().split() for each in family(int(child)))]
    return [pid]


def resident(pid: int) -> int:
    """Bytes of resident memory of one process; 0 where it has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def write_results(name: str, **about: Any) -> Path:
    """results/studio_NAME.json: the figures, the command, the machine and the versions."""
    record = {
        **about,
        "command": f"python -m benchmarks.studio.{name} {' '.join(sys.argv[1:])}".strip(),
        "machine": {"cpu": cpu(), "cores": os.cpu_count()},
        "versions": {library: _version(library) for library in LIBRARIES},
    }
    path = ROOT / "results" / f"studio_{name}.json"
    text = json.dumps(record, indent=1) + "\n"
    atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"), overwrite=True)
    return path
