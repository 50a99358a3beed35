"""Find subjects that share a rare token: it is chosen by the letters of a name, so two names may get the same one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.headers import subject_cards
from limner.core.subject import Subject
from limner.errors import InputError, LimnerError
from limner.methods import find, methods

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.recipe import Answer

MOST = 100
"""Largest number of concepts in a folder whose headers are read."""


def words_of(base: Base, method: str, settings: Mapping[str, Any], handle: str, noun: str) -> str:
    """The words, with a rare token, that replace a subject's handle in prompts; empty for a method without a rare
    token."""
    recipe = find(method)(Subject(handle, noun), **settings)
    return "" if isinstance(recipe.says, str) else recipe.words(base)


def taken_words(base: Base, folder: Path) -> dict[str, str]:
    """Words in prompts -> handle, for the concepts in a folder that were learned on this base.

    Only headers are read, and no method from a Python file runs. A concept that cannot be read is skipped, since
    nothing is sampled with it here.
    """
    handle_of: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors"))[:MOST] if folder.is_dir() else ():
        about = _header(path)
        try:
            for own in (about.get("members") or [about]) if about["base"]["fingerprint"] == base.fingerprint else ():
                if own["method"] in methods():
                    for card in subject_cards(own["subject"]):
                        handle, noun = str(card["handle"]), str(card["noun"])
                        handle_of.setdefault(words_of(base, own["method"], own["settings"], handle, noun), handle)
        except (KeyError, TypeError, ValueError, AttributeError, LimnerError):
            continue
    handle_of.pop("", None)
    return handle_of


def note_of(handle: str, taken: Mapping[str, str], words: Callable[[str], str]) -> str:
    """A note for the user where two subjects share a rare token, with a name that avoids this; empty where they do not.

    handle: the new subject's handle
    taken: words in prompts -> handle of another subject
    words: handle -> the words that replace it in prompts
    """
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
    """A note for each subject that shares its rare token with an earlier subject, or with a concept in the folder."""
    taken, notes = taken_words(base, folder), []
    for subject in subjects:

        def words(handle: str, noun: str = subject.noun) -> str:
            return words_of(base, method, settings, handle, noun)

        note = note_of(subject.handle, taken, words)
        notes += [note] if note else []
        taken.setdefault(words(subject.handle), subject.handle)
    return notes


def check_words(base: Base, answers: Sequence[Answer]) -> None:
    """Raise `InputError` where two handles of one concept become the same rare token.

    base: the base
    answers: the handles with the words that replace them
    """
    handle_of: dict[str, str] = {}
    for handle, says, _ in answers:
        if isinstance(says, str):
            continue
        other = handle_of.setdefault(says(base), handle)
        if other != handle:
            raise InputError(
                f"{other} and {handle} were both trained as {says(base)!r} on {base.name}, so a prompt could not tell "
                "them apart; learn one of them again under another --name"
            )


def _header(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {}).get("limner", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}
