"""The dataset settings of kohya's sd-scripts, in TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.core.subject import SUFFIXES, mask_beside
from limner.core.untrusted import inside, plain_text, read_json, read_text, table, whole_number
from limner.core.untrusted import rows as tables
from limner.errors import FileError, PictureError

from .contents import Found, Item
from .files import CAPTIONS, beside
from .flat import flat
from .metadata import read_rows

MAX_REPEATS = 1_000_000


def kohya_toml(path: Path) -> Found | None:
    """Read the dataset settings of sd-scripts: from a .toml file, or from the first in a folder that has them; None
    without any."""
    files = [path] if path.suffix == ".toml" else sorted(path.glob("*.toml")) if path.is_dir() else []
    for file in files:
        try:
            document = tomllib.loads(read_text(file))
        except (ValueError, RecursionError) as error:  # from TOML's syntax, or from a number with thousands of digits
            raise FileError(f"{file} is not TOML: {str(error)[:200]}") from error
        if not isinstance(document.get("datasets", []), list):
            continue  # another program's settings
        sets = tables(document.get("datasets", []), f"datasets of {file}")
        subsets = [(d, s) for d in sets for s in tables(d.get("subsets", []), f"subsets of {file}")]
        if not subsets:
            continue
        contents = Found(path, f"kohya's {file.name}", [])
        ignored: set[str] = set()
        for dataset, subset in subsets:
            general = table(document.get("general", {}), f"general of {file}")
            settings = {**general, **{k: v for k, v in dataset.items() if k != "subsets"}, **subset}
            ignored |= settings.keys() - SUBSET_SETTINGS
            part = _subset(file, settings, named=path == file)
            contents.stray += part.stray
            if settings.get("is_reg"):
                contents.regular += [item.path for item in part.items]
                continue
            contents.items += part.items
            if not contents.token:
                contents.token, _, contents.noun = str(settings.get("class_tokens", "")).partition(" ")
        contents.unused = [f"{', '.join(sorted(ignored))} of {file.name}"] if ignored else []
        return contents
    return None


SUBSET_SETTINGS = frozenset(
    {
        *("image_dir", "metadata_file", "conditioning_data_dir", "class_tokens", "is_reg", "num_repeats", "alpha_mask"),
        *("caption_extension", "caption_prefix", "caption_suffix"),
    }
)
"""Settings of a subset that are used; transparency is a mask with and without `alpha_mask`."""


def _subset(file: Path, settings: Mapping[str, Any], *, named: bool) -> Found:
    """The pictures of a subset, with captions and masks according to its settings (sd-scripts' docs/config_README).

    file: the TOML file
    settings: settings of the subset, including those of its data set
    named: whether the user named the file, so that it may refer to files outside of its folder
    """
    for key in (
        "image_dir",
        "metadata_file",
        "conditioning_data_dir",
        "class_tokens",
        "caption_prefix",
        "caption_suffix",
    ):
        plain_text(settings.get(key, ""), f"{key} of {file}")
    class_tokens = settings.get("class_tokens", "")
    repeats = whole_number(settings.get("num_repeats", 1), f"num_repeats of {file}", least=0, most=MAX_REPEATS)
    masks = beside(file, settings["conditioning_data_dir"]) if settings.get("conditioning_data_dir") else None
    if settings.get("metadata_file"):
        part = _metadata_file(file, settings, named=named)
    elif "image_dir" in settings:
        ending = _ending(settings.get("caption_extension", ".txt"), file)
        part = flat(beside(file, settings["image_dir"]), endings=(ending, *CAPTIONS))
    else:
        raise FileError(f"{file} has a subset without image_dir or metadata_file")
    around = settings.get("caption_prefix", ""), settings.get("caption_suffix", "")
    part.items = [
        Item(
            i.path,
            " ".join(f"{around[0]} {i.caption or class_tokens} {around[1]}".split()),
            mask_beside(i.path, masks) or i.mask,
            repeats,
            class_tokens,
        )
        for i in part.items
    ]
    return part


def _ending(value: object, file: Path) -> str:
    """The ending of caption files with its dot, which sd-scripts allows to be left out."""
    ending = plain_text(value, f"caption_extension of {file}", limit=30)
    ending = ending if ending.startswith(".") else f".{ending}"
    if not re.fullmatch(r"\.[A-Za-z0-9_.-]*[A-Za-z0-9_-]", ending):
        raise FileError(f"caption_extension of {file} must be an ending such as .txt, not {value!r}")
    return ending


def _metadata_file(file: Path, settings: Mapping[str, Any], *, named: bool) -> Found:
    """The pictures of a fine-tuning list: JSON {picture: {"caption": …, "tags": …}}, or JSON lines with a picture
    each."""
    listed = beside(file, settings["metadata_file"])
    if not named:  # the file lies among the pictures, and its author may be unknown
        inside(listed, file.parent, named_by=file.name)
    if not listed.is_file():
        raise FileError(f"{file} names the list {listed}, but there is no such file")
    if listed.suffix == ".jsonl":
        pictures: Any = {str(row.get("image_path", "")): row for row in read_rows(listed)}
    else:
        pictures = read_json(listed)
    if not isinstance(pictures, dict) or not all(isinstance(about, dict) for about in pictures.values()):
        raise FileError(f"{listed} is no list of pictures: expected a table of tables with caption or tags")
    place = beside(file, settings["image_dir"]) if settings.get("image_dir") else listed.parent
    contents = Found(listed, listed.name, [])
    for name, about in pictures.items():
        picture = Path(name) if Path(name).is_absolute() else place / name
        if picture.suffix.lower() not in SUFFIXES:  # older lists have names without an ending
            ends = [picture.with_name(picture.name + suffix) for suffix in SUFFIXES]
            picture = next((end for end in ends if end.is_file()), picture)
        caption = ", ".join(text for key in ("caption", "tags") if (text := str(about.get(key) or "").strip()))
        if not caption:
            raise PictureError(f"{listed} has no caption for {name}; write one, or remove the picture from the list")
        contents.items.append(Item(picture, caption, mask_beside(picture)))
    return contents
