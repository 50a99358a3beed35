"""Names that keep subjects apart: a rare word is chosen by a name's letters, and two names may get one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.subject import Subject
from limner.errors import LimnerError
from limner.methods import find, methods

if TYPE_CHECKING:
    from limner.core.base import Base

MOST = 100  # concepts of a folder that are looked at


def words_of(base: Base, method: str, settings: Mapping[str, Any], handle: str, noun: str) -> str:
    """The words that a method says for a subject on a base; empty where it does not take a rare word."""
    recipe = find(method)(Subject(handle, noun), **settings)
    return "" if isinstance(recipe.says, str) else recipe.words(base)


def taken_words(base: Base, folder: Path) -> dict[str, str]:
    """What the concepts in a folder that were taught on this base are read as -> their handles. Only headers are read,
    and no method of a file is run; what cannot be read is left out, since nothing is to be painted with it here."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors"))[:MOST] if folder.is_dir() else ():
        about = _header(path)
        try:
            for own in (about.get("members") or [about]) if about["base"]["fingerprint"] == base.fingerprint else ():
                if own["method"] in methods():
                    handle, noun = str(own["handle"]), str(own["subject"]["noun"])
                    found.setdefault(words_of(base, own["method"], own["settings"], handle, noun), handle)
        except (KeyError, TypeError, ValueError, AttributeError, LimnerError):
            continue
    found.pop("", None)
    return found


def note_of(handle: str, taken: Mapping[str, str], words: Callable[[str], str]) -> str:
    """A line where a subject would be read as another one is, with a name that would not; `words` says what a handle is
    read as."""
    other = taken.get(words(handle))
    if not words(handle) or other in (None, handle):
        return ""
    bare = handle.strip("<>")
    free = next((f"{bare}{k}" for k in range(2, 100) if words(f"<{bare}{k}>") not in taken), "")
    hint = f"; --name {free} keeps them apart" if free else ""
    return f"{handle} and {other} are both read as {words(handle)!r}, so a prompt cannot name both{hint}"


def notes_of(
    base: Base, subjects: Sequence[Subject], method: str, settings: Mapping[str, Any], folder: Path
) -> list[str]:
    """A line for each subject that could not be told from one before it, or from a concept in the folder."""
    taken, notes = taken_words(base, folder), []
    for subject in subjects:

        def words(handle: str, noun: str = subject.noun) -> str:
            return words_of(base, method, settings, handle, noun)

        note = note_of(subject.handle, taken, words)
        notes += [note] if note else []
        taken.setdefault(words(subject.handle), subject.handle)
    return notes


def _header(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {}).get("limner", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}
