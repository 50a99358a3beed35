"""Methods and settings that clients may name: limner's own methods, and no setting that opens a file or runs code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from limner.core.method import Setting, settings
from limner.errors import InputError, UnknownName
from limner.library.settings import checked_settings

OPENS = re.compile(r"FILE|folder|hub id|function \(", re.ASCII)
"""Pattern in the help of a setting whose value may be a folder, a model, or code."""


def check_method(name: object, known: Mapping[str, object]) -> None:
    """Raise `UnknownName` for anything but one of limner's own methods, those in `known`; a file with a method would be
    run."""
    if name and (not isinstance(name, str) or name not in known):
        raise UnknownName("method", str(name)[:100], known)


def check_settings(method: str, given: object, known: Mapping[str, Callable[..., Any]]) -> None:
    """Raise `InputError` for a setting that would open a file or a model, or run code, on the server, and, where the
    method is named, for one that it does not have or that is outside of its limits."""
    if not isinstance(given, Mapping):
        raise InputError(f"settings must be a table, not {str(given)[:80]!r}")
    # without a method, one is chosen later, and any of `known` may be
    where = f" of {method}" if method else ""
    possible = ([method] if method else list(known)) if given else []
    for setting in (each for name in possible for each in settings(known[name]) if each.name in given):
        if opens(setting) and given[setting.name] not in allowed(setting):
            raise InputError(
                f"{setting.name}{where} names a file, a model or code on the server, which only its operator may name; "
                "leave it out"
            )
    if method:
        checked_settings(known[method], given)


def opens(setting: Setting) -> bool:
    """Whether a setting's value may be a folder, a model, or code."""
    return setting.type is str and bool(OPENS.search(setting.help))


def allowed(setting: Setting) -> set[str]:
    """The values of such a setting that clients may give: its default, and the words in quotes in its help."""
    return {setting.default, *re.findall(r'"([a-z]+)"', setting.help)}
