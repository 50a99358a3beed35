"""`--offline`: no network is asked, by limner or by any library it uses."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCHES = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "offline"}
"""Environment variables by which libraries are told; read when they are imported."""
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

_forbidden = [False]
_watching = [False]


class Offline(OSError):
    """Something wanted the network where `--offline` forbids it."""


@contextmanager
def staying_offline() -> Iterator[None]:
    """While inside, libraries look in their caches only, and a connection to another machine raises `Offline`."""
    before = {name: os.environ.get(name) for name in SWITCHES}
    os.environ |= SWITCHES
    constants = sys.modules.get("huggingface_hub.constants")
    online = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:  # it was imported before, when the variable was not set
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # a constant of theirs
    if not _watching[0]:
        sys.addaudithook(_watch)  # it stays for as long as the process does, and looks at `_forbidden`
        _watching[0] = True
    _forbidden[0] = True
    try:
        yield
    finally:
        _forbidden[0] = False
        if constants is not None:
            constants.HF_HUB_OFFLINE = online  # type: ignore[attr-defined]  # as before
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _forbidden[0] or event not in EVENTS:
        return
    place = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
    if event in ("socket.connect", "socket.sendto") and not isinstance(place, tuple):
        return  # a socket of this machine's own file system
    host = place[0] if isinstance(place, tuple) and place else place
    if not _is_here(host):
        raise Offline(f"{_text(host)} was wanted, and --offline forbids the network")


def _is_here(host: object) -> bool:
    """Whether an address is this machine's own: processes that work together talk over it."""
    name = _text(host)
    if name in ("", "None", "localhost", "ip6-localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _text(host: object) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host)
