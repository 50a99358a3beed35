"""The published methods. The folder is the registry: every function marked with `@method` in it is one."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from limner.errors import FileError, InputError, UnknownName
from limner.recipe import Card, Recipe

DEFAULT = "lora_dreambooth"


@functools.cache
def methods() -> dict[str, Callable[..., Recipe]]:
    """Every method by name, in the order of the alphabet. Two of one name are an error."""
    found: dict[str, Callable[..., Recipe]] = {}
    for info in pkgutil.walk_packages(__path__, f"{__name__}."):
        for function in _marked(importlib.import_module(info.name)):
            if function.__name__ in found:
                raise ImportError(f"two methods are called {function.__name__!r}; rename the one in {info.name}")
            found[function.__name__] = function
    return dict(sorted(found.items()))


def find(name: str) -> Callable[..., Recipe]:
    """The method of that name, or of "file.py:function"."""
    if ".py" in name:
        return _from_file(name)
    if name not in methods():
        raise UnknownName("method", name, methods())
    return methods()[name]


def card(function: Callable[..., Recipe]) -> Card:
    """What is known of a method."""
    found: Card = function.card  # type: ignore[attr-defined]  # put there by `method`
    return found


def _marked(module: ModuleType) -> list[Any]:
    own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    return [value for value in own if isinstance(getattr(value, "card", None), Card)]


@functools.cache
def _from_file(name: str) -> Callable[..., Recipe]:
    file, _, wanted = name.partition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise FileError(f"there is no method file {path}; expected FILE.py:function")
    spec = importlib.util.spec_from_file_location(f"limner_method_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {function.__name__: function for function in _marked(module)}
    if not found:
        raise InputError(f"{path} has no function marked with @method")
    if not wanted and len(found) == 1:
        return next(iter(found.values()))
    if wanted not in found:
        raise UnknownName(f"method in {path.name}", wanted, found)
    return found[wanted]
