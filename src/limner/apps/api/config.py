"""The settings of the studio's server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from limner.errors import InputError
from limner.workflows.requests import BaseChoice

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
LOGINS = ("auto", "none", "tokens")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on what a client may send, and how fast."""

    json_bytes: int = 1_000_000  # the largest body that is no upload
    body_bytes: int = 256_000_000  # the largest upload
    picture_bytes: int = 50_000_000  # the largest picture
    concept_bytes: int = 1_000_000_000  # the largest file of a concept
    pictures: int = 100  # in one upload
    pixels: int = 64_000_000  # the largest number in a picture
    requests_per_second: float = 50.0  # by one user or one address, over a long time
    burst: int = 400  # requests that may come at once
    failed_logins: int = 10  # wrong tokens of one address in a minute
    idle_seconds: float = 20.0  # without a byte from a client that is sending, or to one that is receiving
    slowest_bytes_per_second: float = 2_000.0  # over the whole of a body, after `idle_seconds`
    head_seconds: float = 15.0  # until a request's line and headers are complete
    connections: int = 500  # at a time
    event_streams: int = 32  # open at a time, by one user
    wait_seconds: float = 600.0  # until a picture of the images API is painted


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of the server.

    login: "auto" needs no login on a loopback address, and tokens on any other, behind a proxy and for further names;
        "none" and "tokens" say so themselves.
    """

    data: Path
    database: str = ""  # URL; empty: SQLite in the data folder
    files: str = ""  # URL or folder of the file store; empty: in the data folder
    host: str = "127.0.0.1"
    port: int = 7860
    base: BaseChoice = field(default_factory=BaseChoice)
    workers: int = 1  # whether this process works on jobs, 0 or 1; with 0, `limner worker` does the work
    one_base: bool = False  # whether training and painting share one copy of the base, and take turns
    llm: str = ""  # URL of an OpenAI-compatible server whose model reads conversations; empty: the grammar
    llm_model: str = ""
    login: str = "auto"
    hosts: tuple[str, ...] = ()  # further names that browsers may call this server by
    behind_proxy: bool = False  # whether X-Forwarded-For and X-Forwarded-Proto of a proxy on this machine are read
    window: float = 0.005  # seconds that an order waits for others to be painted with
    limits: Limits = field(default_factory=Limits)
    quiet: bool = False  # log warnings and errors only

    def __post_init__(self) -> None:
        if self.login not in LOGINS:
            raise InputError(f"login must be one of {', '.join(LOGINS)}, not {self.login!r}")
        if self.workers not in (0, 1):
            raise InputError(
                f"the server has 0 or 1 workers of its own, not {self.workers}; start others with `limner worker`"
            )
        if self.login == "none" and not is_loopback(self.host):
            raise InputError(
                f"a server without login listens on a loopback address only, such as 127.0.0.1, not {self.host}"
            )

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'studio.db'}"

    @property
    def files_url(self) -> str:
        return self.files or str(self.data / "files")

    @property
    def needs_login(self) -> bool:
        reaches_others = not is_loopback(self.host) or self.behind_proxy or bool(self.hosts)
        return self.login == "tokens" or (self.login == "auto" and reaches_others)

    def address_at(self, port: int) -> str:
        """The address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
