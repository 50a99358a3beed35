"""Folders of pictures as people have them: which tool's layout it is, and what is in it.

Known: a flat folder, captions beside pictures in .txt or .caption, kohya's `10_token class` folders and dataset TOML,
Hugging Face's metadata.jsonl (or .csv), DiffSynth's metadata.csv, Custom Diffusion's concepts_list.json; masks as
transparency, NAME-masklabel.png, NAME.mask.png, a folder masks/, or kohya's conditioning folder. Whatever lies there and
is not used is said.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_place, write_text
from limner.core.subject import (
    SUFFIXES,
    Reference,
    Subject,
    check_name,
    is_mask,
    mask_beside,
    picture_notes,
    pictures_below,
    read_mask,
    read_picture,
    small_notes,
)
from limner.core.untrusted import MAX_CAPTION, inside, parse_json, plain_text, read_json, read_text, table, whole_number
from limner.core.untrusted import rows as tables
from limner.core.wording import counted, first_of, listed
from limner.errors import FileError, InputError, PictureError

if TYPE_CHECKING:
    from PIL import Image

CAPTIONS = (".txt", ".caption")
HANDLE_WORDS = ("sks", "ohwx", "<new1>", "<s1>", "<sks>", "<v>", "TOK")
"""Words that data sets commonly write for the subject."""
MAX_REPEATS = 1_000_000
USUAL_SIDE = 512
"""Pixels a side that most bases paint, for a note on pictures before a base is known."""
LIKE = 6  # of 64 bits: two pictures whose difference hashes are this near are near-duplicates


@dataclass(frozen=True)
class Item:
    """One picture of a data set."""

    path: Path
    caption: str = ""
    mask: Path | None = None
    repeats: int = 1
    concept: str = ""  # which of the folder's subjects it shows, as its files call it


@dataclass
class Found:
    """A folder, recognised."""

    folder: Path
    layout: str
    items: list[Item]
    noun: str = ""  # as its files say
    token: str = ""  # how its captions call the subject
    regular: list[Path] = field(default_factory=list)  # pictures of the class
    stray: list[str] = field(default_factory=list)  # files that are nothing here
    references: list[Reference] = field(default_factory=list, repr=False)
    doubles: list[tuple[str, str]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)  # what its files say that is not used

    @property
    def concepts(self) -> list[str]:
        """The subjects that its files tell apart."""
        return sorted({item.concept for item in self.items if item.concept})

    @property
    def notes(self) -> list[str]:
        """What is lost of pictures and masks."""
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
            f"{counted(r['pictures'], 'picture')} ({', '.join(sizes)}), {counted(r['captions'], 'caption')}, {counted(r['masks'], 'mask')}",
        ]
        if self.noun or self.token:
            lines.append(f"class: {self.noun or 'not said'}; called: {self.token or 'nothing of its own'}")
        if self.regular:
            lines.append(f"{counted(len(self.regular), 'picture')} of the class beside it")
        if r["repeats"] != [1]:
            lines.append(f"repeats: {', '.join(map(str, r['repeats']))}")
        lines += _alike(self.doubles)
        if len(self.concepts) > 1:
            lines.append(f"several subjects: {', '.join(self.concepts)}; teach them one by one")
        lines += first_of([f"not read: {name}" for name in self.stray])
        lines += [f"not used: {what}" for what in self.unused]
        lines += self.notes
        return "\n".join(lines)

    def subject(self, *, noun: str = "", name: str = "", **more: Any) -> Subject:
        """The subject, its captions with the handle where they had the data set's own word, or the name that is given. Raises
        `InputError` where neither the folder nor the caller says what it is, and for a folder of several subjects."""
        if len(self.concepts) > 1:
            raise InputError(
                f"{self.folder} holds several subjects ({', '.join(self.concepts)}), which are not taught as one: name the folder of "
                "one of them, or teach all of them, each on its own, with --together"
            )
        noun = noun or self.noun
        if not noun:
            raise InputError(f"{self.folder} does not say what it shows; say --class dog, or what it is")
        handle = f"<{check_name(name or _usable(self.token) or 'my' + ''.join(filter(str.isalnum, noun)))}>"
        tokens = [token for token in (self.token, name.strip("<>")) if token]
        pictures = [
            replace(reference, caption=_handled(item.caption, tokens, noun, handle) if item.caption else "")
            for item, reference in zip(self.items, self.references, strict=True)
        ]
        return Subject.of(pictures, noun=noun, handle=handle, **more)


def recognised(folder: Path | str) -> Found:
    """Look at a folder (or a list file) and say what it is. Raises `PictureError` for pictures that cannot be read and for
    captions that are empty, `FileError` for lists that are damaged or name files that are not there."""
    path = Path(folder).expanduser()
    if not path.exists():
        raise FileError(f"there is no file or folder {path}")
    found = _read(path, _READERS)
    assert found is not None  # a flat folder is always one
    if not found.items:
        raise PictureError(f"there are no pictures in {path}; expected files that end in {', '.join(SUFFIXES)}")
    for item in found.items:
        if not item.path.is_file():
            raise FileError(
                f"{found.folder} lists {item.path.name}, and there is no such file; mend the list or put it there"
            )
        found.references.append(opened(item.path, item.mask))
    found.doubles = _doubles(found)
    found.token = found.token or _token_in([item.caption for item in found.items])
    return found


def opened(picture: Path, mask: Path | None) -> Reference:
    """A picture with its mask. Raises `PictureError` for what cannot be read."""
    reference, _ = read_picture(picture)
    if mask is None:
        return reference
    return replace(reference, mask=read_mask(mask))


def laid_out(folder: Path, spoilt: Callable[[str, str], object]) -> Found:
    """What is in a folder by its files' names alone: no picture is opened, and what is wrong with captions is told to `spoilt` (why,
    name) rather than raised. Raises `FileError` for lists that are damaged."""
    found = _read(folder, _READERS[:-1])
    if found is not None:
        return found
    items = [item(inside(p, folder), spoilt) for p in pictures_of(folder)]
    return Found(folder, "a folder of pictures", items, token=_token_in([i.caption for i in items]))


def _read(path: Path, readers: Sequence[Callable[[Path], Found | None]]) -> Found | None:
    """The first reader's that knows the folder. A list that lies in a folder names nothing outside of it; one that the user names
    himself may. Raises `FileError`, also for everything the system says of files that cannot be read."""
    try:
        found = next((f for f in (reader(path) for reader in readers) if f is not None), None)
        if found is not None and path.is_dir():
            root = path.parent if path.parent.name == "img" else path  # kohya's folder, named by its part of pictures
            for place in [p for i in found.items for p in (i.path, i.mask) if p is not None]:
                inside(place, root, named_by=found.layout)
            found.regular = [inside(place, root.parent, named_by=found.layout) for place in found.regular]
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise FileError(f"{path} cannot be read as a data set: {getattr(error, 'strerror', None) or error}") from error
    return found


def item(picture: Path, spoilt: Callable[[str, str], object]) -> Item:
    """A picture with what lies beside it; a caption that is no good is told to `spoilt`."""
    try:
        caption = _caption_of(picture, CAPTIONS)
    except (PictureError, FileError):
        caption = ""
        spoilt("captions that are empty or no text", str(picture))
    mask = mask_beside(picture)
    return Item(picture, caption, inside(mask, picture.parent) if mask else None)


# ---------------------------------------------------------------------------------------------------------- the layouts


def _concepts_list(path: Path) -> Found | None:
    """Custom Diffusion's list of concepts: folders of pictures and of the class, with their prompts."""
    file = path if path.name == "concepts_list.json" else path / "concepts_list.json"
    if not file.is_file():
        return None
    listed = read_json(file)
    if not isinstance(listed, list) or not listed or not all(isinstance(c, dict) for c in listed):
        raise FileError(f"{file} is no list of concepts: expected a list of tables with instance_data_dir")
    if len(listed) > 1:
        raise InputError(f"{file} has {len(listed)} concepts; teach them one by one: give each one's instance_data_dir")
    (about,) = listed
    if not about.get("instance_data_dir"):
        raise FileError(f"{file} says no instance_data_dir: where the pictures are")
    for key in ("instance_data_dir", "class_data_dir", "instance_prompt", "class_prompt"):
        plain_text("" if about.get(key) is None else about[key], f"{key} of {file}")
    place = _beside(file, about["instance_data_dir"])
    prompt, of_class = about.get("instance_prompt") or "", about.get("class_prompt") or ""
    found = _flat(place)
    regular = _beside(file, about["class_data_dir"]) if about.get("class_data_dir") else None
    noun = _noun_of(of_class)
    items = [Item(i.path, i.caption or prompt, i.mask) for i in found.items]
    about_class = pictures_of(regular) if regular is not None and regular.is_dir() else []
    return Found(
        path, "Custom Diffusion's concepts_list.json", items, noun, _token_of(prompt, noun), about_class, found.stray
    )


def _kohya_toml(path: Path) -> Found | None:
    """sd-scripts' dataset settings."""
    files = [path] if path.suffix == ".toml" else sorted(path.glob("*.toml")) if path.is_dir() else []
    for file in files:
        try:
            told = tomllib.loads(read_text(file))
        except (ValueError, RecursionError) as error:  # of TOML, or of a number of thousands of digits
            raise FileError(f"{file} is not TOML: {str(error)[:200]}") from error
        if not isinstance(told.get("datasets", []), list):
            continue  # settings of something else
        sets = tables(told.get("datasets", []), f"datasets of {file}")
        subsets = [(d, s) for d in sets for s in tables(d.get("subsets", []), f"subsets of {file}")]
        if not subsets:
            continue
        found = Found(path, f"kohya's {file.name}", [])
        ignored: set[str] = set()
        for dataset, subset in subsets:
            general = table(told.get("general", {}), f"general of {file}")
            settings = {**general, **{k: v for k, v in dataset.items() if k != "subsets"}, **subset}
            ignored |= settings.keys() - SUBSET_SETTINGS
            part = _subset(file, settings, named=path == file)
            found.stray += part.stray
            if settings.get("is_reg"):
                found.regular += [item.path for item in part.items]
                continue
            found.items += part.items
            if not found.token:
                found.token, _, found.noun = str(settings.get("class_tokens", "")).partition(" ")
        found.unused = [f"{', '.join(sorted(ignored))} of {file.name}"] if ignored else []
        return found
    return None


SUBSET_SETTINGS = frozenset(
    {
        *("image_dir", "metadata_file", "conditioning_data_dir", "class_tokens", "is_reg", "num_repeats", "alpha_mask"),
        *("caption_extension", "caption_prefix", "caption_suffix"),
    }
)
"""Settings of a subset that are used, or said; transparency is a mask with and without `alpha_mask`."""


def _subset(file: Path, settings: Mapping[str, Any], *, named: bool) -> Found:
    """The pictures of a subset, as its settings caption and mask them (sd-scripts' docs/config_README)."""
    for key in (
        "image_dir",
        "metadata_file",
        "conditioning_data_dir",
        "class_tokens",
        "caption_prefix",
        "caption_suffix",
    ):
        plain_text(settings.get(key, ""), f"{key} of {file}")
    said = settings.get("class_tokens", "")
    repeats = whole_number(settings.get("num_repeats", 1), f"num_repeats of {file}", least=0, most=MAX_REPEATS)
    masks = _beside(file, settings["conditioning_data_dir"]) if settings.get("conditioning_data_dir") else None
    if settings.get("metadata_file"):
        part = _metadata_file(file, settings, named=named)
    elif "image_dir" in settings:
        ending = _ending(settings.get("caption_extension", ".txt"), file)
        part = _flat(_beside(file, settings["image_dir"]), endings=(ending, *CAPTIONS))
    else:
        raise FileError(f"{file} has a subset without image_dir or metadata_file")
    around = settings.get("caption_prefix", ""), settings.get("caption_suffix", "")
    part.items = [
        Item(
            i.path,
            " ".join(f"{around[0]} {i.caption or said} {around[1]}".split()),
            mask_beside(i.path, masks) or i.mask,
            repeats,
            said,
        )
        for i in part.items
    ]
    return part


def _ending(value: object, file: Path) -> str:
    """A captions' ending with its dot, as sd-scripts takes it with or without."""
    ending = plain_text(value, f"caption_extension of {file}", limit=30)
    ending = ending if ending.startswith(".") else f".{ending}"
    if not re.fullmatch(r"\.[A-Za-z0-9_.-]*[A-Za-z0-9_-]", ending):
        raise FileError(f"caption_extension of {file} must be an ending such as .txt, not {value!r}")
    return ending


def _metadata_file(file: Path, settings: Mapping[str, Any], *, named: bool) -> Found:
    """The pictures that a fine-tuning list names: {picture: {"caption": …, "tags": …}} as JSON, or a picture in each line."""
    listed = _beside(file, settings["metadata_file"])
    if not named:  # settings that merely lie among the pictures
        inside(listed, file.parent, named_by=file.name)
    if not listed.is_file():
        raise FileError(f"{file} names the list {listed}, and there is no such file")
    if listed.suffix == ".jsonl":
        pictures: Any = {str(row.get("image_path", "")): row for row in _rows(listed)}
    else:
        pictures = read_json(listed)
    if not isinstance(pictures, dict) or not all(isinstance(about, dict) for about in pictures.values()):
        raise FileError(f"{listed} is no list of pictures: expected a table of tables with caption or tags")
    place = _beside(file, settings["image_dir"]) if settings.get("image_dir") else listed.parent
    found = Found(listed, listed.name, [])
    for name, about in pictures.items():
        picture = Path(name) if Path(name).is_absolute() else place / name
        if picture.suffix.lower() not in SUFFIXES:  # names without an ending, as older lists have them
            ends = [picture.with_name(picture.name + suffix) for suffix in SUFFIXES]
            picture = next((end for end in ends if end.is_file()), picture)
        caption = ", ".join(text for key in ("caption", "tags") if (text := str(about.get(key) or "").strip()))
        if not caption:
            raise PictureError(f"{listed} has no caption for {name}; write one, or take the picture out")
        found.items.append(Item(picture, caption, mask_beside(picture)))
    return found


def _kohya_folders(path: Path) -> Found | None:
    """Folders named `10_token class`."""
    if not path.is_dir():
        return None
    path = path / "img" if (path / "img").is_dir() else path
    own = _repeats(path.name)
    parts = [path] if own else sorted(p for p in path.iterdir() if p.is_dir() and _repeats(p.name))
    if not parts:
        return None
    items: list[Item] = []
    stray: list[str] = []
    token = noun = ""
    for part in parts:
        repeats, said = _repeats(part.name) or (1, "")
        found = _flat(part)
        items += [Item(i.path, i.caption or said, i.mask, repeats, said) for i in found.items]
        stray += found.stray
        if not token:
            token, _, noun = said.partition(" ")
    stray += [] if own else _strange(path, {part.name for part in parts})
    beside = (path.parent if own else path).parent / "reg"
    regular = (
        [p for place in sorted(beside.glob("*")) if place.is_dir() for p in pictures_of(place)]
        if beside.is_dir()
        else []
    )
    return Found(path, "kohya's folders (repeats_token class)", items, noun, token, regular, stray)


def _strange(path: Path, known: set[str]) -> list[str]:
    """Pictures that lie in no folder of the layout."""
    alone = [p.name for p in pictures_of(path)]
    return alone + [
        line for line in pictures_below(path) if Path(line.partition("/,")[0]).parts[0] not in {*known, "reg"}
    ]


def _repeats(name: str) -> tuple[int, str] | None:
    found = re.fullmatch(r"([0-9]{1,6})_(.+)", name)
    return (int(found[1]), found[2].strip()) if found else None


def _metadata(path: Path) -> Found | None:
    """Hugging Face's metadata.jsonl or metadata.csv, and DiffSynth's metadata.csv."""
    if not path.is_dir():
        return None
    file = next((path / name for name in ("metadata.jsonl", "metadata.csv") if (path / name).is_file()), None)
    if file is None:
        return None
    rows = list(_rows(file))
    if not rows:
        raise FileError(f"{file} has no rows")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    name = next((key for key in PICTURE_COLUMNS if key in columns), None)
    if name is None:
        raise FileError(
            f"{file} does not say where pictures are: expected a column file_name (or image), found "
            f"{', '.join(map(str, columns))[:200]}"
        )
    text = next((key for key in CAPTION_COLUMNS if key in columns), None)
    items: dict[Path, Item] = {}
    more = 0
    for number, row in enumerate(rows, 1):
        if not row.get(name):
            raise FileError(f"row {number} of {file} names no picture")
        captions = _captions_in(row, text, f"row {number} of {file} ({str(row[name])[:100]})")
        listed_as = plain_text(row[name], f"{name} in row {number} of {file}", limit=1000)
        place = inside(path / listed_as, path, named_by=f"row {number} of {file}")
        earlier = items.get(place)
        more += max(0, len(captions) - 1) if earlier is None else len(set(captions) - {earlier.caption})
        if earlier is None:
            items[place] = Item(place, captions[0] if captions else "", mask_beside(place))
    listed = {place.resolve() for place in items}
    stray = [f"{p.name} (not listed)" for p in pictures_of(path) if p.resolve() not in listed]
    stray += [
        line for line in pictures_below(path) if not any(path / line.partition("/,")[0] == p.parent for p in items)
    ]
    layout = "DiffSynth's" if name in ("image", "video") else "Hugging Face's"
    found = Found(path, f"{layout} {file.name}", list(items.values()), stray=stray)
    other = [column for column in columns if column not in (name, text)]
    found.unused += [f"{', '.join(other)} of {file.name}"] if other else []
    found.unused += [f"{more} more captions of pictures that have one: the first of each is used"] if more else []
    return found


PICTURE_COLUMNS = ("file_name", "image", "video", "path")
CAPTION_COLUMNS = ("text", "prompt", "caption")


def _captions_in(row: Mapping[str, Any], column: str | None, where: str) -> list[str]:
    """The captions of a row: one, or a list of them; none where it has no such column. Raises `PictureError` for an empty one."""
    if column is None or column not in row:
        return []
    value = row[column]
    captions = value if isinstance(value, list) else [value]
    if not all(isinstance(caption, str | None) for caption in captions):
        raise FileError(f"{where} has a caption that is no text: {str(value)[:60]}")
    found = [" ".join(caption.split()) for caption in captions if caption]
    if not found or not all(found) or len(found) < len(captions):
        raise PictureError(f"{where} has an empty caption; write one or leave the column out")
    return found


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    text = read_text(file)
    if file.suffix == ".csv":
        lines = csv.DictReader(io.StringIO(text, newline=""))
        try:
            yield from (_whole_row(row, lines.line_num, file) for row in lines)
        except csv.Error as error:
            raise FileError(f"line {lines.line_num} of {file} is not CSV: {error}") from error
        return
    for number, line in enumerate(text.split("\n"), 1):  # JSON lines end at line feeds alone
        if line.strip():
            yield table(parse_json(line, f"line {number} of {file}"), f"line {number} of {file}")


def _whole_row(row: dict[Any, Any], line: int, file: Path) -> dict[str, Any]:
    if None in row:
        raise FileError(
            f"line {line} of {file} has {len(row) - 1 + len(row[None])} fields and its head has {len(row) - 1}: put quotes around a "
            "caption with commas"
        )
    return row


def _flat(path: Path, endings: Sequence[str] = CAPTIONS) -> Found:
    """Pictures in a folder, with captions and masks beside them."""
    if path.is_file():
        return Found(path, "one picture", [Item(path, _caption_of(path, endings), mask_beside(path))])
    if not path.is_dir():
        raise FileError(f"there is no folder {path}")
    pictures = pictures_of(path)
    items = [Item(p, _caption_of(p, endings), mask_beside(p)) for p in pictures]
    captioned = any(item.caption for item in items)
    stems = {p.stem for p in pictures}
    known = {p.name for p in pictures} | {p.name for p in path.iterdir() if is_mask(p)}
    known |= {p.name for p in path.iterdir() if p.suffix in endings and p.stem in stems}
    stray = sorted(p.name for p in path.iterdir() if p.is_file() and p.name not in known and not p.name.startswith("."))
    stray += pictures_below(path)
    return Found(path, "a folder with captions" if captioned else "a folder of pictures", items, stray=stray)


_READERS = (_concepts_list, _kohya_toml, _kohya_folders, _metadata, _flat)


# ------------------------------------------------------------------------------------------------------------- small things


def pictures_of(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [p for p in files if p.suffix.lower() in SUFFIXES and not is_mask(p)]


def _caption_of(picture: Path, endings: Sequence[str]) -> str:
    for ending in endings:
        file = picture.with_suffix(ending)
        if file.is_file() and file.name != picture.name:
            place = inside(file, picture.parent, named_by=f"the caption of {picture.name}")
            try:
                text = read_text(place, limit=MAX_CAPTION).strip()
            except FileError as error:
                raise PictureError(str(error)) from error
            if not text:
                raise PictureError(f"{file} is empty; write what the picture shows, or delete the file")
            return " ".join(text.split())
    return ""


def _beside(file: Path, place: str) -> Path:
    path = Path(place).expanduser()
    return path if path.is_absolute() else (file.parent / path).resolve()


def _noun_of(prompt: str) -> str:
    """ "photo of a dog" -> dog"""
    return re.sub(
        r"^(a |an |the )?(photo|picture|image) of (a |an |the )?", "", prompt.strip(), flags=re.IGNORECASE
    ).strip()


def _token_of(prompt: str, noun: str) -> str:
    """The word before the noun in a prompt, where it is not an article."""
    words = prompt.split()
    if noun and noun.split()[0] in words:
        before = words[: words.index(noun.split()[0])]
        if before and before[-1].lower() not in ("a", "an", "the", "of"):
            return before[-1]
    return ""


def _token_in(captions: Sequence[str]) -> str:
    """The customary word by which captions call the subject; the most common, where there are several."""
    said = [text for text in captions if text]
    counts = {word: sum(bool(whole_word(word).search(text)) for text in said) for word in HANDLE_WORDS}
    word = max(counts, key=lambda each: counts[each])
    return word if counts[word] else ""


def whole_word(token: str) -> re.Pattern[str]:
    """The token as a word of its own, in letters of either case."""
    return re.compile(rf"(?<![\w<]){re.escape(token)}(?![\w>])", re.IGNORECASE)


def _usable(token: str) -> str:
    letters = re.sub(r"[^A-Za-z0-9_-]", "", token)
    return letters if letters[:1].isalpha() else ""


def _handled(caption: str, tokens: Sequence[str], noun: str, handle: str) -> str:
    """A caption that says the handle: in the place of the first of the tokens that it has, and of the noun after it, with or without
    a comma; else of the noun; else before the rest."""
    for token in tokens:
        word = whole_word(token).pattern
        behind = rf"(?:\s*,?\s+{re.escape(noun)}\b)?" if noun else ""
        changed = re.sub(word + behind, lambda _: handle, caption, flags=re.IGNORECASE)
        if changed != caption or handle in caption:
            return changed
    changed = re.sub(rf"\b{re.escape(noun)}\b", handle, caption, count=1)
    return changed if handle in changed else f"{handle}, {caption}"


def _doubles(found: Found) -> list[tuple[str, str]]:
    """Pairs of pictures that look nearly the same, by the signs of differences between neighbours at 9 x 8 places."""
    signs = [difference_signs(r.image) for r in found.references if r.image is not None]
    names = [
        str(item.path.relative_to(found.folder)) if found.folder in item.path.parents else item.path.name
        for item in found.items
    ]
    return [
        (names[a], names[b])
        for a in range(len(signs))
        for b in range(a + 1, len(signs))
        if (signs[a] ^ signs[b]).bit_count() <= LIKE
    ]


def _alike(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Near-duplicates in groups: a picture is in one with every picture that it is like, directly or by others."""
    groups: list[list[str]] = []
    for pair in pairs:
        met = [group for group in groups if set(pair) & set(group)]
        groups = [group for group in groups if group not in met]
        groups.append(list(dict.fromkeys(name for group in (*met, pair) for name in group)))
    return first_of([
        f"near-duplicates: {' and '.join(group)}" if len(group) == 2 else f"{len(group)} nearly alike: {listed(group, 4)}"
        for group in groups
    ])  # fmt: skip


def difference_signs(image: Image.Image) -> int:
    """64 bits: whether a picture's grey rises from each of 9 x 8 places to the next in its row."""
    import numpy as np

    small = np.asarray(image.convert("L").resize((9, 8)), dtype=int)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def write_page(path: Path, found: Found) -> Path:
    """Thumbnails with captions, masks and sizes, on one page. Raises `FileError` where there is a file that limner did not write."""
    from limner.core.escaping import html, html_page
    from limner.core.picture import html_image

    cells = []
    for item, reference in zip(found.items, found.references, strict=True):
        assert reference.image is not None
        mask = html_image(reference.mask, height=128)
        about = f"{item.path.name}, {reference.image.width}x{reference.image.height}"
        cells.append(
            html(
                "<figure>{}{}<figcaption>{}<br>{}</figcaption></figure>",
                html_image(reference.image, height=128),
                mask,
                about,
                item.caption,
            )
        )
    style = "body{font:15px/1.5 system-ui;margin:2rem}figure{display:inline-block;max-width:20rem;vertical-align:top}"
    text = html_page(found.folder.name, style, [html("<pre>{}</pre>", str(found)), *cells])
    return write_text(check_place(path, overwrite=True), text, overwrite=True)
