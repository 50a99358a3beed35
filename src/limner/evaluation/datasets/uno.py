"""UNO's lists over DreamBench (bytedance/UNO, Apache 2.0): 750 single pictures and 750 pairs, each with a prompt."""

from __future__ import annotations

import re
from pathlib import Path

from limner.core.untrusted import plain_text, read_json, rows, texts
from limner.data.layouts.dreambench import prompts_and_classes
from limner.errors import FileError
from limner.evaluation.datasets import Case, DataSet, Member, existing, folder_in, loader


@loader("uno-single")
def uno_single(folder: Path | str, listing: Path | str) -> DataSet:
    """UNO's prompts for one subject.

    folder: your copy of DreamBench
    listing: UNO's `dreambench_singleip.json`
    """
    return _read("uno-single", Path(folder), Path(listing), 1)


@loader("uno-multi")
def uno_multi(folder: Path | str, listing: Path | str) -> DataSet:
    """UNO's prompts for two subjects.

    folder: your copy of DreamBench
    listing: UNO's `dreambench_multiip.json`
    """
    return _read("uno-multi", Path(folder), Path(listing), 2)


def _read(name: str, root: Path, listing: Path, count: int) -> DataSet:
    root = root / "dataset" if (root / "dataset").is_dir() else root
    nouns, _, _ = prompts_and_classes(existing(root / "prompts_and_classes.txt", "DreamBench's list of subjects"))
    grouped: dict[tuple[str, ...], list[str]] = {}
    for row in rows(read_json(existing(listing, "UNO's list")), listing):
        shown = texts(row.get("image_paths", []), f"image_paths of {listing}")
        if len(shown) != count:
            raise FileError(f"{listing} is not UNO's: expected a list of prompts with {count} pictures each")
        places = tuple("/".join(Path(p).parts[-2:]) for p in shown)
        grouped.setdefault(places, []).append(plain_text(row.get("prompt"), f"each prompt of {listing}"))
    cases, absent = [], []
    for pictures, prompts in grouped.items():
        who = [p.split("/")[0] for p in pictures]
        label = "+".join(who)
        missing = [p for p in pictures if not folder_in(root, p, named_by=listing).is_file()]
        missing += [f"class of {w}" for w in who if w not in nouns]
        if missing:
            absent.append(f"{label}: no {', '.join(missing)}")
            continue
        members = tuple(
            Member(w, nouns[w], "pet" if nouns[w] in ("cat", "dog") else "object", (root / p,))
            for w, p in zip(who, pictures, strict=True)
        )
        cases.append(Case(label, members, tuple(_handled(p, [m.noun for m in members]) for p in prompts)))
    return DataSet(name, tuple(cases), "lists Apache 2.0; images as DreamBench", tuple(absent))


def _handled(prompt: str, nouns: list[str]) -> str:
    """The prompt with {} (or {0} and {1}) in place of each noun's first occurrence."""
    if len(nouns) == 1:
        return re.sub(rf"\b{re.escape(nouns[0])}\b", "{}", prompt, count=1)
    for k, noun in enumerate(nouns):
        prompt = re.sub(rf"\b{re.escape(noun)}\b", f"{{{k}}}", prompt, count=1)
    return prompt
