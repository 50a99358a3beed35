"""A corpus as a list of pictures, which are read on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from limner.core.wording import counted
from limner.errors import FileError, LimnerError, PictureError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.subject import Reference

THREADS = 16
NOUN = "thing"
"""Class noun of a picture without a class."""
SUCH_AS = 5
"""Largest number of examples of each reason in a `Tally`."""


@dataclass(frozen=True)
class Entry:
    """One picture of a corpus: its location, its subject, and the results of checking it."""

    name: str  # for people: a file, a shard's member, a row
    place: Any  # for the reader; a JSON value
    identity: str  # equal for all pictures of one subject
    noun: str = ""
    caption: str = ""
    content: str = ""  # hash of its pixels and its mask
    signs: str = ""  # difference hash, 64 bits in hexadecimal digits
    masked: bool = False  # whether it has a mask


@dataclass
class Tally:
    """Counts of pictures that were left out or noticed, by reason, with the names of a few."""

    counts: dict[str, int] = field(default_factory=dict)  # reason -> number of pictures
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason -> names of the first pictures

    def add(self, why: str, name: str) -> None:
        self.counts[why] = self.counts.get(why, 0) + 1
        if len(self.examples.setdefault(why, [])) < SUCH_AS:
            self.examples[why].append(name)

    def __str__(self) -> str:
        return "; ".join(
            f"{count} {why} ({', '.join(self.examples[why])}{', …' if count > len(self.examples[why]) else ''})"
            for why, count in self.counts.items()
        )


@dataclass(frozen=True)
class Listed:
    """A corpus as a list of pictures from any source."""

    name: str
    entries: tuple[Entry, ...] = field(repr=False)
    read: Callable[[Any], Reference] = field(repr=False, compare=False)  # an entry's place -> its picture
    left_out: Tally = field(default_factory=Tally, compare=False)
    noticed: Tally = field(default_factory=Tally, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        # Subjects by number, since identities may hold paths.
        number = {whose: n for n, whose in enumerate(dict.fromkeys(e.identity for e in self.entries))}
        rows = [(e.content, number[e.identity], e.noun, e.caption) for e in self.entries]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    @cached_property
    def subjects(self) -> Sequence[Sequence[int]]:
        pictures_of: dict[str, list[int]] = {}
        for k, entry in enumerate(self.entries):
            pictures_of.setdefault(entry.identity, []).append(k)
        return list(pictures_of.values())

    @cached_property
    def masked(self) -> bool:
        """Whether every picture has a mask. Masks are not used where only some pictures have one."""
        return all(entry.masked for entry in self.entries)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Contents of the corpus, and counts of pictures that were left out, as JSON values."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "pictures": len(self.entries),
            "subjects": len(self.subjects),
            "captions": sum(bool(e.caption) for e in self.entries),
            "masks": sum(e.masked for e in self.entries),
            "left_out": dict(self.left_out.counts),
            "noticed": dict(self.noticed.counts),
        }

    def __str__(self) -> str:
        r = self.record
        line = (
            f"{self.name}: {counted(r['pictures'], 'picture')} of {counted(r['subjects'], 'subject')}, "
            f"{counted(r['captions'], 'caption')}, {counted(r['masks'], 'mask')}"
        )
        lost, seen = str(self.left_out), str(self.noticed)
        total = sum(self.left_out.counts.values())
        return line + (f"\nleft out, {total}: {lost}" if lost else "") + (f"\nnoticed: {seen}" if seen else "")

    def noun(self, picture: int) -> str:
        return self.entries[picture].noun or NOUN

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        """The picture's own caption with a name for its subject: "the dog on a sofa" -> "<rex> on a sofa". Without a
        class noun, a caption stays unchanged, unless the name is a handle such as <rex>."""
        from limner.core.subject import Subject

        from .caption import named

        entry = self.entries[picture]
        if entry.caption and not entry.noun and "<" not in name:
            return entry.caption
        return named(entry.caption, Subject(name, entry.noun or NOUN))

    def own_caption(self, picture: int, *, seed: int) -> str:
        """The picture's own caption, unchanged; "a photo of a" and its class noun for a picture without one."""
        return self.entries[picture].caption or self.caption(picture, f"a {self.noun(picture)}", seed=seed)

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        from concurrent.futures import ThreadPoolExecutor

        from limner.core.subject import Subject

        with ThreadPoolExecutor(THREADS) as pool:
            seen = Subject("<corpus>", NOUN, tuple(pool.map(self._opened, pictures)))
        masks = seen.masks(size) if self.masked else None
        return (seen.tensor(size) * 255).round().byte(), None if masks is None else (masks * 255).round().byte()

    def cut(self, fits: Callable[[str], bool]) -> Listed:
        """The corpus with captions cut to the longest beginning, in whole words, that fits; `noticed` counts them."""
        noticed = Tally(dict(self.noticed.counts), dict(self.noticed.examples))
        entries = []
        for entry in self.entries:
            short = _shortened(entry.caption, fits)
            if short != entry.caption:
                noticed.add("captions longer than the base reads, cut", entry.name)
            entries.append(replace(entry, caption=short))
        return replace(self, entries=tuple(entries), noticed=noticed)

    def _opened(self, picture: int) -> Reference:
        entry = self.entries[picture]
        try:
            return self.read(entry.place)
        except LimnerError as error:
            raise PictureError(
                f"{entry.name} could be read when {self.name} was listed and cannot be now: {error}. Put it back and run "
                "the same command, which continues from its last checkpoint; or start again without this picture"
            ) from error


def looked_at(entries: Sequence[Entry], read: Callable[[Any], Reference], left_out: Tally) -> list[Entry]:
    """Open each entry's picture once; return the entries that are fit for training.

    entries: the entries to check
    read: an entry's place -> its picture
    left_out: counts the other entries by reason
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(THREADS) as pool:
        seen = list(pool.map(lambda entry: _looked_at(entry, read), entries))
    fit_entries, there = [], set()
    for entry, outcome in zip(entries, seen, strict=True):
        if isinstance(outcome, str):
            left_out.add(outcome, entry.name)
        elif outcome.content in there:
            left_out.add("the same as another picture", entry.name)
        else:
            there.add(outcome.content)
            fit_entries.append(outcome)
    return fit_entries


def _looked_at(entry: Entry, read: Callable[[Any], Reference]) -> Entry | str:
    """The entry with the hashes of its picture, or the reason to leave it out."""
    from .duplicates import difference_signs

    try:
        reference = read(entry.place)
    except (PictureError, FileError):
        return "cannot be read"
    image, mask = reference.image, reference.mask
    assert image is not None
    if mask is not None and mask.size != image.size:
        return "has a mask of another size"
    if mask is not None and not sum(mask.histogram()[128:]):
        return "has an empty mask"
    content = hashlib.sha256(reference.sha256.encode() + (mask.tobytes() if mask is not None else b"")).hexdigest()
    signs = f"{difference_signs(image):016x}"
    return replace(entry, content=content, signs=signs, masked=mask is not None)


def _shortened(caption: str, fits: Callable[[str], bool]) -> str:
    words = caption.split()
    low, high = 0, len(words)
    if fits(caption):
        return caption
    while low < high - 1:  # bisection for the largest number of words that fits
        middle = (low + high) // 2
        low, high = (middle, high) if fits(" ".join(words[:middle])) else (low, middle)
    return " ".join(words[:low])
