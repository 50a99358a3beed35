"""The published methods. The folder is the registry: every function in it that carries `@method` is a method.

Those of scope "defence" protect photographs and make no concept, so they are a list of their own: `protections`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from limner.core.method import Card
from limner.core.recipe import Recipe
from limner.errors import FileError, InputError, UnknownName

DEFAULT = "lora_dreambooth"


DEFENCE = "defence"
"""Scope of the methods that protect photographs."""


@functools.cache
def methods() -> dict[str, Callable[..., Recipe]]:
    """Every method that makes a concept by name, in alphabetical order. Two methods of one name raise `ImportError`."""
    return {name: function for name, function in _every().items() if DEFENCE not in card(function).scope}


@functools.cache
def protections() -> dict[str, Callable[..., Recipe]]:
    """Every method that protects photographs by name, in alphabetical order. Its recipe's artefacts are the protected
    copies."""
    return {name: function for name, function in _every().items() if DEFENCE in card(function).scope}


@functools.cache
def _every() -> dict[str, Callable[..., Recipe]]:
    functions: dict[str, Callable[..., Recipe]] = {}
    for info in pkgutil.walk_packages(__path__, f"{__name__}."):
        for function in _marked(importlib.import_module(info.name)):
            if function.__name__ in functions:
                raise ImportError(f"two methods are called {function.__name__!r}; rename the one in {info.name}")
            functions[function.__name__] = function
    return dict(sorted(functions.items()))


def find(name: str) -> Callable[..., Recipe]:
    """The method of that name, or of "file.py:function". Naming a file here means trusting it: the file is run, and
    concepts of that method may use it from then on (see `named`)."""
    if ".py" in name:
        return remember(_from_file(name))
    if name in protections():
        raise InputError(f"{name} protects photographs and learns no concept: limner protect PHOTOS --method {name}")
    if name not in methods():
        raise UnknownName("method", name, methods())
    return methods()[name]


def find_protection(name: str) -> Callable[..., Recipe]:
    """The method of that name that protects photographs. Raises `UnknownName` for any other."""
    if name not in protections():
        raise UnknownName("method of protection", name, protections())
    return protections()[name]


def named(name: str, sha256: str = "", *, by: str) -> Callable[..., Recipe]:
    """The method that a concept's file names: one of limner's own, or one that the user named before, in `find` or as a
    function. A concept's file alone never runs code. Raises `FileError` for a method that the user has not named; warns
    when the method's file has changed, by its `sha256`.

    `by` is the file or handle that names the method, for messages.
    """
    if ".py" not in name:
        return find(name)
    function = _named.get(name) or _named.get(name.rpartition(":")[2])
    if function is None:
        raise FileError(
            f"{by} was learned by {name}, a method that is not limner's own, and a file never names code to run. If "
            "you have that method "
            "and trust it, name it: --method FILE.py:function, or --trust to run the file named here (in Python: "
            'limner.methods.find("FILE.py:function") before, or Concept.load(…, trust=True))'
        )
    if sha256 and (now := code_sha256(function)) != sha256:
        warnings.warn(
            f"{by} was learned by another version of {place_of(function)} (SHA-256 {sha256[:12]}, now {now[:12]}): "
            "it may paint "
            "something else",
            stacklevel=3,
        )
    return function


_named: dict[str, Callable[..., Recipe]] = {}
"""Methods from files that the user named in this process, by "/path/file.py:function" and by "function"."""


def remember(function: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Register a method that the user named; limner's own need no registration."""
    if place := place_of(function):
        _named[place] = _named[place.rpartition(":")[2]] = function
    return function


def place_of(function: Callable[..., Recipe]) -> str:
    """ "/path/file.py:function" of a method that is not limner's own; empty for one that is."""
    name = getattr(function, "__name__", "")
    if methods().get(name) is function:
        return ""
    code = getattr(function, "__code__", None)
    if code is None:
        raise InputError(f"{function!r} is no function marked with @method")
    return f"{Path(code.co_filename).resolve()}:{name}"


def code_sha256(function: Callable[..., Recipe]) -> str:
    """SHA-256 of the file of a method that is not limner's own; empty for one that is, and for one without a file."""
    place = place_of(function)
    path = Path(place.rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest() if place and path.is_file() else ""


def card(function: Callable[..., Recipe]) -> Card:
    """The card of a method."""
    method_card: Card = function.card  # type: ignore[attr-defined]  # set by `method`
    return method_card


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
    # dataclasses of the file look up the names in their annotations there
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    functions = {function.__name__: function for function in _marked(module)}
    if not functions:
        raise InputError(f"{path} has no function marked with @method")
    if not wanted and len(functions) == 1:
        return next(iter(functions.values()))
    if wanted not in functions:
        raise UnknownName(f"method in {path.name}", wanted, functions)
    return functions[wanted]
