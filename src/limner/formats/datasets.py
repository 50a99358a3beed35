"""Folders of pictures as people have them: which tool's layout it is, and what is in it.

Known: a flat folder, captions beside pictures in .txt or .caption, kohya's `10_token class` folders and dataset TOML,
Hugging Face's metadata.jsonl (or .csv), DiffSynth's metadata.csv, Custom Diffusion's concepts_list.json; masks as
transparency, NAME-masklabel.png, NAME.mask.png, a folder masks/, or kohya's conditioning folder.
"""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError, PictureError
from limner.files import check_place, write_text
from limner.subject import MASKS, SUFFIXES, Reference, Subject, check_name, read_picture
from limner.wording import counted, first_of, listed

if TYPE_CHECKING:
    from PIL import Image

CAPTIONS = (".txt", ".caption")
HANDLE_WORDS = ("sks", "ohwx", "<new1>", "<s1>", "<sks>", "<v>", "TOK")
"""Words that data sets commonly write for the subject."""
LIKE = 6  # of 64 bits: two pictures whose difference hashes are this near are near-duplicates


@dataclass(frozen=True)
class Item:
    """One picture of a data set."""

    path: Path
    caption: str = ""
    mask: Path | None = None
    repeats: int = 1


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
        lines += first_of([f"not read: {name}" for name in self.stray])
        return "\n".join(lines)

    def subject(self, *, noun: str = "", name: str = "", **more: Any) -> Subject:
        """The subject, its captions with the handle where they had the data set's own word. Raises `InputError` where neither the
        folder nor the caller says what it is."""
        noun = noun or self.noun
        if not noun:
            raise InputError(f"{self.folder} does not say what it shows; say --class dog, or what it is")
        handle = f"<{check_name(name or _usable(self.token) or 'my' + ''.join(filter(str.isalnum, noun)))}>"
        captions = {
            item.path.name: _handled(item.caption, self.token, noun, handle) for item in self.items if item.caption
        }
        masks = [r.mask for r in self.references]
        given = masks if all(mask is not None for mask in masks) else []
        paths = [item.path for item in self.items]
        return Subject.of(paths, noun=noun, handle=handle, captions=captions, masks=given, **more)


def recognised(folder: Path | str) -> Found:
    """Look at a folder (or a list file) and say what it is. Raises `PictureError` for pictures that cannot be read and for
    captions that are empty, `FileError` for lists that are damaged or name files that are not there."""
    path = Path(folder).expanduser()
    if not path.exists():
        raise FileError(f"there is no file or folder {path}")
    found = next(f for f in (reader(path) for reader in _READERS) if f is not None)
    if not found.items:
        raise PictureError(f"there are no pictures in {path}; expected files that end in {', '.join(SUFFIXES)}")
    for item in found.items:
        if not item.path.is_file():
            raise FileError(
                f"{found.folder} lists {item.path.name}, and there is no such file; mend the list or put it there"
            )
        found.references.append(opened(item.path, item.mask))
    found.doubles = _doubles(found)
    found.token = found.token or _token_in([item.caption for item in found.items if item.caption])
    return found


def opened(picture: Path, mask: Path | None) -> Reference:
    """A picture with its mask. Raises `PictureError` for what cannot be read."""
    reference, _ = read_picture(picture)
    if mask is None:
        return reference
    light = read_picture(mask)[0].image
    return replace(reference, mask=light.convert("L") if light is not None else None)


def laid_out(folder: Path, spoilt: Callable[[str, str], object]) -> Found:
    """What is in a folder by its files' names alone: no picture is opened, and what is wrong with captions is told to `spoilt` (why,
    name) rather than raised. Raises `FileError` for lists that are damaged."""
    for reader in _READERS[:-1]:
        found = reader(folder)
        if found is not None:
            return found
    return Found(folder, "a folder of pictures", [item(p, spoilt) for p in pictures_of(folder)])


def item(picture: Path, spoilt: Callable[[str, str], object]) -> Item:
    """A picture with what lies beside it; a caption that is no good is told to `spoilt`."""
    try:
        caption = _caption_of(picture, CAPTIONS)
    except PictureError:
        caption = ""
        spoilt("captions that are empty or no text", str(picture))
    return Item(picture, caption, _mask_of(picture))


# ---------------------------------------------------------------------------------------------------------- the layouts


def _concepts_list(path: Path) -> Found | None:
    """Custom Diffusion's list of concepts: folders of pictures and of the class, with their prompts."""
    file = path if path.name == "concepts_list.json" else path / "concepts_list.json"
    if not file.is_file():
        return None
    listed = _json(file)
    if not isinstance(listed, list) or not listed or not all(isinstance(c, dict) for c in listed):
        raise FileError(f"{file} is no list of concepts: expected a list of tables with instance_data_dir")
    if len(listed) > 1:
        raise InputError(f"{file} has {len(listed)} concepts; teach them one by one: give each one's instance_data_dir")
    (about,) = listed
    if "instance_data_dir" not in about:
        raise FileError(f"{file} says no instance_data_dir: where the pictures are")
    place = _beside(file, about["instance_data_dir"])
    prompt, of_class = about.get("instance_prompt", ""), about.get("class_prompt", "")
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
            told = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FileError(f"{file} is not TOML: {error}") from error
        subsets = [(d, s) for d in told.get("datasets", ()) for s in d.get("subsets", ())]
        if not subsets:
            continue
        general, items, regular, stray, tokens = told.get("general", {}), [], [], [], []
        for dataset, subset in subsets:
            if "image_dir" not in subset:
                raise FileError(f"{file} has a subset without image_dir")
            place = _beside(file, subset["image_dir"])
            settings = {**general, **dataset, **subset}
            part = _flat(place, endings=(settings.get("caption_extension", ".txt"), *CAPTIONS))
            if subset.get("is_reg"):
                regular += [item.path for item in part.items]
                continue
            said, repeats = subset.get("class_tokens", ""), int(settings.get("num_repeats", 1))
            items += [Item(i.path, i.caption or said, i.mask, repeats) for i in part.items]
            stray += part.stray
            tokens.append(said)
        token, _, noun = next((t for t in tokens if t), "").partition(" ")
        return Found(path, f"kohya's {file.name}", items, noun, token, regular, stray)
    return None


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
        items += [Item(i.path, i.caption or said, i.mask, repeats) for i in found.items]
        stray += found.stray
        if not token:
            token, _, noun = said.partition(" ")
    beside = (path.parent if own else path).parent / "reg"
    regular = (
        [p for place in sorted(beside.glob("*")) if place.is_dir() for p in pictures_of(place)]
        if beside.is_dir()
        else []
    )
    return Found(path, "kohya's folders (repeats_token class)", items, noun, token, regular, stray)


def _repeats(name: str) -> tuple[int, str] | None:
    found = re.fullmatch(r"(\d+)_(.+)", name)
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
    name = next((key for key in ("file_name", "image", "video", "path") if key in rows[0]), None)
    if name is None:
        raise FileError(
            f"{file} does not say where pictures are: expected a column file_name (or image), found {', '.join(rows[0])}"
        )
    text = next((key for key in ("text", "prompt", "caption") if key in rows[0]), None)
    items = []
    for number, row in enumerate(rows, 1):
        if not row.get(name):
            raise FileError(f"row {number} of {file} names no picture")
        caption = str(row.get(text) or "").strip() if text else ""
        if text and not caption:
            raise PictureError(
                f"row {number} of {file} ({row[name]}) has an empty caption; write one or leave the column out"
            )
        place = path / str(row[name])
        items.append(Item(place, caption, _mask_of(place)))
    listed = {item.path.resolve() for item in items}
    stray = [p.name for p in pictures_of(path) if p.resolve() not in listed]
    layout = "DiffSynth's" if name in ("image", "video") else "Hugging Face's"
    return Found(path, f"{layout} {file.name}", items, stray=[f"{name} (not listed)" for name in stray])


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as lines:
            yield from csv.DictReader(lines)
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise FileError(f"line {number} of {file} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise FileError(f"line {number} of {file} is no table")
            yield row


def _flat(path: Path, endings: Sequence[str] = CAPTIONS) -> Found:
    """Pictures in a folder, with captions and masks beside them."""
    if path.is_file():
        return Found(path, "one picture", [Item(path, _caption_of(path, endings), _mask_of(path))])
    if not path.is_dir():
        raise FileError(f"there is no folder {path}")
    pictures = pictures_of(path)
    items = [Item(p, _caption_of(p, endings), _mask_of(p)) for p in pictures]
    captioned = any(item.caption for item in items)
    stems = {p.stem for p in pictures}
    known = {p.name for p in pictures} | {p.name for p in path.iterdir() if is_mask(p)}
    known |= {p.name for p in path.iterdir() if p.suffix in endings and p.stem in stems}
    stray = sorted(p.name for p in path.iterdir() if p.is_file() and p.name not in known and not p.name.startswith("."))
    return Found(path, "a folder with captions" if captioned else "a folder of pictures", items, stray=stray)


_READERS = (_concepts_list, _kohya_toml, _kohya_folders, _metadata, _flat)


# ------------------------------------------------------------------------------------------------------------- small things


def pictures_of(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [p for p in files if p.suffix.lower() in SUFFIXES and not is_mask(p)]


def is_mask(path: Path) -> bool:
    return path.name.endswith(MASKS)


def _caption_of(picture: Path, endings: Sequence[str]) -> str:
    for ending in endings:
        file = picture.with_suffix(ending)
        if file.is_file():
            try:
                text = file.read_text(encoding="utf-8").strip()
            except UnicodeDecodeError as error:
                raise PictureError(f"{file} is not UTF-8 text: {error}") from error
            if not text:
                raise PictureError(f"{file} is empty; write what the picture shows, or delete the file")
            return " ".join(text.split())
    return ""


def _mask_of(picture: Path) -> Path | None:
    places = [picture.with_name(picture.stem + ending) for ending in MASKS]
    places += [picture.parent / name / f"{picture.stem}.png" for name in ("masks", "mask", "conditioning")]
    return next((place for place in places if place.is_file()), None)


def _beside(file: Path, place: str) -> Path:
    path = Path(place).expanduser()
    return path if path.is_absolute() else (file.parent / path).resolve()


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{file} is not JSON: {error}") from error


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
    return next((word for word in HANDLE_WORDS if captions and all(word in text.split() for text in captions)), "")


def _usable(token: str) -> str:
    letters = re.sub(r"[^A-Za-z0-9_-]", "", token)
    return letters if letters[:1].isalpha() else ""


def _handled(caption: str, token: str, noun: str, handle: str) -> str:
    """A caption that says the handle: in the place of the data set's word, and of the noun after it; else of the noun; else
    before the rest."""
    if token and token in caption:
        rest = re.escape(token) + (rf"\s+{re.escape(noun)}\b" if noun else "")
        changed = re.sub(rest, handle, caption)
        return changed if handle in changed else caption.replace(token, handle)
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
    from limner.escaping import html, html_page
    from limner.picture import html_image

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
