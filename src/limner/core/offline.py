"""`--offline`: no access to the network, by limner or by any library that it uses."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCHES = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "offline"}
"""Environment variables that make libraries work offline; the libraries read them when they are imported."""
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

_forbidden = [False]
_watching = [False]


class Offline(OSError):
    """An attempt to use the network while `--offline` forbids it."""


@contextmanager
def staying_offline() -> Iterator[None]:
    """While inside, libraries use their caches only, and a connection to another machine raises `Offline`."""
    before = {name: os.environ.get(name) for name in SWITCHES}
    os.environ |= SWITCHES
    constants = sys.modules.get("huggingface_hub.constants")
    online = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants is not None:  # it was imported before, when the variable was not set
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # mypy sees a module without attributes
    if not _watching[0]:
        sys.addaudithook(_watch)  # hooks cannot be removed, so this one reads `_forbidden`
        _watching[0] = True
    _forbidden[0] = True
    try:
        yield
    finally:
        _forbidden[0] = False
        if constants is not None:
            constants.HF_HUB_OFFLINE = online  # type: ignore[attr-defined]  # the value before
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
        return  # a socket in the file system, within this machine
    host = place[0] if isinstance(place, tuple) and place else place
    if not _is_here(host):
        raise Offline(f"a connection to {_text(host)} was attempted, and --offline forbids the network")


def _is_here(host: object) -> bool:
    """Whether an address is this machine's own, over which the processes of one run communicate."""
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
