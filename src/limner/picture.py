"""Painted pictures: images that know how they came about and show themselves in a notebook."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .escaping import Markup, html, join_html
from .files import atomic_write

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """One painted picture and its story."""

    image: Image.Image = field(repr=False)
    prompt: str
    seed: int
    concepts: tuple[str, ...]
    base: str
    settings: dict[str, Any]

    @property
    def story(self) -> dict[str, Any]:
        told = {"prompt": self.prompt, "seed": self.seed, "concepts": list(self.concepts), "base": self.base}
        return told | {"settings": self.settings, "software": "limner"}

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write a PNG whose text chunks hold the story: as JSON in "limner", as other tools read it in "parameters", and in XMP
        that a trained model made it."""
        from PIL.PngImagePlugin import PngInfo

        from .formats.provenance import png_fields

        about = PngInfo()
        for name, text in png_fields(self).items():
            about.add_itxt(name, text)
        target = Path(path)
        return atomic_write(target, lambda p: self.image.save(p, format="PNG", pnginfo=about), overwrite=overwrite)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.image)


class Pictures(list[Picture]):
    """Painted pictures, in the order of their prompts and seeds."""

    def grid(self, columns: int | None = None, *, height: int = 128) -> Image.Image:
        """All of them on one sheet."""
        return grid([picture.image for picture in self], columns, height=height)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
        """Write every picture into a folder, as 000.png, 001.png, …; on from what is there, unless it is overwritten."""
        there = [int(p.stem) for p in Path(folder).glob("[0-9]*.png") if p.stem.isdigit()]
        first = 0 if overwrite else max(there, default=-1) + 1
        return [p.save(Path(folder) / f"{k:03}.png", overwrite=overwrite) for k, p in enumerate(self, first)]

    def _repr_html_(self) -> str:
        return join_html(
            html(
                '<figure style="display:inline-block">{}<figcaption>{}</figcaption></figure>',
                html_image(p.image),
                p.prompt,
            )
            for p in self
        )


def grid(images: Sequence[Image.Image], columns: int | None = None, *, height: int = 128, gap: int = 4) -> Image.Image:
    """Pictures of one shape on a white sheet, row by row."""
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
    """The picture at another height."""
    from PIL import Image

    return image.resize((round(image.width * height / image.height), height), Image.Resampling.BICUBIC)


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def html_image(image: Image.Image | None, *, height: int = 160, title: str = "") -> Markup:
    """An <img> that carries its own bytes."""
    if image is None:
        return Markup()
    data = base64.b64encode(png_bytes(image)).decode()
    return html(
        '<img src="data:image/png;base64,{}" height="{}" title="{title}" alt="{title}">', data, height, title=title
    )


def sheets(parts: Iterable[Sequence[Image.Image]], *, height: int = 128) -> Image.Image:
    """Rows of pictures, a row for each part, on one sheet."""
    from PIL import Image

    rows = [grid(part, len(part), height=height) for part in parts]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height + 4 for r in rows) - 4), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + 4
    return sheet
