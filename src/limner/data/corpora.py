"""Open a corpus by its name: the pocket world, a folder, shards, or a data set of Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limner.core.cache import cached_json
from limner.core.subject import MASK_FOLDERS, SUFFIXES, is_mask
from limner.core.untrusted import inside
from limner.errors import FileError, InputError, LimnerError, PictureError

from . import layouts, shards, tables
from .held_out import without_held_out
from .listed import NOUN, Entry, Listed, Tally, looked_at

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.subject import Reference


NAME_ROOM = 12
"""Number of tokens that a caption leaves free for a method's learned word and for "a photo of"."""


def corpus(
    words: str,
    *,
    noun: str = "",
    held_out: Path | None = None,
    duplicates: Literal["error", "leave-out"] = "error",
) -> Corpus:
    """Open a corpus. Each picture is opened once and checked: unreadable ones and copies are counted in its `record`.

    words: "toys" (or "toys:64" for 64 of them), a folder, .tar shards (one, 'shards-{000..009}.tar', or a glob), or
        "hf:ID"
    noun: class noun of all pictures, in place of the corpus' own; empty keeps these
    held_out: folder of pictures that training must not see; None for none
    duplicates: a subject with a near-duplicate of a held-out picture is an error, or is left out

    Raises `InputError` or `FileError` for a name that is no corpus, and where no picture is left.
    """
    if words == "toys" or re.fullmatch(r"toys:\d+", words):
        return _toys(words, held_out)
    store = _store(words)
    contents = _listed(store, noun)
    if not contents.entries:
        lost = f": {contents.left_out}" if contents.left_out.counts else ""
        raise PictureError(f"there is no picture to learn from in {words}{lost}")
    if held_out is None:
        return contents
    return without_held_out(contents, _listed(_folder(held_out), ""), held_out, duplicates=duplicates)


def fitted(corpus: Corpus, base: Base) -> Corpus:
    """The corpus, with captions cut to the length that the base reads."""
    room = base.max_tokens - NAME_ROOM
    return corpus.cut(lambda text: base.num_tokens(text, words={}) <= room) if isinstance(corpus, Listed) else corpus


@dataclass(frozen=True)
class Store:
    """The source of a corpus."""

    name: str
    stamp: object  # changes whenever the files do; key of the cached index
    list_: Callable[[Tally, Tally], list[Entry]]  # (left out, noticed) -> entries whose pictures are not checked yet
    read: Callable[[Any], Reference]  # an entry's place -> its picture


def _toys(words: str, held_out: Path | None) -> Corpus:
    from limner.pocket.corpus import toys

    if held_out is not None:
        raise InputError("no toy of the corpus is among the subjects of the benchmark: leave out --exclude")
    return toys(int(words.partition(":")[2] or 0))


def _store(words: str) -> Store:
    if words.startswith("hf:"):
        return _table(words, words.removeprefix("hf:"))
    path = Path(words).expanduser()
    if path.is_dir():
        if tables.is_saved(path):
            return _table(words, str(path))
        tars = sorted(path.glob("*.tar"))
        return _shards(words, tars) if tars else _folder(path)
    files = shards.expanded(words)
    if not files or (words == str(files[0]) and not path.exists()):
        raise FileError(
            f"there is no corpus {words}: expected toys, a folder, .tar shards (a file, 'shards-{{000..009}}.tar' or a "
            "glob), or hf:ID"
        )
    if all(file.suffix == ".tar" for file in files):
        return _shards(words, files)
    strange = [file for file in files if file.suffix.lower() not in SUFFIXES and not file.is_dir()]
    if strange:
        raise FileError(f"{strange[0]} is no .tar shard, picture or folder; a corpus consists of these")
    return _files(words, files)


def _table(words: str, where: str) -> Store:
    rows = tables.opened(where)
    root = folder if (folder := Path(where.partition("@")[0]).expanduser()).is_dir() else None
    stamp = ("datasets", where, len(rows), str(getattr(rows, "_fingerprint", "")))
    return Store(words, stamp, lambda *_: tables.listed(rows, words), lambda place: tables.read(rows, place, root=root))


def _shards(words: str, files: Sequence[Path]) -> Store:
    return Store(words, ("shards", _stamp(files)), lambda out, seen: shards.listed(files, out, seen), shards.read)


def _folder(path: Path) -> Store:
    stamp = _stamp(sorted(p for p in path.rglob("*") if p.is_file()))
    return Store(str(path), ("folder", stamp), lambda out, seen: in_folder(path, out, seen), _read_file)


def _files(words: str, files: Sequence[Path]) -> Store:
    def all_of(left_out: Tally, noticed: Tally) -> list[Entry]:
        alone = [file for file in files if not file.is_dir() and not is_mask(file)]
        entries = _alone([layouts.item(file, noticed.add) for file in alone])
        for folder in (file for file in files if file.is_dir()):
            entries += _of_subject(folder, "", left_out, noticed)
        return entries

    inside = [p for file in files for p in (sorted(file.rglob("*")) if file.is_dir() else [file])]
    return Store(words, ("files", _stamp(inside)), all_of, _read_file)


def in_folder(root: Path, left_out: Tally, noticed: Tally) -> list[Entry]:
    """Entries of a folder: each picture in the folder itself is a subject, and each subfolder is a subject, or a class
    with a subfolder for each of its subjects. DreamBench's list gives the classes of its subjects.

    root: the folder
    left_out: counts subfolders whose lists are damaged
    noticed: counts captions that cannot be read, and lists with unused fields
    """
    root = root / "dataset" if (root / "dataset").is_dir() else root
    nouns = _dreambench(root)
    contents = layouts.laid_out(root, noticed.add)
    _notice(contents, noticed)
    if contents.layout.endswith((".toml", "concepts_list.json")):  # the list names the folder of each subject
        return _same(root, contents, contents.noun)
    kohya = contents.layout.startswith("kohya")  # one subfolder for each token and class
    root = root / "img" if kohya and (root / "img").is_dir() else root
    entries = [] if kohya else _alone(contents.items)
    for folder in _folders(root):
        inner = _folders(folder)
        if inner and not layouts.pictures_of(folder):
            for subject in inner:
                entries += _of_subject(subject, folder.name, left_out, noticed)
        else:
            entries += _of_subject(folder, nouns.get(folder.name, ""), left_out, noticed)
    return entries


def _of_subject(folder: Path, noun: str, left_out: Tally, noticed: Tally) -> list[Entry]:
    try:
        contents = layouts.laid_out(folder, noticed.add)
    except LimnerError:
        left_out.add("folders whose lists are damaged", str(folder))
        return []
    _notice(contents, noticed)
    return _same(folder, contents, contents.noun or noun or called(folder.name))


def _notice(contents: layouts.Found, noticed: Tally) -> None:
    for what in contents.unused:
        noticed.add(f"lists with fields that are not used ({what})", str(contents.folder))


def _same(folder: Path, contents: layouts.Found, noun: str) -> list[Entry]:
    """Entries of one subject, or of each subject that the layout distinguishes."""
    entries = []
    for item in contents.items:
        token, _, own = item.concept.partition(" ") if len(contents.concepts) > 1 else (contents.token, "", noun)
        whose = f"{folder}: {item.concept}" if len(contents.concepts) > 1 else str(folder)
        entries.append(
            Entry(str(item.path), _place(item), whose, own or noun, _plain(item.caption, token, own or noun))
        )
    return entries


def _alone(items: Sequence[layouts.Item]) -> list[Entry]:
    """Entries of pictures that are one subject each."""
    return [Entry(str(item.path), _place(item), str(item.path), "", item.caption) for item in items]


def _place(item: layouts.Item) -> list[str | None]:
    return [str(item.path.resolve()), str(item.mask.resolve()) if item.mask else None]


def _read_file(place: Sequence[str | None]) -> Reference:
    picture, mask = place
    assert picture is not None
    return layouts.opened(Path(picture), Path(mask) if mask else None)


def _plain(caption: str, token: str, noun: str) -> str:
    """A caption without the data set's rare token for the subject: "sks dog on grass" -> "a dog on grass"."""
    if not token:
        return caption
    pattern = rf"(?:\b(?:a|an|the)\s+)?{layouts.whole_word(token).pattern}(?:\s+{re.escape(noun)}\b)?"
    return re.sub(pattern, f"a {noun}", caption, flags=re.IGNORECASE)


def called(name: str) -> str:
    """The class noun in a folder's name: "dog6" -> "dog", "colorful_sneaker-2" -> "colorful sneaker"; empty for a
    number."""
    return re.sub(r"[\W_]+", " ", re.sub(r"[\s_-]*\d+$", "", name)).strip()


def _dreambench(root: Path) -> dict[str, str]:
    from .layouts.dreambench import prompts_and_classes

    path = root / "prompts_and_classes.txt"
    return prompts_and_classes(path)[0] if path.is_file() else {}


def _folders(root: Path) -> list[Path]:
    folders = sorted(
        p for p in root.iterdir() if p.is_dir() and p.name not in MASK_FOLDERS and not p.name.startswith(".")
    )
    return [inside(folder, root) for folder in folders]


def _stamp(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of last change of these files: equal only while the files are unchanged."""
    there = [(file, file.stat()) for file in files if file.exists()]
    return [(str(file.resolve()), at.st_size, at.st_mtime_ns) for file, at in there]


def _listed(store: Store, noun: str) -> Listed:
    """The store's checked pictures. The list is cached, and made again only when the files have changed."""

    def make() -> dict[str, Any]:
        left_out, noticed = Tally(), Tally()
        entries = looked_at(store.list_(left_out, noticed), store.read, left_out)
        return {"entries": [asdict(e) for e in entries], "left_out": asdict(left_out), "noticed": asdict(noticed)}

    listing = cached_json(("corpus", store.name, store.stamp), make)
    left_out, noticed = Tally(**listing["left_out"]), Tally(**listing["noticed"])
    entries = []
    for fields in listing["entries"]:
        entry = Entry(**fields)
        entry = replace(entry, noun=noun or entry.noun)
        if not entry.noun:
            noticed.add(f'without a class, assumed "{NOUN}" (--class sets it)', entry.name)
        if not entry.caption:
            noticed.add("without a caption", entry.name)
        entries.append(entry)
    return Listed(store.name, tuple(entries), store.read, left_out, noticed)
