"""Custom Diffusion's concepts_list.json."""

from __future__ import annotations

from pathlib import Path

from limner.core.untrusted import plain_text, read_json
from limner.errors import FileError, InputError

from .contents import Found, Item
from .files import beside, pictures_of
from .flat import flat
from .words import noun_of, token_of


def concepts_list(path: Path) -> Found | None:
    """Read Custom Diffusion's list of concepts, which names folders of pictures and class images with their prompts;
    None without one."""
    file = path if path.name == "concepts_list.json" else path / "concepts_list.json"
    if not file.is_file():
        return None
    listed = read_json(file)
    if not isinstance(listed, list) or not listed or not all(isinstance(c, dict) for c in listed):
        raise FileError(f"{file} is no list of concepts: expected a list of tables with instance_data_dir")
    if len(listed) > 1:
        raise InputError(
            f"{file} has {len(listed)} concepts; learn them one by one, each from its own instance_data_dir"
        )
    (about,) = listed
    if not about.get("instance_data_dir"):
        raise FileError(f"{file} has no instance_data_dir, the folder of the pictures")
    for key in ("instance_data_dir", "class_data_dir", "instance_prompt", "class_prompt"):
        plain_text("" if about.get(key) is None else about[key], f"{key} of {file}")
    place = beside(file, about["instance_data_dir"])
    prompt, of_class = about.get("instance_prompt") or "", about.get("class_prompt") or ""
    contents = flat(place)
    regular = beside(file, about["class_data_dir"]) if about.get("class_data_dir") else None
    noun = noun_of(of_class)
    items = [Item(i.path, i.caption or prompt, i.mask) for i in contents.items]
    about_class = pictures_of(regular) if regular is not None and regular.is_dir() else []
    return Found(
        path, "Custom Diffusion's concepts_list.json", items, noun, token_of(prompt, noun), about_class, contents.stray
    )
