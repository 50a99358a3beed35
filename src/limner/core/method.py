"""A method: a function that returns a recipe, its card and its settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True)
class Card:
    """The facts about a published method."""

    name: str
    title: str
    arxiv: str  # identifier of the paper; empty for a paper that is not on arXiv
    year: int
    scope: tuple[str, ...]
    venue: str = ""  # where a paper appeared that is not on arXiv
    # settings on a full-size base that differ from the signature's
    full_size: Mapping[str, Any] = field(default_factory=dict)
    same: tuple[str, ...] = ()  # settings that a full-size base takes from the signature
    full_size_source: str = ""  # source of the values in `full_size`, or a note that none are published
    reads: tuple[str, ...] = ()  # names of the conditions of `paint` that its concepts read

    @property
    def source(self) -> str:
        """The paper in Markdown: a link to arXiv, or the venue."""
        return f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else self.venue


class Setting(NamedTuple):
    """A keyword argument of a method: declared once, in its signature."""

    name: str
    type: type
    default: Any
    help: str


Method: TypeAlias = "Callable[..., Recipe]"


def method(
    *,
    title: str,
    scope: Sequence[str],
    arxiv: str = "",
    venue: str = "",
    year: int = 0,
    full_size: Mapping[str, Any] | None = None,
    same: Sequence[str] = (),
    source: str = "",
    reads: Sequence[str] = (),
) -> Callable[[Method], Method]:
    """Mark a function of a `Subject` as a method: attach its card to it and return it unchanged.

    Arguments:
        title: name of the method in its paper
        scope: kinds of subjects it is for: "object", "style", "face", ...
        arxiv: identifier ("2208.12242"), whose first two digits give the year; empty for a paper that is not on arXiv,
            and for a method of your own
        venue: where a paper appeared that is not on arXiv
        year: year of such a paper
        full_size: settings that a full-size base needs instead of the signature's, which suit the small base that ships
        same: settings that such a base takes from the signature
        source: source of the values in `full_size`, in plain words, or a note that none are published
        reads: names of the conditions of `paint` that its concepts read, such as "source" and "mask"

    Raises `TypeError` when a setting lacks a type, a default or a line of help, and for a name in `full_size` or `same`
    that is no setting or is in both.
    """

    def attach(function: Method) -> Method:
        if (arxiv and (venue or year)) or bool(venue) != bool(year):
            raise TypeError(f"method {function.__name__!r} has either arxiv=, or venue= and year=, or none of them")
        when = 2000 + int(arxiv[:2]) if arxiv else year
        theirs = dict(full_size or {})
        card = Card(
            function.__name__, title, arxiv, when, tuple(scope), venue, theirs, tuple(same), source, tuple(reads)
        )
        function.card = card  # type: ignore[attr-defined]  # an attribute, so that the function stays a plain function
        _check_full_size(card, {setting.name for setting in settings(function)})
        return function

    return attach


def _check_full_size(card: Card, known: set[str]) -> None:
    """Raise `TypeError` where a setting for a full-size base is unknown to the method or listed twice, or where the
    source is missing."""
    named = [*card.full_size, *card.same]
    if strange := sorted(set(named) - known):
        raise TypeError(f"method {card.name!r} has no setting {strange[0]!r}, which its full_size= or same= names")
    if len(named) != len(set(named)):
        raise TypeError(f"method {card.name!r} has a setting twice in full_size= and same=")
    if named and not card.full_size_source:
        raise TypeError(
            f"method {card.name!r} has settings for full-size bases and no source= that says where they are from"
        )


@functools.cache
def settings(function: Method) -> tuple[Setting, ...]:
    """The settings of a method, read from its signature and the `Settings:` lines of its docstring."""
    helps = _helps(inspect.getdoc(function) or "")
    method_settings = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        kind = {"int": int, "float": float, "str": str, "bool": bool}.get(
            getattr(parameter.annotation, "__name__", parameter.annotation)
        )
        if kind is None or parameter.default is parameter.empty or parameter.name not in helps:
            raise TypeError(
                f"setting {parameter.name!r} of method {function.__name__!r} needs a type (int, float, str or bool), a default, "
                f"and a line '{parameter.name}: …' under 'Settings:' in the docstring"
            )
        method_settings.append(Setting(parameter.name, kind, parameter.default, helps[parameter.name]))
    return tuple(method_settings)


def _helps(doc: str) -> dict[str, str]:
    lines = doc.partition("Settings:")[2].splitlines()
    pairs = (line.strip().partition(": ") for line in lines if ": " in line)
    return {name: text for name, _, text in pairs if name.isidentifier()}
