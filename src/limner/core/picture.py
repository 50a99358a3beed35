"""Sampled pictures: images with a record of how they were made, shown in notebooks."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from limner.errors import InputError

from .escaping import Markup, html, join_html
from .files import MARK, FileInTheWay, atomic_write, check_ours

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """One sampled picture and the record of how it was made (`story`)."""

    image: Image.Image = field(repr=False)
    prompt: str
    seed: int
    concepts: tuple[str, ...]
    base: str
    settings: dict[str, Any]

    suffix: ClassVar[str] = ".png"

    @property
    def story(self) -> dict[str, Any]:
        record = {"prompt": self.prompt, "seed": self.seed, "concepts": list(self.concepts), "base": self.base}
        return record | {"settings": self.settings, "software": "limner"}

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write a PNG with the record in its text chunks: as JSON in "limner", in "parameters" as other tools read it,
        and in XMP, which states that a trained model made the picture. Raises `FileError` when the file exists (with
        `overwrite`, when limner did not write the existing file)."""
        from .provenance import png_fields

        return _save_png(self.image, Path(path), png_fields(self.story, self.image.size), overwrite=overwrite)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.image)


@dataclass(frozen=True)
class Clip(Picture):
    """One sampled clip and the record of how it was made. Its `image` is the first frame."""

    frames: tuple[Image.Image, ...] = field(default=(), repr=False)
    fps: float = 8.0  # frames per second

    suffix: ClassVar[str] = ".webp"

    @property
    def story(self) -> dict[str, Any]:
        return super().story | {"frames": len(self.frames), "fps": self.fps}

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write an animated WebP or GIF, by the suffix, with the record as JSON in its EXIF or comment; to a path
        without a suffix, a folder of PNGs, each with the record and the number of its frame. Raises `InputError` for
        another suffix, and `FileError` as `Picture.save` does."""
        path = Path(path)
        if not path.suffix:
            return self._save_frames(path, overwrite=overwrite)
        kind = {".webp": "WEBP", ".gif": "GIF"}.get(path.suffix.lower())
        if kind is None:
            raise InputError(f"a clip is saved as .webp, .gif or a folder of PNGs, not as {path.suffix}")
        if overwrite:
            check_ours(path)
        return atomic_write(path, lambda p: self._write(p, kind), overwrite=overwrite)

    def _write(self, path: Path | io.BytesIO, kind: str) -> None:
        """Write an animation. GIF rounds the duration of a frame to hundredths of a second."""
        from .provenance import exif_fields

        text = json.dumps({MARK: self.story})
        first, *rest = (frame.convert("RGB") for frame in self.frames)
        about: dict[str, Any] = {"comment": text} if kind == "GIF" else {"exif": exif_fields(text), "quality": 90}
        pause = round(1000 / self.fps)
        first.save(path, format=kind, save_all=True, append_images=rest, duration=pause, loop=0, **about)

    def _save_frames(self, folder: Path, *, overwrite: bool) -> Path:
        from .provenance import png_fields

        for number, frame in enumerate(self.frames):
            fields = png_fields(self.story | {"frame": number}, frame.size)
            _save_png(frame, folder / f"{number:03}.png", fields, overwrite=overwrite)
        return folder

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        buffer = io.BytesIO()
        self._write(buffer, "GIF")
        return {"image/gif": buffer.getvalue()}


class Pictures(list[Picture]):
    """Sampled pictures, in the order of their prompts and seeds."""

    def grid(self, columns: int | None = None, *, height: int = 128) -> Image.Image:
        """All of them on one sheet."""
        return grid([picture.image for picture in self], columns, height=height)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
        """Write every picture into a folder as 000.png, 001.png, … Numbers go on after the files in the folder; with
        `overwrite`, they start at 000 and replace pictures that limner wrote."""
        numbers = Numbers(Path(folder), len(self), overwrite=overwrite)
        return [numbers.save(picture) for picture in self]

    def _repr_html_(self) -> str:
        return join_html(
            html(
                '<figure style="display:inline-block">{}<figcaption>{}</figcaption></figure>',
                html_image(p.image),
                p.prompt,
            )
            for p in self
        )


@dataclass
class Numbers:
    """Saves pictures one after the other into a folder as 000.png, 001.png, … Several processes may share a folder.

    Without `overwrite`, each picture takes the next free number, so that no file is replaced. With it, numbers start at
    000 again; raises `FileError` at once where one of the `count` files to be replaced was not written by limner.
    """

    folder: Path
    count: int
    overwrite: bool = False
    saved: list[Path] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        if self.overwrite:
            for number in range(self.count):
                check_ours(self._path(number))
            return
        stems = [path.stem for path in self.folder.glob("[0-9]*") if path.suffix in (Picture.suffix, Clip.suffix)]
        self._next = max((int(stem) for stem in stems if stem.isascii() and stem.isdigit()), default=-1) + 1

    def save(self, picture: Picture) -> Path:
        """Write one picture under the next number."""
        while True:
            path, self._next = self._path(self._next, picture.suffix), self._next + 1
            try:
                self.saved.append(picture.save(path, overwrite=self.overwrite))
            except FileInTheWay:
                if self.overwrite:
                    raise
                continue  # another process has taken that number
            return path

    def _path(self, number: int, suffix: str = Picture.suffix) -> Path:
        return self.folder / f"{number:03}{suffix}"


def save_sheet(image: Image.Image, path: Path) -> Path:
    """Write a sheet of pictures as a PNG, replacing an earlier one. Raises `FileError` where a file exists that limner
    did not write."""
    return _save_png(
        image, path, {MARK: json.dumps({"software": "limner", "what": "a sheet of pictures"})}, overwrite=True
    )


def _save_png(image: Image.Image, path: Path, fields: Mapping[str, str], *, overwrite: bool) -> Path:
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    for name, text in fields.items():
        about.add_itxt(name, text)
    if overwrite:
        check_ours(path)
    return atomic_write(path, lambda p: image.save(p, format="PNG", pnginfo=about), overwrite=overwrite)


def grid(images: Sequence[Image.Image], columns: int | None = None, *, height: int = 128, gap: int = 4) -> Image.Image:
    """Pictures of equal shape on a white sheet, row by row. `height` and `gap` are in pixels."""
    from PIL import Image

    columns = columns or max(1, math.ceil(math.sqrt(len(images))))
    scale = height / images[0].height
    width = round(images[0].width * scale)
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(enlarged(image, height), (column * (width + gap), row * (height + gap)))
    return sheet


def enlarged(image: Image.Image, height: int) -> Image.Image:
    """The picture resized to a height in pixels."""
    from PIL import Image

    return image.resize((round(image.width * height / image.height), height), Image.Resampling.BICUBIC)


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def html_image(image: Image.Image | None, *, height: int = 160, title: str = "") -> Markup:
    """An <img> element with the picture's bytes in it."""
    if image is None:
        return Markup()
    data = base64.b64encode(png_bytes(image)).decode()
    return html(
        '<img src="data:image/png;base64,{}" height="{}" title="{title}" alt="{title}">', data, height, title=title
    )


def sheets(parts: Iterable[Sequence[Image.Image]], *, height: int = 128) -> Image.Image:
    """One sheet of pictures, with a row for each of `parts`."""
    from PIL import Image

    rows = [grid(part, len(part), height=height) for part in parts]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height + 4 for r in rows) - 4), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + 4
    return sheet
