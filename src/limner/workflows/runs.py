"""Facts of a run that several workflows write down."""

from __future__ import annotations


def versions() -> dict[str, str]:
    """Versions of the libraries used."""
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}
