"""Versions of the libraries that results depend on."""

from __future__ import annotations

from importlib.metadata import version

LIBRARIES = ("limner", "torch", "diffusers", "transformers")


def versions() -> dict[str, str]:
    """Name of each of LIBRARIES -> its installed version."""
    return {name: version(name) for name in LIBRARIES}
