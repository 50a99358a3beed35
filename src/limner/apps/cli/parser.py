"""The parser of the command line: strict, and with a hint for words that it does not know."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from limner.apps.door import UsageError

from .aliases import advice


class Parser(argparse.ArgumentParser):
    """A parser that refuses abbreviated and repeated flags, and raises `UsageError` where argparse prints and exits."""

    def __init__(self, *names: Any, **more: Any) -> None:
        super().__init__(*names, **{"allow_abbrev": False, **more})
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. `{self.prog} --help` lists all flags")

    def parse_args(self, arguments: Any = None, namespace: Any = None) -> Any:
        given, rest = self.parse_known_args(arguments, namespace)
        if rest:
            raise UsageError(_unknown(rest, getattr(given, "parser", self), given))
        return given

    @property
    def flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


class _Once(argparse.Action):
    """Store a flag's value; a second one is an error."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        seen: set[str] = namespace.__dict__.setdefault("_seen", set())
        if option_string and self.dest in seen:
            several = "; give all its values after one" if self.nargs in ("+", "*") else ""
            raise argparse.ArgumentError(self, f"given twice{several or '; give it once'}")
        if option_string:
            seen.add(self.dest)
        setattr(namespace, self.dest, values)


def _unknown(rest: Sequence[str], parser: Parser, given: argparse.Namespace) -> str:
    """One line about the first word that no flag or argument takes."""
    word = next((w for w in rest if w.startswith("-")), rest[0]).partition("=")[0]
    if not word.startswith("-"):
        return (
            f"{word!r} is one word too many; text with spaces goes between quotes. `{parser.prog} --help` lists "
            "all flags"
        )
    known = [flag for flag in parser.flags if not flag.startswith("--no-")]
    message = advice(word, known, method=getattr(given, "method", None))
    if message:
        return message
    near = [flag for flag in known if flag.startswith(word)] or difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else f"`{parser.prog} --help` lists all flags"
    return f"there is no flag {word}; {hint}"
