"""A method: a function that returns a recipe, its card and its settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True)
class Card:
    """What is known of a published method."""

    name: str
    title: str
    arxiv: str  # its identifier; empty for what is not there
    year: int
    scope: tuple[str, ...]
    venue: str = ""  # where it appeared, of what is not on arXiv

    @property
    def source(self) -> str:
        """As Markdown: a link to arXiv, or the venue."""
        return f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else self.venue


class Setting(NamedTuple):
    """A keyword argument of a method: declared once, in its signature."""

    name: str
    type: type
    default: Any
    help: str


Method: TypeAlias = "Callable[..., Recipe]"


def method(
    *, title: str, scope: Sequence[str], arxiv: str = "", venue: str = "", year: int = 0
) -> Callable[[Method], Method]:
    """Mark a function of a `Subject` as a method: attaches its card and returns the function unchanged.

    `arxiv` is the identifier ("2208.12242"), whose first two digits give the year; a paper that is not on arXiv has a
    `venue` and a `year` instead, and a method of your own needs neither. Raises `TypeError` when a setting lacks a type, a default or
    a line of help.
    """

    def attach(function: Method) -> Method:
        if (arxiv and (venue or year)) or bool(venue) != bool(year):
            raise TypeError(f"method {function.__name__!r} has either arxiv=, or venue= and year=, or none of them")
        when = 2000 + int(arxiv[:2]) if arxiv else year
        card = Card(function.__name__, title, arxiv, when, tuple(scope), venue)
        function.card = card  # type: ignore[attr-defined]  # functions stay functions; `card` reads it back
        settings(function)
        return function

    return attach


@functools.cache
def settings(function: Method) -> tuple[Setting, ...]:
    """The settings of a method, read from its signature and the `Settings:` lines of its docstring."""
    helps = _helps(inspect.getdoc(function) or "")
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        kind = {"int": int, "float": float, "str": str, "bool": bool}.get(
            getattr(parameter.annotation, "__name__", parameter.annotation)
        )
        if kind is None or parameter.default is parameter.empty or parameter.name not in helps:
            raise TypeError(
                f"setting {parameter.name!r} of method {function.__name__!r} needs a type (int, float, str or bool), a default, "
                f"and a line '{parameter.name}: …' under 'Settings:' in the docstring"
            )
        found.append(Setting(parameter.name, kind, parameter.default, helps[parameter.name]))
    return tuple(found)


def _helps(doc: str) -> dict[str, str]:
    lines = doc.partition("Settings:")[2].splitlines()
    pairs = (line.strip().partition(": ") for line in lines if ": " in line)
    return {name: text for name, _, text in pairs if name.isidentifier()}
