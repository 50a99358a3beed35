"""Published sets of subjects and prompts, read in their published layout, and the toys of the pocket world.

No published set ships with limner: give the folder of your own copy. Subjects that a list names and the folder lacks
are reported in `absent`; the others are read.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from limner.core.consent import Consent
from limner.core.subject import SUFFIXES, Subject, read_picture
from limner.core.untrusted import inside, plain_text
from limner.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from limner.pocket.world.grammar import Prompt


IN_DATA_SET = Consent("a person of a data set, under its licence", guardian="the data set's licence")
"""Consent for the faces of data sets: whoever loads a data set has agreed to its terms."""


@dataclass(frozen=True)
class Member:
    """One subject of a case: its name, class noun, kind, and its real pictures as files (or as pictures, for toys)."""

    name: str
    noun: str
    kind: str
    pictures: tuple[Path, ...] = ()
    images: tuple[Image.Image, ...] = field(default=(), repr=False, compare=False)
    held_out: tuple[Image.Image, ...] = field(default=(), repr=False, compare=False)
    looks: str = ""  # in words, where they are known
    known: Mapping[str, str] = field(default_factory=dict, compare=False)  # attributes of a toy, by the judge's fields
    # the camera of each picture: azimuth around the subject and elevation in degrees, and distance; empty: unknown
    views: tuple[tuple[float, float, float], ...] = ()

    def load(self) -> list[Image.Image]:
        """The pictures as RGB. Raises `PictureError` for one that cannot be read."""
        if self.images:
            return list(self.images)
        images = []
        for path in self.pictures:
            image = read_picture(path)[0].image
            assert image is not None
            images.append(image)
        return images

    def subject(self, handle: str, *, pictures: Sequence[Image.Image] | None = None) -> Subject:
        """The subject to learn.

        handle: its handle
        pictures: its reference images; None takes all pictures
        """
        images = list(self.load() if pictures is None else pictures)
        views = self.views if pictures is None else ()
        consent = IN_DATA_SET if self.kind == "face" else None
        return Subject.of(images, noun=self.noun, handle=handle, kind=self.kind, consent=consent, views=views)


@dataclass(frozen=True)
class Case:
    """Subjects, and prompts to paint them by: `{}` stands for the subject, `{0}` and `{1}` for the first and the
    second."""

    name: str
    members: tuple[Member, ...]
    prompts: tuple[str, ...]
    truth: tuple[Prompt, ...] = ()  # ground truth of each prompt, on toys
    draw: Callable[[Sequence[Prompt], Iterable[int]], list[Image.Image]] | None = field(
        default=None, repr=False, compare=False
    )
    """Renders ground-truth pictures of prompts, one for each seed, on toys."""

    @property
    def member(self) -> Member:
        """The one subject. Raises `InputError` when the case has several."""
        if len(self.members) != 1:
            raise InputError(f"{self.name} has {len(self.members)} subjects; expected one")
        return self.members[0]

    def answers(self, seeds: Iterable[int]) -> list[Image.Image]:
        """Ground-truth renders for each prompt, prompt by prompt; empty where they cannot be rendered."""
        return self.draw(self.truth, seeds) if self.draw is not None else []

    def canonical(self, prompt: str) -> str:
        """The prompt with class nouns for the subjects: the one text by which all methods are judged."""
        return fill_prompt(prompt, [m.noun for m in self.members])


def fill_prompt(prompt: str, nouns: Sequence[str]) -> str:
    """The prompt with nouns for its `{}`, `{0}`, `{1}`, each with an article where the prompt has none before it."""
    rest = iter(nouns)

    def noun(match: re.Match[str]) -> str:
        word = nouns[int(match[1])] if match[1] else next(rest)
        before = prompt[: match.start()].rsplit(None, 1)[-1:] or [""]
        bare = before[0].lower() in OPEN or not before[0]
        return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}" if bare else word

    return re.sub(r"\{(\d?)\}", noun, prompt)


OPEN = frozenset(
    [
        "of",
        "on",
        "in",
        "at",
        "by",
        "with",
        "and",
        "or",
        "under",
        "over",
        "behind",
        "beside",
        "inside",
        "near",
        "to",
        "from",
        "holding",
        "wearing",
        "photo,",
    ]
)
"""Words after which a noun has no article yet."""


@dataclass(frozen=True)
class DataSet:
    """Cases in the order of their list. `absent` names subjects that the list has and the folder lacks."""

    name: str
    cases: tuple[Case, ...]
    licence: str
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Loader: TypeAlias = Callable[..., DataSet]
L = TypeVar("L", bound=Loader)


def loader(name: str) -> Callable[[L], L]:
    def attach(function: L) -> L:
        function.name = name  # type: ignore[attr-defined]  # read back where loaders are found
        return function

    return attach


def loaders() -> dict[str, Loader]:
    """Every loader of this folder by the name of its set."""
    loaders_by_name: dict[str, Loader] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if callable(value) and hasattr(value, "name") and getattr(value, "__module__", "").endswith(module.name):
                loaders_by_name[value.name] = value
    return loaders_by_name


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The picture files of a folder in the order of their names, masks (`*_mask.*`) left out."""
    if not folder.is_dir():
        return ()
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.stem.endswith("_mask"))
    return tuple(inside(file, folder) for file in files)


def folder_in(root: Path, name: object, *, named_by: object) -> Path:
    """The folder (or file) that a list names, inside the set's own folder. Raises `FileError` for a path outside, and
    for a name that is no text."""
    return inside(root / plain_text(name, f"a name in {named_by}", limit=1000), root, named_by=named_by)


def existing(path: Path, what: str) -> Path:
    """The path itself. Raises `InputError` with the expected contents when it does not exist."""
    if not path.exists():
        raise InputError(f"there is no {path}; expected {what}")
    return path
