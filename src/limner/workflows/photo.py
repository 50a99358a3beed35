"""A photo that something is put into: its mask, the square of it that is painted, and the prompt of a swap.

Nothing heavy is imported here, so that a server can check a photo before the work is queued.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from limner.errors import InputError, PromptError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from limner.engine.inpainting import Region


def opened_photo(photo: Path, where: Path | None) -> tuple[Image.Image, Image.Image | None]:
    """A photo, and the mask in the file `where`, else the one beside the photo, if there is any. Raises `InputError`
    for a mask of another size, for an empty one, and for one that covers everything."""
    from limner.core.subject import read_mask, read_picture

    reference = read_picture(photo)[0]
    assert reference.image is not None
    mask = read_mask(where) if where else reference.mask
    if mask is not None:
        check_mask(mask, reference.image.size)
    return reference.image, mask


def check_mask(mask: Image.Image, size: tuple[int, int]) -> None:
    """Raise `InputError` for a mask of another size than the photo's, and for one that is black or white everywhere.

    size: width and height of the photo
    """
    if mask.size != size:
        sizes = [f"{each[0]} x {each[1]}" for each in (mask.size, size)]
        raise InputError(f"the mask is {sizes[0]} pixels and the photo {sizes[1]}: give a mask of the photo's size")
    low, high = mask.convert("L").point(lambda value: 255 if value >= 128 else 0).getextrema()
    if low == high:
        colour, wanted = ("white", "black where it must stay") if low else ("black", "white where it may change")
        raise InputError(f"the mask of the photo is {colour} everywhere: expected {wanted}")


def check_square(size: tuple[int, int]) -> None:
    """Raise `InputError` for a photo without a mask that is not square.

    size: width and height of the photo
    """
    if size[0] != size[1]:
        raise InputError(
            f"the photo is {size[0]} x {size[1]} pixels, and a base paints squares: name the part that may "
            "change (--where MASK), around which a square is cut out, or crop the photo to a square"
        )


def cut_photo(
    image: Image.Image, mask: Image.Image | None, *, size: int
) -> tuple[Image.Image, Image.Image | None, Region | None]:
    """The square of a photo that is painted, the mask in it, and the way back into the photo. Without a mask it is the
    whole photo. Raises `InputError` for a photo without a mask that is not square."""
    from limner.engine.inpainting import Region

    if mask is None:
        check_square(image.size)
        return image, None, None
    region = Region.around(image, mask, size=size)
    square, inside = region.cut
    return square, None if inside.getextrema() == (255, 255) else inside, region


def swap_prompt(prompt: str, *, source_noun: str, source_prompt: str, handle: str, noun: str) -> str:
    """The prompt of a photo in which a subject takes something's place. Raises `PromptError` for a prompt that does not
    name the subject, and `InputError` for a source prompt that does not name the thing.

    prompt: as the user gave it, or empty
    source_noun: the thing that is replaced; empty: the subject's class
    source_prompt: description of the photo as it is, or empty
    handle: the subject's handle
    noun: its class
    """
    replaced = source_noun or noun
    if prompt:
        if handle not in prompt:
            raise PromptError(f"the prompt {prompt!r} does not name {handle}, which is to be put into the photo")
        return prompt
    prompt, count = re.subn(rf"\b{re.escape(replaced)}\b", lambda _: handle, source_prompt, count=1)
    if source_prompt and not count:
        raise InputError(
            f"the source prompt {source_prompt!r} does not name the {replaced} that is to be replaced: write it "
            "there, or name another noun (--source-noun)"
        )
    return prompt or f"a photo of {handle}"
