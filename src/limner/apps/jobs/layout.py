"""The files of a job: where each lies in the job's folder, and how it gets there from the file store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.core.files import write_text
from limner.errors import InputError

from .access import NotFound, find, may_read_file
from .files import HASH, Files, hash_of
from .tables import File, Picture, Reference, Subject, User

INPUTS, OUTPUTS, CHOICES = "in", "out", "choices"
"""Folders in a job's folder: for the files that it reads, those that it writes, and pictures for a person to choose
from."""
SUFFIXES = {"image/jpeg": ".jpg", "image/webp": ".webp", "image/heic": ".heic", "image/heif": ".heif"}
"""Media type of a picture -> suffix of its file; every other picture is decoded as what it is, under ".png"."""


@dataclass
class Layout:
    """The files that a job reads, by their place in its folder. Names come from ids and numbers, never from clients."""

    folder: Path
    session: Session
    user: User
    files: dict[Path, str] = field(default_factory=dict)  # place -> SHA-256
    texts: dict[Path, str] = field(default_factory=dict)  # place -> text

    @property
    def out(self) -> Path:
        return self.folder / OUTPUTS

    def add(self, sha256: str, name: str) -> Path:
        """Give a stored file a place, by its name below `INPUTS`."""
        path = self.folder / INPUTS / name
        self.files[path] = sha256
        return path

    def picture(self, value: object, name: str) -> Path:
        """The place of a picture that a payload names: by the id of a picture, or by the SHA-256 of content that the
        user may read. Raises `InputError` for anything else, paths and addresses among it."""
        if not isinstance(value, str) or len(value) not in (32, 64):
            raise InputError(f"{name} must be the id of a picture or the SHA-256 of one, not {str(value)[:80]!r}")
        if len(value) == 32:
            sha256 = find(self.session, self.user, Picture, value).sha256
        elif not HASH.fullmatch(value) or not may_read_file(self.session, self.user, value):
            raise NotFound(f"there is no stored file {value[:64]!r}")
        else:
            sha256 = value
        return self.add(sha256, f"{name}{self._suffix(sha256)}")

    def photos(self, subject: Subject, name: str) -> Path:
        """The folder of a subject's reference images, without those left out, with captions and masks beside them.
        Raises `InputError` where none is left."""
        pictures = kept_pictures(subject)
        if not pictures:
            raise InputError(f"{subject.name} has no pictures to learn from; add some, or keep more of them")
        for number, picture in enumerate(pictures):
            stem = f"{name}/{number:03}"
            self.add(picture.sha256, f"{stem}{self._suffix(picture.sha256)}")
            if picture.mask:
                self.add(picture.mask, f"{stem}-masklabel.png")
            if picture.caption.strip():
                self.texts[self.folder / INPUTS / f"{stem}.txt"] = picture.caption
        return self.folder / INPUTS / name

    def _suffix(self, sha256: str) -> str:
        media_type = self.session.scalar(select(File.media_type).where(File.sha256 == sha256))
        return SUFFIXES.get(media_type or "", ".png")


def kept_pictures(subject: Subject) -> Sequence[Reference]:
    """The reference images of a subject that are not left out, in the order of `Layout.photos`."""
    return [picture for picture in subject.pictures if picture.in_training]


def lay_out(files: Files, placed: dict[Path, str], texts: dict[Path, str]) -> None:
    """Copy files from the store to their places, verified; one that lies there whole is not copied again."""
    for path, sha256 in placed.items():
        if not path.exists() or hash_of(path) != sha256:
            files.copy_to(sha256, path)
    for path, text in texts.items():
        write_text(path, text, overwrite=True)
