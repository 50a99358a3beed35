"""Custom-10 and CustomConcept101 (adobe-research/custom-diffusion); prompts under the Adobe Research Licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limner.core.untrusted import plain_text, read_json, read_text, rows
from limner.errors import FileError
from limner.evaluation.datasets import Case, DataSet, Member, existing, folder_in, loader, pictures_in

LICENCE = "prompts: Adobe Research Licence (non-commercial); images: Unsplash, CC BY-SA 4.0"
NOUNS = {
    "moongate": "gate",
    "teddybear": "teddy bear",
    "tortoise_plushy": "tortoise plushy",
    "wooden_pot": "wooden pot",
}


@loader("custom-10")
def custom_10(folder: Path | str) -> DataSet:
    """`prompts/<name>.txt` with `<new1>` for the subject, `data/<name>/*.jpg` (the images come as a separate
    archive)."""
    root = Path(folder)
    texts = sorted(existing(root / "prompts", "Custom-10's folder of prompts").glob("*.txt"))
    if not texts:
        raise FileError(f"{root / 'prompts'} holds no .txt file of prompts")
    singles = {t.stem for t in texts if "<new2>" not in read_text(t)}
    cases, absent = [], []
    for text in texts:
        names = [text.stem] if text.stem in singles else _pair(text.stem, singles)
        members = tuple(Member(n, NOUNS.get(n, n), _kind(n), _images(root, n)) for n in names)
        missing = [m.name for m in members if not m.pictures]
        if missing:
            absent.append(f"{text.stem}: no pictures of {', '.join(missing)}")
            continue
        cases.append(Case(text.stem, members, _prompts(text)))
    return DataSet("custom-10", tuple(cases), LICENCE, tuple(absent))


@loader("customconcept101")
def customconcept101(folder: Path | str) -> DataSet:
    """`dataset.json`: one subject a case; prompts in `prompts/`, images in the folders that it names."""
    root = Path(folder)
    path = existing(root / "dataset.json", "CustomConcept101's list of concepts")
    concepts = rows(read_json(path), path)
    return _concepts(
        "customconcept101", path, [[row] for row in concepts], [row.get("prompt_filename") for row in concepts]
    )


@loader("customconcept101-multi")
def customconcept101_multi(folder: Path | str) -> DataSet:
    """`dataset_multiconcept.json`: pairs of subjects."""
    root = Path(folder)
    path = existing(root / "dataset_multiconcept.json", "CustomConcept101's list of pairs")
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(r, list) and len(r) > 2 for r in content):
        raise FileError(f"{path} is no list of pairs: expected lists of two concepts and their prompts' file")
    groups = [rows(r[:3], f"each row of {path}") for r in content]
    return _concepts(
        "customconcept101-multi", path, [r[:2] for r in groups], [r[2].get("prompt_filename_compose") for r in groups]
    )


def _concepts(name: str, listing: Path, groups: list[list[dict[str, Any]]], texts: list[Any]) -> DataSet:
    root = listing.parent
    cases, absent = [], []
    for group, text in zip(groups, texts, strict=True):
        members = tuple(_member(listing, row) for row in group)
        label = "+".join(m.name for m in members)
        path = folder_in(root, text or "", named_by=listing)
        path = path if path.is_file() else root / "prompts" / Path(text or "").name
        missing = [f"no pictures of {m.name}" for m in members if not m.pictures]
        if missing or not path.is_file():
            absent.append(f"{label}: {', '.join(missing) or f'no prompts {text}'}")
            continue
        cases.append(Case(label, members, _prompts(path)))
    return DataSet(name, tuple(cases), LICENCE, tuple(absent))


def _member(listing: Path, row: dict[str, Any]) -> Member:
    """A member by its row. Its folder is looked for within the set alone, wherever the row says it is."""
    fields = {
        key: plain_text(row.get(key, ""), f"{key} of {listing}")
        for key in ("instance_data_dir", "class_prompt", "instance_prompt")
    }
    folder, root = fields["instance_data_dir"], listing.parent
    parts = [part for part in Path(folder).parts if part not in ("/", "..")]
    tried = (parts, parts[-2:], parts[-1:])
    here = next((place for part in tried if (place := root.joinpath(*part)).is_dir()), root / "nowhere")
    noun = fields["class_prompt"].strip() or fields["instance_prompt"].split(">")[-1].strip()
    return Member(
        Path(folder).name,
        noun,
        _kind(noun),
        pictures_in(folder_in(root, str(here.relative_to(root)), named_by=listing)),
    )


def _prompts(path: Path) -> tuple[str, ...]:
    lines = (line.strip() for line in read_text(path).splitlines())
    return tuple(_plain(line) for line in lines if line)


def _plain(line: str) -> str:
    """`<new1> cat` and `{}` both become the handle alone."""
    import re

    if "<new2>" in line:
        return re.sub(r"<new([12])>(?: [\w-]+)?", lambda m: f"{{{int(m[1]) - 1}}}", line)
    return re.sub(r"<new1>(?: [\w-]+)?", "{}", line)


def _images(root: Path, name: str) -> tuple[Path, ...]:
    return pictures_in(root / "data" / name) or pictures_in(root / name)


def _pair(stem: str, singles: set[str]) -> list[str]:
    """ "wooden_pot_cat" -> ["wooden_pot", "cat"], by the names there are."""
    parts = stem.split("_")
    for k in range(1, len(parts)):
        first, second = "_".join(parts[:k]), "_".join(parts[k:])
        if first in singles and second in singles:
            return [first, second]
    return [parts[0], "_".join(parts[1:])]


def _kind(noun: str) -> str:
    return "pet" if noun in ("cat", "dog") else "object"
