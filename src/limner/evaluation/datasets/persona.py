"""Persona, the survey's set (arXiv:2405.05538): 47 things and pets with DreamBench's prompts, 15 faces with 40 prompts.

The images are those of DreamBench, Textual Inversion and Custom-10, and FastComposer's faces; the set itself has no
licence, so it is read from your copy in its own layout, which its parts can be put together to.
"""

from __future__ import annotations

from pathlib import Path

from limner.core.untrusted import plain_text, read_json, table, texts
from limner.errors import FileError
from limner.evaluation.datasets import Case, DataSet, Member, existing, folder_in, loader, pictures_in

LIVE = ("cat", "dog")
FACE_PROMPTS = ("prompt_accessory", "prompt_context", "prompt_action", "prompt_style")


@loader("persona")
def persona(folder: Path | str) -> DataSet:
    """`info.json`, `subjects/<name>/NN.jpg`, `face/<id>/face.jpg`."""
    root = Path(folder)
    root = root / "pcs_dataset" if (root / "pcs_dataset").is_dir() else root
    path = existing(root / "info.json", "Persona's list of subjects and prompts")
    info = table(read_json(path), path)
    try:
        subjects, face = info["subjects"], info["face"]
        nouns, living, things = subjects["subject_with_cls"], subjects["prompt_live"], subjects["prompt_object"]
        people, face_prompts = face["id_with_gender"], [p for group in FACE_PROMPTS for p in face[group]]
    except (KeyError, TypeError) as error:
        raise FileError(f"{path} is not Persona's info.json: it lacks {error}") from error
    for named, at in ((nouns, "subject_with_cls"), (people, "id_with_gender")):
        for noun in table(named, f"{at} of {path}").values():
            plain_text(noun, f"each noun of {at} of {path}", limit=200)
    for prompts in (living, things, face_prompts):
        texts(prompts, f"the prompts of {path}")
    cases: list[Case] = []
    absent: list[str] = []
    for name, noun in nouns.items():
        prompts = living if noun in LIVE else things
        _add(cases, absent, name, noun, "pet" if noun in LIVE else "object", _place(root / "subjects", name), prompts)
    for name, noun in people.items():
        _add(cases, absent, name, noun, "face", _place(root / "face", name), face_prompts)
    return DataSet("persona", tuple(cases), "none stated; images as their own sets", tuple(absent))


def _place(folder: Path, name: str) -> Path:
    return folder_in(folder, name, named_by="info.json")


def _add(
    cases: list[Case], absent: list[str], name: str, noun: str, kind: str, folder: Path, prompts: list[str]
) -> None:
    pictures = pictures_in(folder)
    if pictures:
        templates = tuple(p.replace("{0} {1}", "{}").replace("{} {}", "{}") for p in prompts)
        cases.append(Case(name, (Member(name, noun, kind, pictures),), templates))
    else:
        absent.append(name)
