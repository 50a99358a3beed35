"""Decoding of picture files within limits: of known formats only, up to a number of bytes and pixels, and in bounded
memory."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from limner.errors import PictureError

from . import heic

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""Formats that are opened, whatever a file's suffix, beside HEIC where its decoder is installed. Pillow knows forty
more; some of them start other programs (PostScript)."""
MAX_PIXELS = 64_000_000
"""Pixels of the largest picture that is read."""
KEPT_PIXELS = 4096 * 4096
"""Pixels to which a larger picture is reduced before it is converted."""
MAX_BYTES = 500_000_000
"""Bytes of the largest picture file that is read."""
STRIP = 1_000_000  # pixels that are converted from 16 or 32 bits at a time


@dataclass(frozen=True)
class Decoded:
    """A picture as RGB, rotated as its EXIF says, and facts about its file."""

    rgb: Image.Image
    # "L": where a picture with transparency is opaque; None for one that is opaque or transparent everywhere
    opaque: Image.Image | None
    animated: bool
    whole_size: tuple[int, int]  # size of the picture before it was reduced


def decoded(source: Path | bytes, *, name: str) -> Decoded:
    """The first frame of a picture file, given by path or as bytes. Raises `PictureError` where it cannot be read."""
    with _opened(source, name) as image:
        return converted(image, name=name, own=True)


def decoded_mask(source: Path | bytes, *, name: str) -> Image.Image:
    """The mask in a picture file, given by path or as bytes. Raises `PictureError` where it cannot be read."""
    with _opened(source, name) as image:
        return converted_mask(image, name=name)


def picture_size(source: Path | bytes, *, name: str) -> tuple[int, int]:
    """Width and height in pixels that a picture file's header names; the picture is not decoded. Raises `PictureError`
    where it cannot be read."""
    with _opened(source, name) as image:
        size: tuple[int, int] = image.size
        return size


def converted_mask(image: Image.Image, *, name: str) -> Image.Image:
    """An opened mask as "L", rotated as its EXIF says, black where it is transparent. Raises `PictureError` where it
    cannot be decoded."""
    return _guarded(name, lambda: _as_mask(image, name))


def _as_mask(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image, ImageOps

    image = _eight_bits(ImageOps.exif_transpose(image), name)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = _smaller(image.convert("RGBA"))
        image = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return _smaller(image).convert("L")


def text_of(source: Path, field: str) -> str:
    """A text field of a picture file, such as "limner" in a PNG; empty where it is absent. Raises `PictureError` where
    the file cannot be read."""
    with _opened(source, str(source)) as image:
        return str(image.info.get(field, ""))


ORIENTATION = 0x0112
"""The EXIF tag of a picture's orientation."""


def orientation_of(source: Path) -> int:
    """The orientation that a picture file's EXIF has, from 1 (upright, also without EXIF) to 8. Raises `PictureError`
    where the file cannot be read."""
    with _opened(source, str(source)) as image:
        value = _guarded(str(source), lambda: image.getexif().get(ORIENTATION, 1))
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def converted(image: Image.Image, *, name: str, own: bool = False) -> Decoded:
    """An opened picture as RGB: rotated as its EXIF says, white where it is transparent, 16 bits scaled to 8. With
    `own`, the given picture may be changed. Raises `PictureError` where it cannot be decoded."""
    return _guarded(name, lambda: _converted(image, name, own))


def _converted(image: Image.Image, name: str, own: bool) -> Decoded:
    from PIL import Image, ImageOps

    animated = bool(getattr(image, "is_animated", False))
    if own:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    else:
        image = ImageOps.exif_transpose(image)
    whole_size, opaque = image.size, None
    image = _eight_bits(image, name)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = _smaller(image if image.mode == "RGBA" else image.convert("RGBA"))
        alpha = clear.getchannel("A")
        values = alpha.histogram()
        opaque = alpha if sum(values[:255]) and sum(values[128:]) else None
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, clear)
    elif image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    return Decoded(_smaller(image).convert("RGB"), opaque, animated, whole_size)


# -------------------------------------------------------------------------------------------------------------- opening


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[Image.Image]:
    """A picture whose format and numbers of pixels and bytes are within the limits; it is not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Path) and not source.is_file():
        raise PictureError(f"there is no file {source}")
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MAX_BYTES:
        raise PictureError(f"{name} has {size:,} bytes; pictures of at most {MAX_BYTES:,} are read: make it smaller")
    try:
        file: BinaryIO = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as error:
        raise PictureError(f"{name} cannot be opened: {error.strerror or error}") from error
    with file:
        try:
            image = _open_known(file, name)
        except PictureError:
            raise
        except UnidentifiedImageError as error:
            raise PictureError(
                f"{name} is not a picture that can be read; expected PNG, JPEG, WebP or the like"
            ) from error
        except Image.DecompressionBombError as error:
            raise PictureError(
                f"{name} unpacks to far more than the {MAX_PIXELS:,} pixels that are read: make it smaller"
            ) from error
        except Exception as error:  # a damaged picture can make Pillow raise any exception
            raise _damaged(name, error) from error
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise PictureError(
                f"{name} says it is {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read: make it "
                "smaller"
            )
        with _room.of(pixels):
            yield image


_opening = threading.Lock()  # warning filters are shared by all threads


def _open_known(file: BinaryIO, name: str) -> Image.Image:
    from PIL import Image

    head = file.read(12)
    file.seek(0)
    if heic.is_heic(head):
        if not heic.can_read():
            raise PictureError(
                f"{name} is a HEIC picture, whose decoder is not installed: {heic.INSTALL}, or save it as JPEG or PNG"
            )
        heic.register()
        return Image.open(file, formats=[heic.FORMAT])

    if any(known not in Image.OPEN for known in FORMATS):
        Image.init()
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN])


class _Room:
    """Makes threads wait, so that together they decode at most `pixels` at a time. A single picture may always start,
    whatever its size."""

    def __init__(self, pixels: int) -> None:
        self.pixels, self.taken, self.changed = pixels, 0, threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.taken or self.taken + pixels <= self.pixels)
            self.taken += pixels
        try:
            yield
        finally:
            with self.changed:
                self.taken -= pixels
                self.changed.notify_all()


_room = _Room(MAX_PIXELS)


# ----------------------------------------------------------------------------------------------------------- converting


def _guarded(name: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except PictureError:
        raise
    except Exception as error:  # a damaged picture can make Pillow raise any exception
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> PictureError:
    why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return PictureError(f"{name} is damaged or cut short ({why}); save or fetch it again")


def _smaller(image: Image.Image) -> Image.Image:
    """The picture with at most `KEPT_PIXELS` pixels. Pictures and masks of equal size stay equal in size."""
    from PIL import Image

    pixels = image.width * image.height
    if pixels <= KEPT_PIXELS:
        return image
    share = (KEPT_PIXELS / pixels) ** 0.5
    size = max(1, int(image.width * share)), max(1, int(image.height * share))
    return image.resize(size, Image.Resampling.BOX)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """A picture of 16 or 32 bits as 8-bit grey, some rows at a time; any other unchanged. White is the smallest of 1,
    255 and 65,535 that is not below the brightest pixel."""
    import numpy as np
    from PIL import Image

    if image.mode not in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return image
    image.load()
    high = max(1, STRIP // max(image.width, 1))
    strips = [(0, top, image.width, min(top + high, image.height)) for top in range(0, image.height, high)]

    def values(box: tuple[int, int, int, int]) -> Any:
        pixels = np.asarray(image.crop(box), dtype=np.float64)
        if not np.isfinite(pixels).all():
            raise PictureError(f"{name} holds values that are not finite numbers; save it again")
        return pixels

    most = max((float(values(box).max(initial=0)) for box in strips), default=0.0)
    white = 65535.0 if most > 255 else 255.0 if most > 1 else 1.0
    grey = Image.new("L", image.size)
    for box in strips:
        rows = (values(box) / white * 255).clip(0, 255).astype(np.uint8)
        grey.paste(Image.fromarray(rows), box)
    return grey
