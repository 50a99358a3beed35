"""The contents of a folder whose layout was recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limner.core.cameras import cameras_beside
from limner.core.style_captions import in_style
from limner.core.subject import Reference, Subject, check_name, picture_notes, small_notes
from limner.core.wording import counted, first_of, listed
from limner.errors import InputError

from .words import handled, usable

USUAL_SIDE = 512
"""Side in pixels of most bases' pictures, for notes on small pictures before a base is known."""


@dataclass(frozen=True)
class Item:
    """One picture of a data set."""

    path: Path
    caption: str = ""
    mask: Path | None = None
    repeats: int = 1
    concept: str = ""  # the subject's name in the folder's files, where they distinguish several


@dataclass
class Found:
    """The contents of a folder of pictures."""

    folder: Path
    layout: str  # name of the layout, for people
    items: list[Item]
    noun: str = ""  # class noun in its files
    token: str = ""  # word for the subject in its captions
    regular: list[Path] = field(default_factory=list)  # class images (prior preservation)
    stray: list[str] = field(default_factory=list)  # names of files that are not read
    references: list[Reference] = field(default_factory=list, repr=False)  # pictures and masks of `items`
    doubles: list[tuple[str, str]] = field(default_factory=list)  # names of near-duplicates
    unused: list[str] = field(default_factory=list)  # fields of its files that are not used

    @property
    def concepts(self) -> list[str]:
        """Names of the subjects that its files distinguish."""
        return sorted({item.concept for item in self.items if item.concept})

    @property
    def notes(self) -> list[str]:
        """Notes for the user about pictures and masks, such as small ones."""
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
            lines.append(f"class: {self.noun or 'none given'}; token in captions: {self.token or 'none'}")
        if self.regular:
            lines.append(f"{counted(len(self.regular), 'class image')} beside it")
        if r["repeats"] != [1]:
            lines.append(f"repeats: {', '.join(map(str, r['repeats']))}")
        lines += alike_lines(self.doubles)
        if len(self.concepts) > 1:
            lines.append(f"several subjects: {', '.join(self.concepts)}; learn them one by one")
        lines += first_of([f"not read: {name}" for name in self.stray])
        lines += [f"not used: {what}" for what in self.unused]
        lines += self.notes
        return "\n".join(lines)

    def subject(self, *, noun: str = "", name: str = "", **more: Any) -> Subject:
        """The subject of the folder; its handle replaces the data set's token in captions.

        noun: class noun, in place of the folder's own; empty keeps this
        name: name of the subject, without "<" and ">"; empty takes the token, or "my" and the class noun
        more: further fields of `Subject.of`

        Raises `InputError` without a class noun, and for a folder with several subjects.
        """
        if len(self.concepts) > 1:
            raise InputError(
                f"{self.folder} holds several subjects ({', '.join(self.concepts)}), which cannot be learned as one: "
                "name the folder of one of them, or learn each on its own with --together"
            )
        noun = noun or self.noun
        if not noun:
            raise InputError(f"{self.folder} names no class; add its class noun, such as --class dog")
        handle = f"<{check_name(name or usable(self.token) or 'my' + ''.join(filter(str.isalnum, noun)))}>"
        tokens = [token for token in (self.token, name.strip("<>")) if token]
        kind = more.get("kind", "object")
        pictures = [
            replace(reference, caption=_caption(item.caption, tokens, noun, handle, kind) if item.caption else "")
            for item, reference in zip(self.items, self.references, strict=True)
        ]
        return Subject.of(pictures, noun=noun, handle=handle, **{"views": cameras_beside(self.folder), **more})


def _caption(caption: str, tokens: Sequence[str], noun: str, handle: str, kind: str) -> str:
    """A caption with the subject's handle; a style's caption that does not name the style says that it is in it."""
    changed = handled(caption, tokens, noun, handle)
    return in_style(caption, handle, noun) if kind == "style" and changed == f"{handle}, {caption}" else changed


def alike_lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Lines that list near-duplicates in groups; two pictures share a group if a chain of pairs connects them."""
    groups: list[list[str]] = []
    for pair in pairs:
        met = [group for group in groups if set(pair) & set(group)]
        groups = [group for group in groups if group not in met]
        groups.append(list(dict.fromkeys(name for group in (*met, pair) for name in group)))
    return first_of([
        f"near-duplicates: {' and '.join(group)}" if len(group) == 2 else f"{len(group)} nearly alike: {listed(group, 4)}"
        for group in groups
    ])  # fmt: skip
