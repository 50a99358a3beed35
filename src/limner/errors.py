"""What can go wrong, as a tree; every message says what was expected, what was found and what to do.

LimnerError
├── InputError (ValueError)      a setting, prompt, picture or name that cannot be used
│   ├── PictureError             a picture that cannot be read or is no good to learn from
│   ├── PromptError              a prompt that is empty, too long or does not name its subject
│   └── UnknownName              a method, base or part that does not exist; suggests the nearest
├── FileError                    a file that is damaged, of another kind, or in the way
│   └── WrongBase                a concept or adapter made for another base
├── CheckError                   a concept fails its certificate
├── TeachingError                teaching cannot go on (a loss that is not a number)
├── PaintingError                painting cannot go on (latents or pictures that are not finite numbers)
└── MissingExtra (ImportError)   an optional dependency; the message has the install line
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class LimnerError(Exception):
    """The root: everything limner raises on purpose."""


class InputError(LimnerError, ValueError):
    """Something the user gave cannot be used."""


class PictureError(InputError):
    """A picture cannot be read or is no good to learn from."""


class PromptError(InputError):
    """A prompt is empty, too long or does not name its subject."""


class UnknownName(InputError):
    """There is no method, base or part of that name."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names)}."
        super().__init__(f"there is no {what} {name!r}; {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (str(self),)  # between processes


def _again(message: str) -> UnknownName:
    error = UnknownName.__new__(UnknownName)
    error.args = (message,)
    return error


class FileError(LimnerError):
    """A file is damaged, of another kind, or in the way."""


class WrongBase(FileError):
    """A concept or adapter was made for another base."""


class CheckError(LimnerError):
    """A concept fails its certificate."""


class TeachingError(LimnerError):
    """Teaching cannot go on. `checkpoint` is the last good state, where there is one."""

    checkpoint: Any = None


class PaintingError(LimnerError):
    """Painting cannot go on: what was painted is no picture."""


class MissingExtra(LimnerError, ImportError):
    """An optional dependency is missing."""
