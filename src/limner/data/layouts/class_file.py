"""class.txt: the class noun of a folder of pictures, in one line."""

from __future__ import annotations

from limner.core.subject import check_noun
from limner.core.untrusted import inside, read_text
from limner.errors import FileError, InputError

from .contents import Found

NAME = "class.txt"
LIMIT = 1000  # bytes


def read_class(contents: Found) -> None:
    """Read a folder's class noun from its class.txt, unless the layout's own files name a class. The caption class.txt
    of a picture class.jpg does not count. Raises `FileError` for a file without a noun."""
    file = contents.folder / NAME
    if contents.noun or not file.is_file() or any(item.path.stem == file.stem for item in contents.items):
        return
    text = read_text(inside(file, contents.folder), limit=LIMIT).strip()
    try:
        contents.noun = check_noun(text)
    except InputError as error:
        raise FileError(
            f"{file} must hold the class of the pictures in one line, such as dog, not {text[:80]!r}"
        ) from error
    contents.stray = [name for name in contents.stray if name != NAME]
