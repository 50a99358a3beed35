"""A folder of pictures as it was recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limner.core.subject import Reference, Subject, check_name, picture_notes, small_notes
from limner.core.wording import counted, first_of, listed
from limner.errors import InputError

from .words import handled, usable

USUAL_SIDE = 512
"""Pixels a side that most bases paint, for a note on pictures before a base is known."""


@dataclass(frozen=True)
class Item:
    """One picture of a data set."""

    path: Path
    caption: str = ""
    mask: Path | None = None
    repeats: int = 1
    concept: str = ""  # which of the folder's subjects it shows, as its files call it


@dataclass
class Found:
    """A folder, recognised."""

    folder: Path
    layout: str
    items: list[Item]
    noun: str = ""  # as its files say
    token: str = ""  # how its captions call the subject
    regular: list[Path] = field(default_factory=list)  # pictures of the class
    stray: list[str] = field(default_factory=list)  # files that are nothing here
    references: list[Reference] = field(default_factory=list, repr=False)
    doubles: list[tuple[str, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # what its files say that is not used

    @property
    def concepts(self) -> list[str]:
        """The subjects that its files tell apart."""
        return sorted({item.concept for item in self.items if item.concept})

    @property
    def notes(self) -> list[str]:
        """What is lost of pictures and masks."""
        return [*picture_notes(self.references), *small_notes(self.references, USUAL_SIDE)]

    @property
    def record(self) -> dict[str, Any]:
        sizes = sorted({r.image.size for r in self.references if r.image is not None})
        return {
            "folder": str(self.folder),
            "layout": self.layout,
            "pictures": len(self.items),
            "captions": sum(bool(item.caption) for item in self.items),
            "masks": sum(r.mask is not None for r in self.references),
            "repeats": sorted({item.repeats for item in self.items}),
            "sizes": [f"{w}x{h}" for w, h in sizes],
            "class_pictures": len(self.regular),
            "noun": self.noun,
            "token": self.token,
            "near_duplicates": [list(pair) for pair in self.doubles],
            "stray": self.stray,
            "unused": self.unused,
            "concepts": self.concepts,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        r = self.record
        sizes = r["sizes"] if len(r["sizes"]) < 5 else [r["sizes"][0], "…", r["sizes"][-1]]
        lines = [
            f"{self.folder}: {self.layout}",
            f"{counted(r['pictures'], 'picture')} ({', '.join(sizes)}), {counted(r['captions'], 'caption')}, "
            f"{counted(r['masks'], 'mask')}",
        ]
        if self.noun or self.token:
            lines.append(f"class: {self.noun or 'not said'}; called: {self.token or 'nothing of its own'}")
        if self.regular:
            lines.append(f"{counted(len(self.regular), 'picture')} of the class beside it")
        if r["repeats"] != [1]:
            lines.append(f"repeats: {', '.join(map(str, r['repeats']))}")
        lines += alike_lines(self.doubles)
        if len(self.concepts) > 1:
            lines.append(f"several subjects: {', '.join(self.concepts)}; teach them one by one")
        lines += first_of([f"not read: {name}" for name in self.stray])
        lines += [f"not used: {what}" for what in self.unused]
        lines += self.notes
        return "\n".join(lines)

    def subject(self, *, noun: str = "", name: str = "", **more: Any) -> Subject:
        """The subject, its captions with the handle where they had the data set's own word, or the name that is
        given. Raises `InputError` where neither the folder nor the caller says what it is, and for a folder of
        several subjects."""
        if len(self.concepts) > 1:
            raise InputError(
                f"{self.folder} holds several subjects ({', '.join(self.concepts)}), which are not taught as one: "
                "name the folder of "
                "one of them, or teach all of them, each on its own, with --together"
            )
        noun = noun or self.noun
        if not noun:
            raise InputError(f"{self.folder} does not say what it shows; say --class dog, or what it is")
        handle = f"<{check_name(name or usable(self.token) or 'my' + ''.join(filter(str.isalnum, noun)))}>"
        tokens = [token for token in (self.token, name.strip("<>")) if token]
        pictures = [
            replace(reference, caption=handled(item.caption, tokens, noun, handle) if item.caption else "")
            for item, reference in zip(self.items, self.references, strict=True)
        ]
        return Subject.of(pictures, noun=noun, handle=handle, **more)


def alike_lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Near-duplicates in groups: a picture is in one with every picture that it is like, directly or by others."""
    groups: list[list[str]] = []
    for pair in pairs:
        met = [group for group in groups if set(pair) & set(group)]
        groups = [group for group in groups if group not in met]
        groups.append(list(dict.fromkeys(name for group in (*met, pair) for name in group)))
    return first_of([
        f"near-duplicates: {' and '.join(group)}" if len(group) == 2 else f"{len(group)} nearly alike: {listed(group, 4)}"
        for group in groups
    ])  # fmt: skip
