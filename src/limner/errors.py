"""The exceptions of limner, as a tree; every message states what was expected, what was found and how to proceed.

LimnerError
├── InputError (ValueError)      a setting, prompt, picture or name that cannot be used
│   ├── PictureError             a picture that cannot be read or is unsuitable for training
│   ├── PromptError              a prompt that is empty, too long or does not name its subject
│   ├── ChoiceNeeded             a person is to choose among pictures before training goes on
│   └── UnknownName              a method, base or part that does not exist; suggests the nearest
├── FileError                    a file that is damaged, of another kind, or must not be replaced
│   └── WrongBase                a concept or adapter made for another base
├── CheckError                   a concept fails its certificate
├── TeachingError                training cannot go on (a loss that is not a number)
├── PaintingError                sampling cannot go on (latents or pictures that are not finite numbers)
└── MissingExtra (ImportError)   an optional dependency; the message has the install line
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class LimnerError(Exception):
    """Base class of every error that limner raises on purpose."""


class InputError(LimnerError, ValueError):
    """An input of the user cannot be used."""


class PictureError(InputError):
    """A picture cannot be read or is unsuitable for training."""


class PromptError(InputError):
    """A prompt is empty, too long or does not name its subject."""


class ChoiceNeeded(InputError):
    """A person is to choose among pictures before training goes on: at most `keep` of those in `folder`, whose numbers
    are their places in `prompts`."""

    folder = Path()
    prompts: Sequence[str] = ()
    keep = 0


class UnknownName(InputError):
    """There is no method, base or part of that name."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names)}."
        super().__init__(f"there is no {what} {name!r}; {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        # pickling an error, to hand it to another process, calls its class with the message alone
        return _again, (str(self),)


def _again(message: str) -> UnknownName:
    error = UnknownName.__new__(UnknownName)
    error.args = (message,)
    return error


class FileError(LimnerError):
    """A file is damaged, of another kind, or must not be replaced."""


class WrongBase(FileError):
    """A concept or adapter was made for another base."""


class CheckError(LimnerError):
    """A concept fails its certificate."""


class TeachingError(LimnerError):
    """Training cannot go on. `checkpoint` is the last good state, where there is one."""

    checkpoint: Any = None


class PaintingError(LimnerError):
    """Sampling cannot go on: latents or pixels are not finite numbers."""


class MissingExtra(LimnerError, ImportError):
    """An optional dependency is missing."""
