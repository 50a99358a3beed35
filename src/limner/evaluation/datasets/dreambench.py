"""DreamBench (google/dreambooth): 30 subjects, 25 prompts for things and 25 for living beings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from limner.core.untrusted import read_json, table, texts
from limner.data.layouts.dreambench import prompts_and_classes
from limner.evaluation.datasets import Case, DataSet, Member, existing, folder_in, loader, pictures_in

LIVE = ("cat", "dog")


@loader("dreambench")
def dreambench(folder: Path | str) -> DataSet:
    """`dataset/<subject>/NN.jpg` and `dataset/prompts_and_classes.txt`; the folder may be either of the two upper
    ones."""
    root = Path(folder)
    root = root / "dataset" if (root / "dataset").is_dir() else root
    return _read("dreambench", root, None)


@loader("dreambench-v2")
def dreambench_v2(folder: Path | str, prompts: Path | str) -> DataSet:
    """The same subjects with SuTI's harder prompts, which were never published as a file: `prompts` is your JSON
    {subject: [prompt with {} for the subject, …]}."""
    root = Path(folder)
    root = root / "dataset" if (root / "dataset").is_dir() else root
    own = table(read_json(existing(Path(prompts), "a JSON file {subject: [prompts]}")), prompts)
    own = {name: texts(templates, f"the prompts of {name[:100]} in {prompts}") for name, templates in own.items()}
    return _read("dreambench-v2", root, own)


def _read(name: str, root: Path, own: Mapping[str, list[str]] | None) -> DataSet:
    nouns, things, living = prompts_and_classes(
        existing(root / "prompts_and_classes.txt", "DreamBench's list of subjects")
    )
    cases, absent = [], []
    for who, noun in nouns.items():
        pictures = pictures_in(folder_in(root, who, named_by="prompts_and_classes.txt"))
        templates = tuple(own.get(who, ())) if own is not None else (living if noun in LIVE else things)
        if not pictures or not templates:
            absent.append(who)
            continue
        kind = "pet" if noun in LIVE else "object"
        cases.append(Case(who, (Member(who, noun, kind, pictures),), templates))
    return DataSet(name, tuple(cases), "CC BY 4.0; many photographs under the Unsplash licence", tuple(absent))
