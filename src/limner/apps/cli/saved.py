"""A command's settings in a file: `--save-config run.toml` writes them, `--config run.toml` reads them."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.core.escaping import toml_value
from limner.core.files import check_folder, write_text
from limner.errors import FileError, UnknownName

NOT_SAVED = ("help", "config", "save_config", "json", "resume", "overwrite")
SIGN = "# settings of limner; the words typed go before them"
"""The first line of a settings file, by which limner recognises its own."""
Values = Mapping[str, Any]


def read_settings(path: Path, command: str) -> dict[str, Any]:
    """Read a command's settings from a TOML file: those at its top, and those under [COMMAND]. Raises `FileError`."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"the settings file {path} is not TOML: {error}") from error
    own = settings.get(command, {})
    if not isinstance(own, dict):
        raise FileError(f"[{command}] in the settings file {path} must be a table of settings")
    top = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    return {_name(key): value for key, value in {**top, **own}.items()}


def preset(parser: argparse.ArgumentParser, values: Values, path: Path) -> None:
    """Make a file's settings the defaults of a command, so that flags on the command line take precedence. Raises
    `FileError` for a value that a flag cannot have, `UnknownName` for a setting that the command does not have."""
    actions = {name: action for action in parser._actions for name in _names(action)}
    for key, value in values.items():
        if key not in actions or actions[key].dest in NOT_SAVED[:3]:
            raise UnknownName(f"setting of {parser.prog} (in {path})", key, [a.dest for a in actions.values()])
        action = actions[key]
        action.default = _typed(action, value, f"{key} in {path}")
        action.required = False
        # the file may give a positional argument, which is then optional
        if not action.option_strings:
            action.nargs = "*" if action.nargs == "+" else "?"


def save_settings(path: Path, given: argparse.Namespace, *, command: str, defaults: Values) -> None:
    """Write the settings that differ from the defaults as TOML, whether typed or read from another settings file."""
    lines = [SIGN, f"[{command}]"]
    for name, before in defaults.items():
        value = getattr(given, name, before)
        if name not in NOT_SAVED and value != before and value is not None:
            lines.append(f"{name} = {toml_value(_plain(value))}")
    check_folder(path.parent)
    if path.exists() and not path.read_bytes().startswith(SIGN.encode()):
        raise FileError(f"{path} was not written by --save-config, so it is not replaced; choose another name")
    write_text(path, "\n".join(lines) + "\n", overwrite=True)


def defaults_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The default of every flag of a command, by name."""
    return {action.dest: action.default for action in parser._actions if action.dest not in NOT_SAVED}


def _names(action: argparse.Action) -> list[str]:
    """The names that a settings file may use for a flag: its long forms without dashes, and the argument's own name."""
    flags = [
        _name(flag.lstrip("-"))
        for flag in action.option_strings
        if flag.startswith("--") and not flag.startswith("--no-")
    ]
    return list(dict.fromkeys([*flags, action.dest]))


def _name(key: str) -> str:
    return key.replace("-", "_")


def _typed(action: argparse.Action, value: Any, what: str) -> Any:
    """A TOML value, converted as the flag would convert its text. Raises `FileError`."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise FileError(f"{what} must be true or false, not {value!r}")
        return value
    if isinstance(action.nargs, int) or action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction):
        if not isinstance(value, list):
            raise FileError(f"{what} must be a list, not {value!r}")
        return [_one(action, each, what) for each in value]
    return _one(action, value, what)


def _one(action: argparse.Action, value: Any, what: str) -> Any:
    if isinstance(value, (list, dict, bool)):
        raise FileError(f"{what} must be one text or number, not {value!r}")
    try:
        setting = action.type(str(value)) if callable(action.type) else str(value)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise FileError(f"{what} cannot be {value!r}: {error}") from error
    if action.choices is not None and setting not in action.choices:
        raise FileError(f"{what} must be one of {', '.join(map(str, action.choices))}, not {value!r}")
    return setting


def _plain(value: Any) -> Any:
    """A value in types that TOML can hold."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
