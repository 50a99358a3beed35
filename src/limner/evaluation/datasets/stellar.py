"""Stellar (arXiv:2312.06116): people with prompts of their own. For research and education only; nothing of it is
here."""

from __future__ import annotations

from pathlib import Path

from limner.core.untrusted import inside, read_json, table, texts
from limner.evaluation.datasets import Case, DataSet, Member, existing, loader


@loader("stellar")
def stellar(folder: Path | str, *, prompts: str = "prompts_h.json") -> DataSet:
    """`<id>/0.jpg`, `1.jpg`, …, `<id>/0_attributes.json`, and `<id>/prompts_h.json` or `prompts_t.json`."""
    root = Path(folder)
    root = root / "STELLAR" if (root / "STELLAR").is_dir() else root
    existing(root, "Stellar's folder of identities")
    cases, absent = [], []
    for place in sorted(p for p in root.iterdir() if p.is_dir()):
        pictures = tuple(sorted(p for p in place.glob("*.jpg") if p.stem.isdigit()))
        text = place / prompts
        if not pictures or not text.is_file():
            absent.append(f"{place.name}: {'no pictures' if not pictures else f'no {prompts}'}")
            continue
        pictures = tuple(inside(picture, root) for picture in pictures)
        content = table(read_json(inside(text, root)), text)
        templates = tuple(texts(content.get("prompts"), f"the prompts of {text}"))
        cases.append(Case(place.name, (Member(place.name, _noun(place), "face", pictures),), templates))
    return DataSet("stellar", tuple(cases), "research and education only", tuple(absent))


def _noun(place: Path) -> str:
    path = place / "0_attributes.json"
    male = table(read_json(inside(path, place)), path).get("Male") if path.is_file() else None
    return "person" if male is None else "man" if male in (1, True, "1") else "woman"
